//! `vm sparse`: what page tables cost when pages are far apart.
//!
//! All pages show the same frame, so that only tables are counted.

use crate::commands::support::{Block, area, parse};
use crate::commands::{Args, Outcome, fail, usage};
use crate::console;
use crate::memory::boot::{kernel_root, ring_bits};
use crate::memory::tables::{self, KernelTables};
use core::sync::atomic::Ordering::Relaxed;
use mm::addr::{Order, PAGE_SIZE, VirtAddr};
use mm::pgtable::{PageRange, PtError, Stride};
use mm::phys::GfpFlags;
use mm::port::{Level, PteBits};
use shared::exit::ExitStatus;

fn kb(tables: u64) -> u64 {
    tables * PAGE_SIZE / 1024
}

fn parse_stride(args: &mut Args<'_>) -> Result<Stride, ExitStatus> {
    let count = parse::count("count", args.next_word().unwrap_or(""))?;
    let mut step = PAGE_SIZE;
    while let Some(word) = args.next_word() {
        match parse::setting(word) {
            ("stride", Some(text)) => step = parse::size("stride", text)?,
            _ => return Err(parse::unexpected("vm sparse", word)),
        }
    }
    if step == 0 || !step.is_multiple_of(PAGE_SIZE) {
        return Err(usage(format_args!("EINVAL: stride {step} is not a multiple of {PAGE_SIZE}")));
    }
    let room = area::SPARSE_END - area::SPARSE;
    if count.checked_mul(step).is_none_or(|bytes| bytes > room) {
        return Err(usage(format_args!("EINVAL: {count} pages {step} bytes apart need more than 24T")));
    }
    Ok(Stride { start: VirtAddr::truncate(area::SPARSE), count, step })
}

/// Maps every page of `stride` to the frame of `page`, and reads the first and the last.
fn map(stride: Stride, page: &Block) -> Result<bool, PtError> {
    let bits = PteBits::NO_EXEC | ring_bits();
    for n in 0..stride.count {
        let va = VirtAddr::truncate(stride.start.get() + n * stride.step);
        kernel_root().map(va, page.pfn().addr(), Level::PTE, bits, &KernelTables)?;
    }
    let expected = page.word(0).load(Relaxed);
    let shows = |va: u64| {
        // SAFETY: the page at this address was just mapped, readable, to a frame of ours.
        expected == unsafe { (va as *const u64).read_volatile() }
    };
    let start = stride.start.get();
    Ok(shows(start) && shows(start + (stride.count - 1) * stride.step))
}

fn unmap(stride: Stride) -> Result<(), PtError> {
    let pages = (stride.count - 1) * (stride.step / PAGE_SIZE) + 1;
    let Some(range) = PageRange::new(stride.start, pages) else { return Ok(()) };
    let root = kernel_root();
    let mut gather = root.gather(&KernelTables);
    let unmapped = root.unmap(range, &mut gather, |_, _, _| {});
    let _ = gather.finish();
    unmapped
}

/// Runs it.
pub fn sparse(args: &mut Args<'_>) -> Outcome {
    let stride = parse_stride(args)?;
    let failed = |what| fail(ExitStatus::CheckFailed, format_args!("vm sparse: {what}"));
    let page = Block::alloc(GfpFlags::GFP_KERNEL, Order::ZERO).map_err(|_| failed("out of memory"))?;
    page.mark(stride.step);
    let predicted =
        kernel_root().missing_tables(stride, Level::PTE).ok_or_else(|| failed("not canonical"))?;
    let before = tables::in_use();
    let mapped = map(stride, &page);
    let grown = tables::in_use() - before;
    let unmapped = unmap(stride);
    let left = tables::in_use() - before;
    match (mapped, unmapped) {
        (Err(error), _) | (_, Err(error)) => {
            return Err(fail(ExitStatus::CheckFailed, format_args!("vm sparse: {error}")));
        }
        (Ok(false), _) => return Err(failed("a page shows another frame")),
        (Ok(true), Ok(())) => {}
    }
    console::print(format_args!("PageTables pred={} got={} unit=kB\n", kb(predicted), kb(grown)));
    console::print(format_args!("PageTables after_unmap={} unit=kB\n", kb(left)));
    if grown != predicted {
        return Err(failed("the prediction is wrong"));
    }
    if left != 0 { Err(failed("tables were not freed")) } else { Ok(()) }
}
