//! `page_owner`: which code has the most pages.
//!
//! Owns: sorting the stacks (Linux leaves that to `page_owner_sort`), and a leak on purpose to look for.

use super::support::{Words, parse};
use super::{Args, Command, Outcome, fail, usage};
use crate::console;
use crate::memory::PHYS;
use crate::symbols::Traced;
use mm::addr::Order;
use mm::phys::{GfpFlags, PageChecks};
use shared::exit::ExitStatus;

/// The family.
pub const PAGE_OWNER: &[Command] = &[Command {
    name: "page_owner",
    usage: "[top=N] [leak=N]",
    summary: "code by the pages that it has (boot with page_owner=on); leak: takes N pages for good, to be found",
    run: page_owner,
}];

const DEFAULT_TOP: u64 = 5;
/// Words of a stack in the table: its pages, then its callers.
const ROW: usize = 16;
/// Stacks that are sorted.
const ROWS: usize = 2048;

fn page_owner(args: &mut Args<'_>) -> Outcome {
    let (mut top, mut leaks) = (DEFAULT_TOP, 0);
    while let Some(word) = args.next_word() {
        match parse::setting(word) {
            ("top", Some(text)) => top = parse::count("top", text)?,
            ("leak", Some(text)) => leaks = parse::count("leak", text)?,
            _ => return Err(parse::unexpected("page_owner", word)),
        }
    }
    if !PHYS.page_checks().contains(PageChecks::OWNER) {
        return Err(usage(format_args!("page_owner: nothing is recorded; boot with page_owner=on")));
    }
    (0..leaks).for_each(|_| leak());
    print(top)
}

/// Takes a page and forgets it.
#[inline(never)]
fn leak() {
    if let Ok(frames) = PHYS.alloc_pages(GfpFlags::GFP_KERNEL, Order::ZERO) {
        let _ = frames.into_raw();
    }
}

/// The stacks with the most pages.
fn print(top: u64) -> Outcome {
    let Some(mut table) = Words::alloc(ROW * ROWS) else {
        return Err(fail(ExitStatus::CheckFailed, format_args!("page_owner: no memory to sort in")));
    };
    let (rows, _) = table.as_chunks_mut::<ROW>();
    let (mut used, mut pages_of_all) = (0, 0);
    PHYS.page_owner_stacks(&mut |callers, pages| {
        pages_of_all += pages;
        if let Some([sum, row @ ..]) = rows.get_mut(used) {
            *sum = pages;
            row.iter_mut().zip(callers).for_each(|(slot, caller)| *slot = *caller);
            used += 1;
        }
    });
    let Some(rows) = rows.get_mut(..used) else { return Ok(()) };
    rows.sort_unstable_by_key(|[pages, ..]| core::cmp::Reverse(*pages));
    for [pages, callers @ ..] in rows.iter().take(usize::try_from(top).unwrap_or(usize::MAX)) {
        console::print(format_args!("pages={pages}"));
        for caller in callers.iter().take_while(|caller| **caller != 0) {
            console::print(format_args!(" {}", Traced(*caller)));
        }
        console::print(format_args!("\n"));
    }
    console::print(format_args!("stacks={used} sum={pages_of_all}\n"));
    Ok(())
}
