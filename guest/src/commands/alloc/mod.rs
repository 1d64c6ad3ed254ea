//! `alloc`, `free`, `fragstat`: blocks of frames, one at a time.
//!
//! Owns: reading the arguments and printing what happened. Stays outside: who holds what (`held`).
//! Where a block comes from: the open arena, unless flags, a node or a number of pages ask for the zones.

mod exhaust;
mod fragstat;
mod held;

use super::support::{Trace, arena, parse};
use super::{Args, Command, Outcome, fail, usage};
use crate::console;
use crate::memory::PHYS;
use crate::{report, task};
use core::fmt;
use mm::addr::{NodeId, Order, Pfn};
use mm::frame::ZoneId;
use mm::phys::{AllocError, Frames, FreeError, GfpFlags, Step};
use shared::exit::ExitStatus;
use shared::layout::DIRECT_MAP;

/// The family.
pub const ALLOC: &[Command] = &[
    Command {
        name: "alloc",
        usage: "[until-fail|until-low] [ORDER|order=O|pages=N] [gfp=FLAGS] [node=N] [trace]",
        summary: "takes a block and holds it, or takes all there is and gives it back",
        run: alloc,
    },
    Command {
        name: "free",
        usage: "PFN|last [order=O] [trace]",
        summary: "gives back a block that alloc took",
        run: free,
    },
    Command {
        name: "fragstat",
        usage: "[sweep]",
        summary: "memory granted beyond what was asked for, and how far free memory is in pieces; sweep: 1 to 64 pages",
        run: fragstat::fragstat,
    },
];

/// What to allocate.
#[derive(Default)]
struct Request {
    order: Option<Order>,
    pages: Option<u64>,
    gfp: Option<GfpFlags>,
    node: Option<NodeId>,
    trace: bool,
    until_fail: bool,
    until_low: bool,
}

impl Request {
    fn parse(args: &mut Args<'_>) -> Result<Self, ExitStatus> {
        let mut request = Self::default();
        while let Some(word) = args.next_word() {
            match parse::setting(word) {
                ("until-fail", None) => request.until_fail = true,
                ("until-low", None) => request.until_low = true,
                ("trace", None) => request.trace = true,
                ("order", Some(text)) => request.order = Some(parse::order(text)?),
                ("pages", Some(text)) => request.pages = Some(parse::number("pages", text)?),
                ("gfp", Some(text)) => request.gfp = Some(parse::gfp(text)?),
                ("node", Some(text)) => request.node = Some(parse::node(text)?),
                (text, None) if text.starts_with(|c: char| c.is_ascii_digit()) => {
                    request.order = Some(parse::order(text)?);
                }
                _ => return Err(parse::unexpected("alloc", word)),
            }
        }
        match request {
            Self { pages: Some(_), order, node, trace, until_fail, .. }
                if order.is_some() || node.is_some() || trace || until_fail =>
            {
                Err(usage(format_args!("alloc: pages= goes with gfp= only")))
            }
            Self { until_fail: true, trace: true, .. } => {
                Err(usage(format_args!("alloc: until-fail has no trace")))
            }
            request => Ok(request),
        }
    }

    fn order(&self) -> Order {
        self.order.unwrap_or(Order::ZERO)
    }

    fn gfp(&self) -> GfpFlags {
        self.gfp.unwrap_or(GfpFlags::GFP_KERNEL)
    }
}

fn alloc(args: &mut Args<'_>) -> Outcome {
    let request = Request::parse(args)?;
    if request.until_low {
        return exhaust::until_low(request.gfp());
    }
    if request.until_fail {
        return exhaust::exhaust(request.node, request.gfp(), request.order());
    }
    if held::is_full() {
        return Err(usage(format_args!("alloc: {} blocks are held; free some first", held::MAX)));
    }
    if let Some(pages) = request.pages {
        return alloc_for(&request, pages);
    }
    if request.gfp.is_none() && request.node.is_none() && arena::is_open() {
        return alloc_in_arena(&request);
    }
    let mut trace = Trace::new();
    let (gfp, order, mut push) = (request.gfp(), request.order(), |step| trace.push(step));
    let frames = match request.node {
        Some(node) => PHYS.alloc_pages_node_traced(node, gfp, order, &mut push),
        None => PHYS.alloc_pages_traced(gfp, order, &mut push),
    };
    let (pfn, order) = frames.map_err(|error| refused(error, gfp, order))?.into_raw();
    held::hold(pfn, order);
    if request.trace {
        print_steps(&trace);
    }
    print_block(pfn, order);
    Ok(())
}

fn alloc_in_arena(request: &Request) -> Outcome {
    let order = request.order();
    let mut trace = Trace::new();
    let pfn = arena::alloc(order, &mut |step| trace.push(step))
        .map_err(|error| fail(ExitStatus::CheckFailed, format_args!("arena: {error}")))?;
    held::remember(pfn, order);
    if request.trace {
        print_steps(&trace);
    }
    console::print(format_args!("pfn={:#x} zone=arena order={}\n", pfn.get(), order.get()));
    Ok(())
}

