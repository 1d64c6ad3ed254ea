//! `mempool`: pages set aside, shown on a machine that has no other page left.

use super::support::{Block, Ledger, parse};
use super::{Args, Command, Outcome, fail, usage};
use crate::console;
use crate::machine::CPU;
use mm::addr::Order;
use mm::mempool::{Freed, Mempool};
use mm::phys::GfpFlags;
use shared::exit::ExitStatus;

/// The family.
pub const MEMPOOL: &[Command] = &[Command {
    name: "mempool",
    usage: "[min=N]",
    summary: "sets N pages aside, takes all others, and goes on with those",
    run: mempool,
}];

/// The most pages of a pool.
const MOST: usize = 64;
const DEFAULT_MIN: u64 = 8;

type Pages = Mempool<Block, MOST>;

fn page() -> Option<Block> {
    Block::alloc(GfpFlags::GFP_KERNEL, Order::ZERO).ok()
}

fn mempool(args: &mut Args<'_>) -> Outcome {
    let min = args.take_key("min").map_or(Ok(DEFAULT_MIN), |text| parse::count("min", text))?;
    let min = usize::try_from(min).ok().filter(|min| *min <= MOST);
    let Some(min) = min else { return Err(usage(format_args!("mempool: at most {MOST} pages"))) };
    let pool = Pages::new();
    let failed = |what| fail(ExitStatus::CheckFailed, format_args!("mempool: {what}"));
    pool.resize(&CPU, min, page, drop).map_err(|_| failed("not enough memory for the reserve"))?;
    let mut all = Ledger::new();
    while let Some(block) = page() {
        all.push(block);
    }
    let mut held = [const { None }; MOST];
    for slot in held.iter_mut().take(min) {
        *slot = pool.alloc(&CPU, page);
    }
    let got = held.iter().flatten().count();
    let beyond = pool.alloc(&CPU, page).is_none();
    let kept = held.iter_mut().filter_map(Option::take);
    let kept = kept.map(|block| pool.free(&CPU, block, drop)).filter(|freed| *freed == Freed::Kept);
    let refilled = kept.count();
    let taken = all.len();
    drop(all);
    let emptied = pool.resize(&CPU, 0, page, drop).is_ok() && pool.reserve(&CPU) == 0;
    console::print(format_args!(
        "min={min} others_taken={taken} from_reserve={got} beyond={} refilled={refilled}\n",
        if beyond { "none" } else { "some" }
    ));
    if got == min && beyond && refilled == min && emptied {
        Ok(())
    } else {
        Err(failed("the reserve did not hold"))
    }
}
