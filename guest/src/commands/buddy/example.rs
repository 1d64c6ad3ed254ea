//! `buddy example`: the textbook request of three pages, and what happens when its blocks are freed.
//!
//! Owns: the words. What they say comes from the steps of a real allocation on a fresh arena and from the frames
//! afterwards. Page numbers are relative to the arena, `P`.

use crate::commands::support::{Trace, parse};
use crate::commands::{Args, Outcome, fail, usage};
use crate::console;
use crate::machine::Kernel;
use crate::memory::PHYS;
use crate::report;
use core::fmt;
use mm::addr::{Order, Pfn};
use mm::phys::{AllocError, Arena, FolioState, Frames, FreeError, GfpFlags, Step};
use shared::exit::ExitStatus;

/// A number of pages has at most this many bits.
const BLOCKS: usize = Order::COUNT;

/// A place in the arena, in pages from its start.
#[derive(Clone, Copy)]
struct At(u64);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("P"),
            n => write!(f, "P+{n}"),
        }
    }
}

fn at(arena: &Arena<'_, Kernel>, pfn: Pfn) -> At {
    At(pfn.get() - arena.pfn().get())
}

/// The blocks of the request that are held, largest first.
type Blocks<'a> = [Option<Frames<'a>>; BLOCKS];

/// Which blocks to free, by size in pages.
struct Plan<'t> {
    pages: u64,
    free: Option<&'t str>,
    hold_tail: bool,
}

impl<'t> Plan<'t> {
    fn parse(args: &mut Args<'t>) -> Result<Self, ExitStatus> {
        let pages = parse::number("size", args.next_word().unwrap_or(""))?;
        let mut plan = Self { pages, free: None, hold_tail: false };
        while let Some(word) = args.next_word() {
            match word {
                "--hold-tail" => plan.hold_tail = true,
                "--free" => {
                    let sizes = args.next_word();
                    plan.free =
                        Some(sizes.ok_or_else(|| usage(format_args!("--free: expected 1,2 or 2,1")))?);
                }
                _ => return Err(parse::unexpected("buddy example", word)),
            }
        }
        plan.check()?;
        Ok(plan)
    }

    /// Sizes must be those of the blocks that make up the request, each once.
    fn check(&self) -> Result<(), ExitStatus> {
        if Order::covering(self.pages).is_none() {
            return Err(usage(format_args!("bad size {} (1..{})", self.pages, Order::MAX.pages())));
        }
        let Some(text) = self.free else { return Ok(()) };
        let mut left = self.pages;
        for size in text.split(',') {
            let pages = parse::number("size", size)?;
            if !pages.is_power_of_two() || left & pages == 0 {
                return Err(usage(format_args!("--free: no block of {pages} pages in {}", self.pages)));
            }
            left &= !pages;
        }
        Ok(())
    }
}

fn no_memory(error: AllocError) -> ExitStatus {
    fail(ExitStatus::CheckFailed, format_args!("buddy example: {error}"))
}

/// Runs the example.
pub fn example(args: &mut Args<'_>) -> Outcome {
    let plan = Plan::parse(args)?;
    let order = Order::covering(plan.pages).unwrap_or(Order::MAX);
    let arena = PHYS.arena(GfpFlags::GFP_KERNEL, order).map_err(no_memory)?;
    let played = play(&arena, &plan);
    arena.dissolve().map_err(|busy| {
        fail(ExitStatus::CheckFailed, format_args!("buddy example: {} pages were lost", busy.pages))
    })?;
    played
}

/// Allocates as planned and frees everything.
fn play(arena: &Arena<'_, Kernel>, plan: &Plan<'_>) -> Outcome {
    console::print(format_args!("P={:#x}\n", arena.pfn().get()));
    let mut trace = Trace::new();
    let mut run = arena.alloc_exact(plan.pages, &mut |step| trace.push(step)).map_err(no_memory)?;
    let held = arena.order().pages() - arena.free_pages();
    console::print(format_args!("{}; wasted={}\n", Story { arena, trace: &trace }, held - plan.pages));
    let (mut blocks, mut tail): (Blocks<'_>, Blocks<'_>) =
        ([const { None }; BLOCKS], [const { None }; BLOCKS]);
    for slot in &mut blocks {
        *slot = run.take_block();
    }
    if plan.hold_tail {
        hold_tail(arena, &mut tail);
    }
    if plan.free.is_some() || plan.hold_tail {
        free_in_order(arena, plan, &mut blocks);
        console::print(format_args!("merged: {}\n", Remains(arena)));
    }
    for block in blocks.into_iter().chain(tail).flatten() {
        give_back(arena.free(block, &mut |_| {}));
    }
    Ok(())
}

