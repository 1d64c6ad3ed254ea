//! `evict`: taking pages back on purpose, and what went in which order.

use super::support::parse;
use super::{Args, Command, Outcome, usage};
use crate::console;
use crate::memory::vm::RECLAIM;
use mm::addr::Order;
use mm::phys::GfpFlags;
use mm::reclaim::{EvictLog, Evicted};

/// The family.
pub const EVICT: &[Command] = &[Command {
    name: "evict",
    usage: "log on|off|show | room [TIMES]",
    summary: "remembers the first 4096 pages that reclaim takes, in order; makes room as an allocation would",
    run: evict,
}];

static LOG: EvictLog = EvictLog::new();

fn evict(args: &mut Args<'_>) -> Outcome {
    match (args.next_word(), args.next_word()) {
        (Some("log"), Some("on")) => {
            RECLAIM.log_to(&LOG);
            LOG.set(true);
            Ok(())
        }
        (Some("log"), Some("off")) => {
            LOG.set(false);
            Ok(())
        }
        (Some("log"), Some("show")) => {
            show();
            Ok(())
        }
        (Some("room"), times) => room(times.map_or(Ok(1), |times| parse::count("times", times))?),
        _ => Err(usage(format_args!("evict: expected log on, log off, log show, or room"))),
    }
}

/// Pages of one owner that went one after the other and follow each other there, too.
struct Run {
    first: Evicted,
    pages: u64,
}

impl Run {
    fn goes_on_with(&self, page: &Evicted) -> bool {
        page.inode == self.first.inode && page.index == self.first.index + self.pages
    }

    fn print(&self) {
        let Evicted { inode, index } = self.first;
        match inode {
            Some(inode) => console::print(format_args!("ino={inode} first={index} pages={}\n", self.pages)),
            None => console::print(format_args!("anon first={index} pages={}\n", self.pages)),
        }
    }
}

fn show() {
    let mut run: Option<Run> = None;
    for page in LOG.pages() {
        match &mut run {
            Some(run) if run.goes_on_with(&page) => run.pages += 1,
            other => {
                if let Some(run) = other.replace(Run { first: page, pages: 1 }) {
                    run.print();
                }
            }
        }
    }
    run.iter().for_each(Run::print);
    console::print(format_args!("evicted={}\n", LOG.count()));
}

fn room(times: u64) -> Outcome {
    let pages =
        (0..times).map(|_| RECLAIM.make_room(GfpFlags::GFP_HIGHUSER_MOVABLE, Order::ZERO)).sum::<u64>();
    console::print(format_args!("reclaimed={pages}\n"));
    Ok(())
}
