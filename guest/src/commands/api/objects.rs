//! `api kmalloc` and its family: objects by size.

use super::{is_contiguous, verdict, yes};
use crate::arch::{call, smp};
use crate::commands::support::parse;
use crate::commands::{Args, Outcome, fail, usage, words};
use crate::console;
use crate::memory::slab::{self, FRAMES, SLABS};
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, Ordering};
use mm::addr::PAGE_SIZE;
use mm::phys::{AllocError, GfpFlags};
use mm::slab::{KMALLOC_MAX, ZERO_SIZE_PTR};
use shared::exit::ExitStatus;

/// What an allocation of `size` bytes in all was refused for, as `NULL (...)`.
struct Null {
    size: Option<usize>,
    error: AllocError,
}

impl fmt::Display for Null {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.size {
            None => f.write_str("NULL (overflow)"),
            Some(size) if size > KMALLOC_MAX => {
                let order = (size as u64).div_ceil(PAGE_SIZE).next_power_of_two().trailing_zeros();
                write!(f, "NULL (order {order} > MAX_PAGE_ORDER)")
            }
            Some(_) => write!(f, "NULL ({})", self.error),
        }
    }
}

/// A null pointer is an answer; running out of memory is a failure, too.
fn answered(error: AllocError) -> Outcome {
    match error {
        AllocError::OutOfMemory => Err(fail(ExitStatus::CheckFailed, format_args!("out of memory"))),
        AllocError::BadZoneModifiers => Err(usage(format_args!("{error}"))),
        _ => Ok(()),
    }
}

/// A number, or a power as in `2^63`.
fn number(what: &str, args: &mut Args<'_>) -> Result<usize, ExitStatus> {
    let text = args.next_word().unwrap_or("");
    let power = text.split_once('^').and_then(|(base, exponent)| {
        words::number(base)?.checked_pow(u32::try_from(words::number(exponent)?).ok()?)
    });
    power.map_or_else(|| parse::size(what, text), Ok).map(|number| number as usize)
}

fn flags(args: &mut Args<'_>) -> Result<GfpFlags, ExitStatus> {
    match args.peek() {
        Some(word) if word != "irq" => {
            args.next_word();
            parse::gfp(word)
        }
        _ => Ok(GfpFlags::GFP_KERNEL),
    }
}

/// Allocates on the last CPU, in the handler of an interrupt.
fn from_interrupt(size: usize, gfp: GfpFlags) -> Result<NonNull<u8>, AllocError> {
    let object = AtomicPtr::new(core::ptr::null_mut());
    call::on(smp::online() - 1, &|| {
        if let Ok(new) = slab::kmalloc(size, gfp) {
            object.store(new.as_ptr(), Ordering::Release);
        }
    });
    NonNull::new(object.load(Ordering::Acquire)).ok_or(AllocError::OutOfMemory)
}

/// `api kmalloc SIZE [FLAGS] [irq]`.
pub fn kmalloc(args: &mut Args<'_>) -> Outcome {
    let (size, gfp) = (number("size", args)?, flags(args)?);
    let made = if args.take("irq") { from_interrupt(size, gfp) } else { slab::kmalloc(size, gfp) };
    match made {
        Ok(object) if object == ZERO_SIZE_PTR => {
            console::print(format_args!("kmalloc(0) -> ZERO_SIZE_PTR {ZERO_SIZE_PTR:p}\n"));
            // SAFETY: it was returned just now.
            unsafe { slab::kfree(ZERO_SIZE_PTR) };
            Ok(())
        }
        Ok(object) => shown(object, size, gfp),
        Err(error) => {
            console::print(format_args!("kmalloc({size}) -> {}\n", Null { size: Some(size), error }));
            answered(error)
        }
    }
}

