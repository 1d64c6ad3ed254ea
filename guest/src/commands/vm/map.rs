//! Mapping, unmapping, rights, pages ahead of their use.

use super::session::{self, Mapping, Session};
use super::{not_mapped, range, refused, rights};
use crate::commands::support::parse;
use crate::commands::{Args, Outcome, usage};
use crate::console;
use crate::context::Rights;
use crate::memory::slab::FRAMES;
use crate::memory::vm::VM;
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::port::Access;
use mm::space::{Advice, Errno, MapFlags, MapRequest};
use mm::vma::VmFlags;
use shared::exit::ExitStatus;

/// What the words after a size ask for.
struct Wishes {
    request: MapRequest,
    populate: bool,
    advice: Option<Advice>,
}

fn wishes(command: &str, len: u64, args: &mut Args<'_>) -> Result<Wishes, ExitStatus> {
    let mut wishes = Wishes { request: MapRequest::anon(len), populate: false, advice: None };
    while let Some(word) = args.next_word() {
        match word {
            "overlay" => wishes.request.flags |= MapFlags::OVERLAY,
            "noreserve" => wishes.request.flags |= MapFlags::NORESERVE,
            "populate" => wishes.populate = true,
            "thp" => wishes.advice = Some(Advice::HugePage),
            "nothp" => wishes.advice = Some(Advice::NoHugePage),
            word => {
                wishes.request.vm = rights(word).ok_or_else(|| parse::unexpected(command, word))?;
            }
        }
    }
    Ok(wishes)
}

/// Maps, and remembers it.
fn make(session: &mut Session, wishes: &Wishes) -> Outcome {
    let (request, mm) = (&wishes.request, session.context.mm());
    let at = VM.mmap(mm, request, &FRAMES).map_err(|errno| why_not(errno, request))?;
    let bytes = request.len.next_multiple_of(PAGE_SIZE);
    if let Some(advice) = wishes.advice {
        VM.madvise(mm, at, bytes, advice, &FRAMES).map_err(|errno| not_mapped(errno, bytes))?;
    }
    if wishes.populate {
        fill(session, at, bytes)?;
    }
    session.add(Mapping { start: at.get(), bytes, ..Mapping::default() });
    let (end, rights) = (at.get() + bytes, Rights(request.vm));
    console::print(format_args!(
        "mapped={:#x}-{end:#x} pages={} rights={rights}\n",
        at.get(),
        bytes / PAGE_SIZE
    ));
    Ok(())
}

fn why_not(errno: Errno, request: &MapRequest) -> ExitStatus {
    let low = request.addr.is_some_and(|at| at.get() < VM.settings().mmap_min_addr());
    match errno {
        Errno::Eperm if low => refused(errno, "mmap_min_addr"),
        Errno::Eperm => refused(errno, "addresses of another context"),
        errno => not_mapped(errno, request.len),
    }
}

/// `vm map SIZE ...`.
pub fn map(args: &mut Args<'_>) -> Outcome {
    let len = parse::size("size", args.next_word().unwrap_or(""))?;
    let wishes = wishes("vm map", len, args)?;
    session::with(|session| make(session, &wishes))
}

/// `vm map-fixed ADDR [SIZE] ...`: only where nothing is.
pub fn map_fixed(args: &mut Args<'_>) -> Outcome {
    let at = parse::number("address", args.next_word().unwrap_or(""))?;
    let sized = args.peek().and_then(shared::params::parse_size);
    if sized.is_some() {
        args.next_word();
    }
    let mut wishes = wishes("vm map-fixed", sized.unwrap_or(PAGE_SIZE), args)?;
    let at = VirtAddr::new(at).ok_or_else(|| refused(Errno::Enomem, "beyond what contexts have"))?;
    wishes.request.addr = Some(at);
    wishes.request.flags |= MapFlags::FIXED_NOREPLACE;
    session::with(|session| make(session, &wishes))
}

/// `vm unmap [ADDR SIZE]`.
pub fn unmap(args: &mut Args<'_>) -> Outcome {
    session::with(|session| {
        let (at, len) = range("vm unmap", args, session)?;
        VM.munmap(session.context.mm(), at, len, &FRAMES).map_err(|errno| refused(errno, ""))?;
        session.forget(at.get(), len);
        console::print(format_args!("unmapped={:#x} pages={}\n", at.get(), len.div_ceil(PAGE_SIZE)));
        Ok(())
    })
}

/// `vm protect RIGHTS [ADDR SIZE]`.
pub fn protect(args: &mut Args<'_>) -> Outcome {
    let word = args.next_word().unwrap_or("");
    let access = rights(word).filter(|_| !word.is_empty());
    let access: VmFlags =
        access.ok_or_else(|| usage(format_args!("bad rights '{word}' (r, rw, r-x, none, ...)")))?;
    session::with(|session| {
        let (at, len) = range("vm protect", args, session)?;
        VM.mprotect(session.context.mm(), at, len, access, &FRAMES).map_err(|errno| refused(errno, ""))?;
        console::print(format_args!("protected={:#x} rights={}\n", at.get(), Rights(access)));
        Ok(())
    })
}

/// Brings in every page of a range, as its area allows it to be used.
fn fill(session: &Session, at: VirtAddr, bytes: u64) -> Outcome {
    let mm = session.context.mm();
    let writable = VM.area_from(mm, at).is_some_and(|area| area.flags.contains(VmFlags::WRITE));
    let access = if writable { Access::Write } else { Access::Read };
    VM.populate(mm, at, bytes, access, &FRAMES).map_err(|errno| refused(errno, "populate"))
}

/// `vm populate [ADDR SIZE]`.
pub fn populate(args: &mut Args<'_>) -> Outcome {
    session::with(|session| {
        let (at, len) = range("vm populate", args, session)?;
        fill(session, at, len)?;
        console::print(format_args!("populated={:#x} pages={}\n", at.get(), len.div_ceil(PAGE_SIZE)));
        Ok(())
    })
}
