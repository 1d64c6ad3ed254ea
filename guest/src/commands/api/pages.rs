//! `api gfp`, `api zeroed`, `api contig`: pages by address, and runs of them.

use super::{is_contiguous, verdict};
use crate::commands::alloc::{refused, warn_failure};
use crate::commands::support::parse;
use crate::commands::{Args, Outcome, fail};
use crate::machine::MACHINE;
use crate::memory::PHYS;
use crate::{console, report};
use core::ptr::NonNull;
use mm::addr::{Order, PAGE_SIZE};
use mm::phys::{AllocError, FreeError, GfpFlags};
use mm::port::{Machine, PhysMem};
use shared::exit::ExitStatus;
use shared::layout::DIRECT_MAP;

fn freed(result: Result<(), FreeError>) {
    if let Err(error) = result {
        report::corruption(format_args!("{error}"));
    }
}

/// `api gfp FLAGS ORDER`: `__get_free_pages`.
pub fn get_free_pages(args: &mut Args<'_>) -> Outcome {
    let gfp = parse::gfp(args.next_word().unwrap_or(""))?;
    let text = args.next_word().unwrap_or("");
    let number = parse::number("order", text.strip_prefix("order=").unwrap_or(text))?;
    let Some(order) = u32::try_from(number).ok().and_then(Order::new) else {
        // Linux warns of such a request and answers it.
        warn_failure(gfp, number);
        console::print(format_args!("__get_free_pages(order={number}) -> NULL (order > MAX_PAGE_ORDER)\n"));
        return Ok(());
    };
    let at = PHYS.get_free_pages(gfp, order).map_err(|error| refused(error, gfp, order))?;
    let (va, bytes) = (at.as_ptr() as u64, order.pages() * PAGE_SIZE);
    let pa = MACHINE.physmem().addr_of(at).unwrap_or_default();
    let right = va == DIRECT_MAP + pa.get() && va.is_multiple_of(bytes) && is_contiguous(va, bytes);
    // SAFETY: the block was allocated just now, and nobody else knows it.
    freed(unsafe { PHYS.free_pages_at(at, order) });
    console::print(format_args!(
        "{} pages va={va:#x} pfn={:#x} aligned={}K check={}\n",
        order.pages(),
        pa.pfn().get(),
        bytes / 1024,
        verdict(right)
    ));
    if right {
        Ok(())
    } else {
        Err(fail(ExitStatus::CheckFailed, format_args!("api gfp: va is not __va(pfn)")))
    }
}

/// `api zeroed [FLAGS]`: `get_zeroed_page`, of a page that held something else before.
pub fn get_zeroed_page(args: &mut Args<'_>) -> Outcome {
    let gfp = args.next_word().map_or(Ok(GfpFlags::GFP_KERNEL), parse::gfp)?;
    let page = |gfp| PHYS.get_zeroed_page(gfp).map_err(|error| refused(error, gfp, Order::ZERO));
    let used = page(gfp)?;
    // SAFETY: the page is this command's.
    unsafe { used.write_bytes(0xff, PAGE_SIZE as usize) };
    // SAFETY: it is used no more.
    freed(unsafe { PHYS.free_pages_at(used, Order::ZERO) });
    let at = page(gfp)?;
    let words: NonNull<u64> = at.cast();
    // SAFETY: the page is this command's and holds that many words.
    let zero = (0..PAGE_SIZE as usize / 8).all(|n| unsafe { words.add(n).read_volatile() } == 0);
    // SAFETY: it is used no more.
    freed(unsafe { PHYS.free_pages_at(at, Order::ZERO) });
    console::print(format_args!(
        "get_zeroed_page -> {at:p} reused={} zero={}\n",
        super::yes(at == used),
        verdict(zero)
    ));
    if zero { Ok(()) } else { Err(fail(ExitStatus::CheckFailed, format_args!("api zeroed: not zeroed"))) }
}

/// `api contig PAGES [node=N]`: a run of pages, beyond the largest block if wanted.
pub fn contig(args: &mut Args<'_>) -> Outcome {
    let pages = parse::count("pages", args.next_word().unwrap_or(""))?;
    let node = args.take_key("node").map(parse::node).transpose()?;
    let gfp = GfpFlags::GFP_KERNEL | GfpFlags::__GFP_NOWARN;
    let run = match PHYS.alloc_contig_pages(gfp, pages, node) {
        Ok(run) => run,
        Err(AllocError::OutOfMemory) => {
            console::print(format_args!("alloc_contig_pages({pages}) -> NULL\n"));
            return Ok(());
        }
        Err(error) => return Err(refused(error, gfp, Order::MAX)),
    };
    let pfn = run.pfn();
    let va = DIRECT_MAP + pfn.addr().get();
    let contiguous = is_contiguous(va, pages * PAGE_SIZE);
    freed(PHYS.free_pages_exact(run));
    console::print(format_args!(
        "alloc_contig_pages({pages}) -> pfn={:#x} pages={pages} aligned={} phys_contig={}\n",
        pfn.get(),
        1_u64 << pfn.get().trailing_zeros().min(63),
        super::yes(contiguous)
    ));
    if contiguous {
        Ok(())
    } else {
        Err(fail(ExitStatus::CheckFailed, format_args!("api contig: not in a row")))
    }
}
