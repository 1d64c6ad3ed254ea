//! Whether an area is what it should be: every page its own, data kept, the guard unmapped, all given back.

use crate::arch::probe;
use crate::commands::{Outcome, fail};
use crate::console;
use crate::memory::areas::{self, AREAS, Place};
use crate::memory::boot::kernel_root;
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::pgtable::{Leaves, PageRange};
use mm::vmalloc::Request;
use shared::exit::ExitStatus;

/// The word at the start of page `n`.
fn word(at: VirtAddr, n: u64) -> *mut u64 {
    (at.get() + n * PAGE_SIZE) as *mut u64
}

/// Stores a mark in every page and looks whether all are there afterwards.
fn keeps_data(at: VirtAddr, pages: u64) -> bool {
    for n in 0..pages {
        // SAFETY: the area was just made for this command and has so many pages.
        unsafe { word(at, n).write_volatile(at.get() ^ n) };
    }
    // SAFETY: as above.
    (0..pages).all(|n| unsafe { word(at, n).read_volatile() } == at.get() ^ n)
}

/// How many runs of frames in a row lie below the area; 0 if a page has none.
fn physical_runs(at: VirtAddr, pages: u64) -> u64 {
    let frame = |n| AREAS.frame_of(VirtAddr::truncate(word(at, n) as u64));
    let (mut runs, mut expected) = (0, None);
    for n in 0..pages {
        let Some(pfn) = frame(n) else { return 0 };
        runs += u64::from(expected != Some(pfn));
        expected = pfn.checked_add(1);
    }
    runs
}

/// Checks the area at `at` and frees it; `used` pages were in areas before it was made.
pub fn check(at: VirtAddr, request: &Request, used: u64) -> Outcome {
    let pages = request.bytes.div_ceil(PAGE_SIZE);
    let bad = |what| fail(ExitStatus::CheckFailed, format_args!("api vmalloc: {what}"));
    let kept = keeps_data(at, pages);
    let runs = physical_runs(at, pages);
    let leaves = PageRange::new(at, pages).and_then(|range| kernel_root().census(range));
    let leaves = leaves.map_or(Leaves::default(), |census| census.leaves);
    let contiguous = leaves.pages() == pages;
    console::print(format_args!(
        "vmalloc({}) -> {:#x} pages={pages} virt_contig={} phys_runs={runs} leaves_4k={} leaves_2m={} data={}\n",
        request.bytes,
        at.get(),
        if contiguous { "yes" } else { "no" },
        leaves.pte,
        leaves.pmd,
        if kept { "ok" } else { "bad" },
    ));
    let end = word(at, pages) as u64;
    let guarded = match probe::load(end) {
        Ok(value) => {
            console::print(format_args!("read {end:#x}: value={value:#04x}\n"));
            false
        }
        Err(error) => {
            console::print(format_args!("read {end:#x}: fault error={error:#x} {}\n", Place(end)));
            true
        }
    };
    let held = AREAS.used_pages();
    areas::vfree(at).map_err(|_| bad("vfree refused the area"))?;
    AREAS.purge();
    let after = AREAS.used_pages();
    let kb = |pages: u64| pages * (PAGE_SIZE / 1024);
    console::print(format_args!(
        "VmallocUsed before={} held={} after={} unit=kB\n",
        kb(used),
        kb(held),
        kb(after)
    ));
    match (kept && contiguous, guarded, after == used && held == used + pages) {
        (false, ..) => Err(bad("data was not kept")),
        (_, false, _) => Err(bad("the page after it can be read")),
        (.., false) => Err(bad("pages are lost")),
        _ => Ok(()),
    }
}
