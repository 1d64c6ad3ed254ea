//! `vm use`: pages of a mapping are used in order, for traces that a model of reclaim replays.

use super::session::{self, ended};
use crate::arch::{percpu, tlb};
use crate::commands::support::parse;
use crate::commands::{Args, Outcome, usage};
use crate::console;
use crate::context;
use mm::addr::PAGE_SIZE;

/// `vm use FIRST PAGES [zero]`: reads pages of the last mapping, or makes all that they hold zeroes if nothing but their
/// first words was ever written. Their entries say that they were used, for the CPU has forgotten them before.
pub fn use_pages(args: &mut Args<'_>) -> Outcome {
    let first = parse::number("first", args.next_word().unwrap_or(""))?;
    let pages = parse::count("pages", args.next_word().unwrap_or(""))?;
    let is_write = args.take("zero");
    session::with(|session| {
        let mapping = *session.last().ok_or_else(|| usage(format_args!("vm use: nothing is mapped")))?;
        let all = mapping.bytes / PAGE_SIZE;
        if first >= all || pages > all - first {
            return Err(usage(format_args!("vm use: the mapping has {all} pages")));
        }
        if is_write {
            session.unmark(mapping.start + first * PAGE_SIZE, pages * PAGE_SIZE);
        }
        let work = || {
            tlb::flush_all();
            for page in first..first + pages {
                let at = (mapping.start + page * PAGE_SIZE) as *mut u64;
                if is_write {
                    // SAFETY: the page is in the context's part of the address space, where only the context has anything.
                    unsafe { at.write_volatile(0) };
                } else {
                    // SAFETY: as above.
                    let _ = unsafe { at.read_volatile() };
                }
            }
        };
        if let Err(failure) = context::run(&session.context, percpu::cpu(), work) {
            return ended(failure);
        }
        console::print(format_args!("used={pages}\n"));
        Ok(())
    })
}