/// The plain allocation by number of pages: the smallest block that holds them.
fn alloc_for(request: &Request, pages: u64) -> Outcome {
    let gfp = request.gfp();
    let (pfn, order) = match PHYS.alloc_pages_for(gfp, pages) {
        Ok(frames) => frames.into_raw(),
        Err(AllocError::BadSize) => {
            return Err(usage(format_args!("bad size {pages} (1..{} pages)", Order::MAX.pages())));
        }
        Err(error) => {
            return Err(refused(error, gfp, Order::covering(pages).unwrap_or(Order::MAX)));
        }
    };
    held::hold(pfn, order);
    console::print(format_args!(
        "order={} granted={} {}\n",
        order.get(),
        order.pages(),
        fragstat::Waste { requested: pages, granted: order.pages() }
    ));
    print_block(pfn, order);
    Ok(())
}

/// What became of an allocation that the zones refused.
pub fn refused(error: AllocError, gfp: GfpFlags, order: Order) -> ExitStatus {
    match error {
        AllocError::OutOfMemory => {
            warn_failure(gfp, order.get().into());
            fail(ExitStatus::CheckFailed, format_args!("out of memory"))
        }
        AllocError::NotBooted => fail(ExitStatus::CheckFailed, format_args!("{error}")),
        AllocError::BadZoneModifiers | AllocError::BadSize | AllocError::BadNode | AllocError::NoHighmem => {
            usage(format_args!("{error}"))
        }
    }
}

/// Linux's `warn_alloc`, of an order that may be too large to be one.
pub fn warn_failure(gfp: GfpFlags, order: u64) {
    if !gfp.contains(GfpFlags::__GFP_NOWARN) {
        console::print(format_args!(
            "{}: page allocation failure: order:{}, mode:{gfp}, nodemask=(null)\n",
            task::current().name(),
            order
        ));
    }
}

/// Frees what was just allocated; a refusal is corruption.
fn give_back(frames: Frames<'_>) {
    if let Err(error) = PHYS.free_pages(frames) {
        report::corruption(format_args!("{error}"));
    }
}

/// The zone of a frame that the zones have handed out.
fn zone_of(pfn: Pfn) -> ZoneId {
    PHYS.pageblock(pfn).map(|block| block.zone()).unwrap_or_default()
}

fn print_block(pfn: Pfn, order: Order) {
    let (zone, addr) = (zone_of(pfn), pfn.addr().get());
    console::print(format_args!(
        "pfn={:#x} zone={} node={} order={} addr={addr:#x} va={:#x}\n",
        pfn.get(),
        zone.kind.name(),
        zone.node.index(),
        order.get(),
        DIRECT_MAP + addr
    ));
}

/// `split 10->9 9->8`, `merge 0->1 1->2`: a line for each kind of step.
struct Steps<'a>(&'a Trace);

impl fmt::Display for Steps<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut verb = "";
        for step in self.0.steps() {
            let (kind, from, to) = match step {
                Step::Split { order, .. } => ("split", order.get(), order.get().saturating_sub(1)),
                Step::Merge { order, .. } => ("merge", order.get(), order.get() + 1),
                Step::Keep { .. } | Step::Return { .. } => continue,
            };
            match verb {
                "" => f.write_str(kind)?,
                before if before != kind => write!(f, "\n{kind}")?,
                _ => {}
            }
            verb = kind;
            write!(f, " {from}->{to}")?;
        }
        if verb.is_empty() { f.write_str("no steps") } else { Ok(()) }
    }
}

fn print_steps(trace: &Trace) {
    console::print(format_args!("{}\n", Steps(trace)));
}

fn free(args: &mut Args<'_>) -> Outcome {
    let Some(target) = args.next_word() else {
        return Err(usage(format_args!("free: expected a pfn or 'last'")));
    };
    let (mut order, mut traced) = (None, false);
    while let Some(word) = args.next_word() {
        match parse::setting(word) {
            ("order", Some(text)) => order = Some(parse::order(text)?),
            ("trace", None) => traced = true,
            _ => return Err(parse::unexpected("free", word)),
        }
    }
    let last = held::last();
    let pfn = match (target, last) {
        ("last", Some((pfn, _))) => pfn,
        ("last", None) => return Err(usage(format_args!("free: nothing was allocated"))),
        (text, _) => parse::pfn(text)?,
    };
    let usual = held::order_of(pfn).or(last.filter(|(at, _)| *at == pfn).map(|(_, order)| order));
    let order = order.or(usual).unwrap_or(Order::ZERO);
    let mut trace = Trace::new();
    let mut push = |step| trace.push(step);
    let freed = match arena::free(pfn, order, &mut push) {
        Some(freed) => freed,
        None => held::free(pfn, order, &mut push)
            .ok_or_else(|| usage(format_args!("free: pfn {:#x} was not taken by alloc", pfn.get())))?,
    };
    match freed {
        Ok(()) => {}
        Err(FreeError::BadPfn(_)) => return Err(usage(format_args!("bad pfn {:#x}", pfn.get()))),
        Err(error) => report::corruption(format_args!("{error}")),
    }
    if traced {
        print_steps(&trace);
    }
    console::print(format_args!("freed pfn={:#x} order={}\n", pfn.get(), order.get()));
    Ok(())
}
