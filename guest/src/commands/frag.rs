//! `frag churn`: what a long run of allocations and frees leaves of large blocks.
//!
//! Owns: the run and the measure: which part of the free memory can be had in blocks of order 9. The same seed gives
//! the same run.

use super::support::{Block, Ledger, Random, Words, parse};
use super::{Args, Command, Outcome, fail, usage};
use crate::console;
use crate::memory::PHYS;
use mm::addr::Order;
use mm::phys::{GfpFlags, Zone};
use shared::exit::ExitStatus;

/// The family.
pub const FRAG: &[Command] = &[Command {
    name: "frag",
    usage: "churn [ops=N] [seed=N]",
    summary: "allocates and frees small blocks at random, and shows what of free memory is left in large ones",
    run: frag,
}];

const DEFAULT_OPS: u64 = 1_000_000;
/// The largest order that is allocated.
const LARGEST: u32 = 3;
/// Half of the slots hold a block at any time, of two and a half pages on average: so many slots for four pages keep
/// nearly all memory in use.
const SLOTS: u64 = 3;
const SLOT_PAGES: u64 = 4;
/// Numbers that fit the largest block.
const MOST_SLOTS: u64 = Order::MAX.pages() * 512;

fn frag(args: &mut Args<'_>) -> Outcome {
    if !args.take("churn") {
        return Err(usage(format_args!("frag: expected 'churn [ops=N] [seed=N]'")));
    }
    let (mut ops, mut seed) = (DEFAULT_OPS, 1);
    while let Some(word) = args.next_word() {
        match parse::setting(word) {
            ("ops", Some(text)) => ops = parse::count("ops", text)?,
            ("seed", Some(text)) => seed = parse::number("seed", text)?,
            _ => return Err(parse::unexpected("frag churn", word)),
        }
    }
    show("before");
    let slots = (PHYS.total_free_pages() * SLOTS / SLOT_PAGES).min(MOST_SLOTS) as usize;
    let table = Words::alloc(slots);
    let Some(mut table) = table else {
        return Err(fail(ExitStatus::CheckFailed, format_args!("frag churn: no memory to work with")));
    };
    let mut churn = Churn { random: Random::new(seed), allocs: 0, frees: 0, fails: 0 };
    let slots = table.get_mut(..slots).unwrap_or_default();
    churn.run(ops, slots);
    show("during");
    slots.iter_mut().for_each(|slot| churn.give_back(slot));
    drop(table);
    show("after");
    let Churn { allocs, frees, fails, .. } = churn;
    console::print(format_args!(
        "churn: ops={ops} seed={seed} allocs={allocs} frees={frees} fails={fails}\n"
    ));
    Ok(())
}

struct Churn {
    random: Random,
    allocs: u64,
    frees: u64,
    fails: u64,
}

impl Churn {
    fn run(&mut self, ops: u64, slots: &mut [u64]) {
        for _ in 0..ops {
            match slots.get_mut(self.random.below(slots.len() as u64) as usize) {
                Some(slot) if *slot != 0 => self.give_back(slot),
                Some(slot) => self.take(slot),
                None => {}
            }
        }
    }

    fn take(&mut self, slot: &mut u64) {
        let order = Order::new(self.random.word().trailing_zeros().min(LARGEST)).unwrap_or_default();
        let kind = match self.random.below(4) {
            0 => GfpFlags::__GFP_RECLAIMABLE,
            1 => GfpFlags::empty(),
            _ => GfpFlags::__GFP_MOVABLE,
        };
        match Block::alloc(GfpFlags::GFP_KERNEL | kind, order) {
            Ok(block) => {
                self.allocs += 1;
                *slot = block.pack();
            }
            Err(_) => self.fails += 1,
        }
    }

    fn give_back(&mut self, slot: &mut u64) {
        // SAFETY: `take` stored what `pack` gave; the slot is empty now.
        if let Some(block) = unsafe { Block::unpack(core::mem::take(slot)) } {
            self.frees += 1;
            drop(block);
        }
    }
}

/// Prints which part of the free memory is of use as blocks of order 9: as the lists say, and as allocating them all
/// shows.
fn show(when: &str) {
    PHYS.take_in_deferred(u32::MAX);
    PHYS.drain_all_pages();
    let free = PHYS.total_free_pages();
    let listed: u64 = PHYS.populated_zones().map(|zone: &Zone| zone.pages_in_blocks(Order::PAGEBLOCK)).sum();
    let mut blocks = Ledger::new();
    // All there is: marks do not count.
    let gfp = GfpFlags::GFP_KERNEL | GfpFlags::__GFP_MEMALLOC | GfpFlags::__GFP_NOWARN;
    while let Ok(block) = Block::alloc(gfp, Order::PAGEBLOCK) {
        blocks.push(block);
    }
    let taken = blocks.len() * Order::PAGEBLOCK.pages();
    drop(blocks);
    PHYS.drain_all_pages();
    let permille = taken * 1000 / free.max(1);
    console::print(format_args!(
        "{when}: free={free} in_order9_blocks={listed} allocated_as_order9={taken} order9_success={}.{}%\n",
        permille / 10,
        permille % 10
    ));
}
