//! `buddy`: the free lists, and the algorithm on an arena.
//!
//! Owns: reading the arguments, lists and checks. Stays outside: the worked example (`example`), the storm
//! (`storm`), the arena itself.

mod example;
mod storm;

use super::support::{arena, parse, sound};
use super::{Args, Command, Outcome, fail, usage};
use crate::console;
use crate::memory::PHYS;
use arena::OpenError;
use mm::addr::{NodeId, Order, Pfn};
use mm::frame::{MigrateType, ZoneId, ZoneKind};
use shared::exit::ExitStatus;

/// The family.
pub const BUDDY: &[Command] = &[Command {
    name: "buddy",
    usage: "verify | list order=O zone=Z [node=N] [type=T] | arena PAGES|close | info | \
            example PAGES [--free SIZES] [--hold-tail] | storm [ops=N] [seed=S] [tasks]",
    summary: "the buddy allocator: invariants, lists, an arena to watch it, a storm on all CPUs",
    run: buddy,
}];

/// How many blocks of a list are shown.
const SHOWN: usize = 256;

fn buddy(args: &mut Args<'_>) -> Outcome {
    match args.next_word() {
        Some("verify") => verify(),
        Some("list") => list(args),
        Some("arena") => open(args),
        Some("info") => info(),
        Some("example") => example::example(args),
        Some("storm") => storm::storm(args),
        other => Err(usage(format_args!(
            "buddy: expected verify, list, arena, info, example or storm, not '{}'",
            other.unwrap_or("nothing")
        ))),
    }
}

/// Checks all free lists; what does not hold is corruption.
pub fn check() {
    sound(PHYS.verify());
    arena::check();
}

fn verify() -> Outcome {
    check();
    for zone in PHYS.populated_zones() {
        let blocks = |order| u64::from(zone.free_blocks_of_order(order));
        let count: u64 = Order::all().map(blocks).sum();
        let pages: u64 = Order::all().map(|order| blocks(order) * order.pages()).sum();
        console::print(format_args!(
            "node={} zone={} blocks={count} sum={pages} nr_free={}\n",
            zone.id().node.index(),
            zone.id().kind.name(),
            zone.free_pages()
        ));
    }
    console::print(format_args!("verify=ok\n"));
    Ok(())
}

/// Which lists to show.
struct Lists {
    order: Order,
    kind: ZoneKind,
    node: Option<NodeId>,
    mt: Option<MigrateType>,
}

impl Lists {
    fn parse(args: &mut Args<'_>) -> Result<Self, ExitStatus> {
        let (mut order, mut kind, mut node, mut mt) = (None, None, None, None);
        while let Some(word) = args.next_word() {
            match parse::setting(word) {
                ("order", Some(text)) => order = Some(parse::order(text)?),
                ("zone", Some(text)) => kind = Some(parse::zone(text)?),
                ("node", Some(text)) => node = Some(parse::node(text)?),
                ("type", Some(text)) => mt = Some(parse::migrate_type(text)?),
                _ => return Err(parse::unexpected("buddy list", word)),
            }
        }
        match (order, kind) {
            (Some(order), Some(kind)) => Ok(Self { order, kind, node, mt }),
            _ => Err(usage(format_args!("buddy list: expected order=0..10 and zone=DMA|DMA32|Normal"))),
        }
    }
}

fn list(args: &mut Args<'_>) -> Outcome {
    let lists = Lists::parse(args)?;
    // Blocks that are still deferred are on no list.
    PHYS.take_in_deferred(u32::MAX);
    let (mut zones, mut blocks) = (0_u32, 0);
    for zone in PHYS.populated_zones().map(|zone| zone.id()) {
        if zone.kind == lists.kind && lists.node.is_none_or(|node| node == zone.node) {
            zones += 1;
            blocks += list_zone(zone, &lists);
        }
    }
    if zones == 0 {
        return Err(usage(format_args!("zone {} has no memory here; see zones", lists.kind.name())));
    }
    console::print(format_args!("order={} blocks={blocks}\n", lists.order.get()));
    Ok(())
}

/// Prints the lists of one zone, first block first, and counts the blocks.
fn list_zone(zone: ZoneId, lists: &Lists) -> usize {
    let mut pfns = [Pfn::default(); SHOWN];
    let mut blocks = 0;
    for mt in MigrateType::ALL.into_iter().filter(|&mt| lists.mt.is_none_or(|wanted| wanted == mt)) {
        let shown = PHYS.free_list(zone, lists.order, mt, &mut pfns);
        for pfn in pfns.iter().take(shown) {
            console::print(format_args!(
                "pfn={:#x} order={} node={} zone={} type={}\n",
                pfn.get(),
                lists.order.get(),
                zone.node.index(),
                zone.kind.name(),
                mt.name()
            ));
        }
        let all = PHYS.zone(zone).map_or(0, |zone| zone.free_blocks(lists.order, mt)) as usize;
        if all > shown {
            console::print(format_args!("type={} shown={shown} more={}\n", mt.name(), all - shown));
        }
        blocks += all;
    }
    blocks
}

fn open(args: &mut Args<'_>) -> Outcome {
    let busy = |pages| usage(format_args!("buddy arena: {pages} pages of it are held; free them first"));
    let text = args.next_word().unwrap_or("");
    if text == "close" {
        return arena::close().map_err(busy);
    }
    let pages = parse::number("size", text)?;
    let order = Order::covering(pages).filter(|order| order.pages() == pages).ok_or_else(|| {
        usage(format_args!("bad size {pages} (a power of two, 1..{} pages)", Order::MAX.pages()))
    })?;
    match arena::open(order) {
        Ok(()) => {}
        Err(OpenError::Busy(pages)) => return Err(busy(pages)),
        Err(OpenError::Alloc(error)) => {
            return Err(fail(ExitStatus::CheckFailed, format_args!("buddy arena: {error}")));
        }
    }
    if let Some(info) = arena::info() {
        console::print(format_args!(
            "arena pfn={:#x} order={} pages={}\n",
            info.pfn.get(),
            info.order.get(),
            info.order.pages()
        ));
    }
    Ok(())
}

/// The arena's line of counts, as /proc/buddyinfo has them.
fn info() -> Outcome {
    let Some(info) = arena::info() else {
        return Err(usage(format_args!("buddy info: no arena is open; run 'buddy arena 1024' first")));
    };
    for (n, count) in info.free.iter().enumerate() {
        console::print(format_args!("{}{count}", if n == 0 { "" } else { " " }));
    }
    console::print(format_args!("\n"));
    Ok(())
}
