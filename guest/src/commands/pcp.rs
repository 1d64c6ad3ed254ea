//! `pcp`, `drain`: the lists of free pages that each CPU keeps in front of the zones.

use super::support::parse;
use super::{Args, Command, Outcome};
use crate::memory::{self, PHYS};
use crate::{console, task};
use mm::addr::Order;
use mm::phys::GfpFlags;

/// The family.
pub const PCP: &[Command] = &[
    Command {
        name: "pcp",
        usage: "[pairs=N]",
        summary: "the lists of each CPU; pairs: N allocations and frees of a page, and how often zones were locked",
        run: pcp,
    },
    Command {
        name: "drain",
        usage: "",
        summary: "gives what all CPUs keep on their lists back to the zones",
        run: drain,
    },
];

fn pcp(args: &mut Args<'_>) -> Outcome {
    if let Some(word) = args.next_word() {
        return match parse::setting(word) {
            ("pairs", Some(text)) => pairs(parse::count("pairs", text)?),
            _ => Err(parse::unexpected("pcp", word)),
        };
    }
    for zone in PHYS.populated_zones() {
        let id = zone.id();
        for set in PHYS.pagesets(zone) {
            console::print(format_args!(
                "node={} zone={} cpu={} count={} high={} batch={} high_min={} high_max={}\n",
                id.node.index(),
                id.kind.name(),
                set.cpu.0,
                set.count,
                set.high,
                set.batch,
                set.high_min,
                set.high_max
            ));
        }
    }
    Ok(())
}

fn locks() -> u64 {
    PHYS.populated_zones().map(|zone| zone.lock_count()).sum()
}

fn pairs(count: u64) -> Outcome {
    let before = locks();
    for _ in 0..count {
        if let Ok(frames) = PHYS.alloc_pages(GfpFlags::GFP_KERNEL, Order::ZERO) {
            let (pfn, order) = frames.into_raw();
            memory::free_block(pfn, order);
        }
    }
    let taken = locks() - before;
    console::print(format_args!("cpu={} pairs={count} zone_lock={taken}\n", task::current().cpu()));
    Ok(())
}

fn drain(_: &mut Args<'_>) -> Outcome {
    let sum = || (PHYS.cached_pages(), PHYS.total_free_pages());
    let (cached, free) = sum();
    PHYS.drain_all_pages();
    let (cached_now, free_now) = sum();
    console::print(format_args!("cached={cached}->{cached_now} free={free}->{free_now}\n"));
    Ok(())
}
