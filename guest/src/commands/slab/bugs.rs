//! `slab bug`: bugs on purpose. With `slab_debug=` each is caught, and ends the machine with status 4.

use crate::commands::support::parse;
use crate::commands::{Args, Outcome, fail, usage};
use crate::console;
use crate::memory::slab::{self, SLABS};
use core::ptr::NonNull;
use mm::phys::GfpFlags;
use shared::exit::ExitStatus;

const GFP: GfpFlags = GfpFlags::GFP_KERNEL;
const DEFAULT_SIZE: u64 = 64;
/// What is written where nobody may write.
const MARK: u8 = 0x41;

/// A bug: what it does with a new object of `size` bytes, which it frees or not.
type Bug = fn(NonNull<u8>, usize);

const BUGS: &[(&str, Bug)] = &[
    ("overrun", |object, size| {
        poke(object, size as isize);
        free(object);
    }),
    ("underrun", |object, _| {
        poke(object, -1);
        free(object);
    }),
    ("use-after-free", |object, _| {
        free(object);
        poke(object, 1);
        let _ = alloc_again(object);
    }),
    ("end-of-freed", |object, size| {
        free(object);
        poke(object, size as isize - 1);
        let _ = alloc_again(object);
    }),
    ("double-free", |object, _| {
        free(object);
        free(object);
    }),
    ("double-free-later", |object, size| {
        let other = slab::kmalloc(size, GFP);
        free(object);
        if let Ok(other) = other {
            free(other);
        }
        free(object);
    }),
    ("free-inside", |object, _| free(object.map_addr(|at| at.saturating_add(8)))),
    ("foreign-free", |_, _| {
        let mut local = 0_u64;
        free(NonNull::from(&mut local).cast());
    }),
];

/// `slab bug NAME [size=N]`.
pub fn plant(args: &mut Args<'_>) -> Outcome {
    let name = args.next_word().unwrap_or("nothing");
    let Some((_, bug)) = BUGS.iter().find(|(known, _)| *known == name) else {
        console::print(format_args!("bugs:"));
        BUGS.iter().for_each(|(name, _)| console::print(format_args!(" {name}")));
        return Err(usage(format_args!("slab bug: no bug called '{name}'")));
    };
    let size = args.take_key("size").map_or(Ok(DEFAULT_SIZE), |text| parse::count("size", text))? as usize;
    let Ok(object) = slab::kmalloc(size, GFP) else {
        return Err(fail(ExitStatus::CheckFailed, format_args!("slab bug: no memory")));
    };
    bug(object, size);
    let verdict = SLABS.verify();
    console::print(format_args!("bug={name} verify={}\n", if verdict.is_ok() { "ok" } else { "damaged" }));
    verdict.map(|_| ()).map_err(|violation| fail(ExitStatus::Corruption, format_args!("{violation}")))
}

/// Writes beyond or after the object.
fn poke(object: NonNull<u8>, offset: isize) {
    // SAFETY: the byte lies in the slab of the object, which is mapped. That it is not ours is the bug.
    unsafe { object.offset(offset).write_volatile(MARK) };
}

fn free(object: NonNull<u8>) {
    // SAFETY: the object was allocated; that it may be free already is the bug, and is refused.
    unsafe { slab::kfree(object) };
}

/// Allocates once more, which checks what was freed last.
fn alloc_again(freed: NonNull<u8>) -> Result<NonNull<u8>, mm::phys::AllocError> {
    let size = SLABS.ksize(freed).unwrap_or(DEFAULT_SIZE as usize);
    slab::kmalloc(size, GFP)
}