/// Prints where an object comes from, checks it and frees it.
fn shown(object: NonNull<u8>, size: usize, gfp: GfpFlags) -> Outcome {
    let usable = SLABS.ksize(object).unwrap_or(0);
    // SAFETY: so many bytes are the object's, which is this command's.
    unsafe { object.write_bytes(0x5c, usable) };
    let at = object.as_ptr() as u64;
    let contiguous = is_contiguous(at, usable as u64);
    console::print(format_args!("kmalloc({size}) -> {at:#x} "));
    match SLABS.kmalloc_cache(size, gfp) {
        Some(cache) => console::print(format_args!("cache={}", cache.name())),
        None => {
            let pages = usable as u64 / PAGE_SIZE;
            console::print(format_args!("order={} pages={pages}", pages.trailing_zeros()));
        }
    }
    console::print(format_args!(" ksize({size})={usable} phys_contig={}\n", yes(contiguous)));
    // SAFETY: as above, and it is used no more.
    unsafe { slab::kfree(object) };
    if contiguous && usable >= size {
        Ok(())
    } else {
        Err(fail(ExitStatus::CheckFailed, format_args!("api kmalloc: the object is not as it should be")))
    }
}

/// `api kcalloc N SIZE`.
pub fn kcalloc(args: &mut Args<'_>) -> Outcome {
    let (n, size) = (number("count", args)?, number("size", args)?);
    let all = n.checked_mul(size);
    let object = match SLABS.kcalloc(&FRAMES, n, size, GfpFlags::GFP_KERNEL) {
        Ok(object) => object,
        Err(error) => {
            console::print(format_args!("kcalloc({n}, {size}) -> {}\n", Null { size: all, error }));
            return answered(error);
        }
    };
    // SAFETY: the object has that many bytes and is this command's.
    let zero = (0..all.unwrap_or(0)).all(|n| unsafe { object.add(n).read_volatile() } == 0);
    // SAFETY: as above, and it is used no more.
    unsafe { slab::kfree(object) };
    console::print(format_args!("kcalloc({n}, {size}) -> {object:p} zero={}\n", verdict(zero)));
    if zero { Ok(()) } else { Err(fail(ExitStatus::CheckFailed, format_args!("api kcalloc: not zeroed"))) }
}

/// `api krealloc OLD NEW`: the content stays as far as it fits.
pub fn krealloc(args: &mut Args<'_>) -> Outcome {
    let (old, new) = (number("size", args)?, number("size", args)?);
    let no_memory = |_| fail(ExitStatus::CheckFailed, format_args!("out of memory"));
    let first = slab::kmalloc(old, GfpFlags::GFP_KERNEL).map_err(no_memory)?;
    // SAFETY: the object has that many bytes and is this command's.
    (0..old).for_each(|n| unsafe { first.add(n).write(n as u8) });
    // SAFETY: the object is this command's, and the old address is not used again.
    let second = match unsafe { SLABS.krealloc(&FRAMES, first.as_ptr(), new, GfpFlags::GFP_KERNEL) } {
        Ok(second) => second,
        Err(error) => {
            // SAFETY: on an error the object stays this command's.
            unsafe { slab::kfree(first) };
            console::print(format_args!("krealloc({old}, {new}) -> {}\n", Null { size: Some(new), error }));
            return answered(error);
        }
    };
    // SAFETY: the new object has the smaller of the two sizes at least.
    let kept = (0..old.min(new)).all(|n| unsafe { second.add(n).read() } == n as u8);
    let usable = SLABS.ksize(second).unwrap_or(0);
    // SAFETY: it is used no more.
    unsafe { slab::kfree(second) };
    console::print(format_args!(
        "krealloc({old}, {new}) -> moved={} ksize={usable} data={}\n",
        yes(first != second),
        verdict(kept)
    ));
    if kept {
        Ok(())
    } else {
        Err(fail(ExitStatus::CheckFailed, format_args!("api krealloc: data was lost")))
    }
}

/// `api kfree null`: nothing happens.
pub fn kfree(args: &mut Args<'_>) -> Outcome {
    if !args.take("null") {
        return Err(usage(format_args!("api kfree: expected 'null'; objects are freed by who made them")));
    }
    // SAFETY: there is nothing at a null pointer.
    slab::expect_freed(unsafe { SLABS.kfree(core::ptr::null_mut()) });
    console::print(format_args!("kfree(NULL) ok\n"));
    Ok(())
}