fn give_back(freed: Result<(), FreeError>) {
    if let Err(error) = freed {
        report::corruption(format_args!("{error}"));
    }
}

/// Takes all that is free, as somebody else might meanwhile.
fn hold_tail<'a>(arena: &'a Arena<'_, Kernel>, tail: &mut Blocks<'a>) {
    for (slot, order) in tail.iter_mut().zip(Order::all()) {
        // What an exact request returns is at most one block of each order.
        if arena.free_blocks(order) > 0 {
            *slot = arena.alloc(order, &mut |_| {}).ok();
        }
    }
}

/// Frees blocks in the order of the plan, or all, smallest first.
fn free_in_order<'a>(arena: &'a Arena<'_, Kernel>, plan: &Plan<'_>, blocks: &mut Blocks<'a>) {
    let mut free = |pages: u64| {
        let wanted =
            |slot: &&mut Option<Frames<'a>>| slot.as_ref().is_some_and(|b| b.order().pages() == pages);
        let Some(block) = blocks.iter_mut().find(wanted).and_then(Option::take) else { return };
        let place = at(arena, block.pfn());
        let mut trace = Trace::new();
        give_back(arena.free(block, &mut |step| trace.push(step)));
        console::print(format_args!("free {pages}@{place}"));
        for step in trace.steps() {
            console::print(format_args!("; {step}"));
        }
        console::print(format_args!("\n"));
    };
    match plan.free {
        Some(text) => text.split(',').filter_map(|size| size.parse().ok()).for_each(free),
        None => Order::all().for_each(|order| free(order.pages())),
    }
}

/// `order2@P split: 1@P 1@P+2; ...; allocated 2@P 1@P+2; returned 1@P+3`.
struct Story<'a> {
    arena: &'a Arena<'a, Kernel>,
    trace: &'a Trace,
}

impl fmt::Display for Story<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |pfn| at(self.arena, pfn);
        write!(f, "order{}@P", self.arena.order().get())?;
        let mut first = true;
        for step in self.trace.steps() {
            let Step::Split { pfn, order } = step else { continue };
            let half = order.get().saturating_sub(1);
            if !first {
                write!(f, "; {}@{}", order.get(), place(pfn))?;
            }
            let upper = At(place(pfn).0 + order.pages() / 2);
            write!(f, " split: {half}@{} {half}@{upper}", place(pfn))?;
            first = false;
        }
        f.write_str("; allocated")?;
        for step in self.trace.steps() {
            if let Step::Keep { pfn, order } = step {
                write!(f, " {}@{}", order.pages(), place(pfn))?;
            }
        }
        let mut separator = "; returned";
        for step in self.trace.steps() {
            if let Step::Return { pfn, order } = step {
                write!(f, "{separator} {}@{}", order.pages(), place(pfn))?;
                separator = "";
            }
        }
        Ok(())
    }
}

/// The free blocks of an arena: `order1@P, order0@P+2`.
struct Remains<'a>(&'a Arena<'a, Kernel>);

impl fmt::Display for Remains<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut n, mut separator) = (0, "");
        while n < self.0.order().pages() {
            let folio = self.0.pfn().checked_add(n).and_then(|pfn| PHYS.folio(pfn));
            let Some(folio) = folio else { return Ok(()) };
            if folio.state == FolioState::Free {
                write!(f, "{separator}order{}@{}", folio.order.get(), At(n))?;
                separator = ", ";
            }
            n += folio.order.pages();
        }
        if separator.is_empty() { f.write_str("nothing") } else { Ok(()) }
    }
}
