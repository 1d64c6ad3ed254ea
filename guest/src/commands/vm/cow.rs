//! `cow demo`: pages that a clone shares, copies and leaves to its parent again.

use super::scratch::{self, Scratch};
use crate::commands::support::parse;
use crate::commands::{Args, Outcome, fail, usage};
use crate::console;
use crate::memory::PHYS;
use crate::memory::vm::STAT;
use mm::addr::PAGE_SIZE;
use mm::vmstat::VmEvent;
use shared::exit::ExitStatus;

const DEFAULT_PAGES: u64 = 1024;
/// Pages that are written after the clone.
const WRITTEN: u64 = 100;
/// Pages that a clone may take beside its tables: its description, and those of its areas.
const OVERHEAD: i64 = 16;

/// How many pages have been copied, and how many were left to their last owner.
fn copied_and_reused() -> [u64; 2] {
    [VmEvent::PgCow, VmEvent::PgReuse].map(|event| STAT.event(event))
}

fn since(before: [u64; 2]) -> [u64; 2] {
    let now = copied_and_reused();
    [now[0] - before[0], now[1] - before[1]]
}

/// `cow demo [PAGES]`.
pub fn cow(args: &mut Args<'_>) -> Outcome {
    if !args.take("demo") {
        return Err(usage(format_args!("cow: expected 'demo [PAGES]'")));
    }
    let pages = args.next_word().map_or(Ok(DEFAULT_PAGES), |word| parse::count("pages", word))?;
    if pages < WRITTEN || pages > PHYS.total_managed_pages() {
        return Err(usage(format_args!(
            "cow demo: bad pages {pages} (at least {WRITTEN}, at most all of RAM)"
        )));
    }
    let parent = Scratch::new("cow-parent")?;
    let at = parent.map_overlay(pages)?;
    let page = |n: u64| at + n * PAGE_SIZE;
    let sum = || (0..pages).map(|n| scratch::load(page(n))).fold(0, u64::wrapping_add);
    let write = |value: u64| (0..WRITTEN).for_each(|n| scratch::store(page(n), value + n));
    parent.run(|| (0..pages).for_each(|n| scratch::store(page(n), n + 1)))?;
    let first_sum = parent.run(sum)?;

    // What a CPU keeps on its lists is free, too.
    let free_pages = || (PHYS.total_free_pages() + PHYS.cached_pages()) as i64;
    let free = free_pages();
    let child = parent.clone_as("cow-child")?;
    let delta = free - free_pages();
    let tables = child.context.mm().counters().tables();
    let is_shared =
        |n: &u64| child.frame(page(*n)).is_some() && child.frame(page(*n)) == parent.frame(page(*n));
    let shared = (0..pages).filter(is_shared).count();

    let before = copied_and_reused();
    child.run(|| write(1 << 32))?;
    let [copied, reused_early] = since(before);
    let sums = [parent.run(sum)?, child.run(sum)?];
    drop(child);
    let before = copied_and_reused();
    parent.run(|| write(1 << 33))?;
    let [copied_late, reused] = since(before);
    let last_sum = parent.run(sum)?;

    // What was written is larger by a known amount for each page: a value of `n + 1` became `base + n`.
    let with = |base: u64| first_sum.wrapping_add(WRITTEN.wrapping_mul(base - 1));
    let sums_hold = [sums[0], sums[1], last_sum] == [first_sum, with(1 << 32), with(1 << 33)];
    let verdict = if sums_hold { "ok" } else { "wrong" };
    console::print(format_args!(
        "rss_shared={shared} free_delta={delta} tables={tables} pgcow={copied} pgreuse={reused} copies_after_exit={copied_late} \
         sums={verdict}\n"
    ));
    let counts_hold =
        (shared as u64, copied, reused) == (pages, WRITTEN, WRITTEN) && copied_late + reused_early == 0;
    if sums_hold && counts_hold && delta <= tables as i64 + OVERHEAD {
        Ok(())
    } else {
        Err(fail(
            ExitStatus::CheckFailed,
            format_args!("cow demo: pages are not shared, copied and reused as they should"),
        ))
    }
}
