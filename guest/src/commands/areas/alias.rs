//! `api vmap`: frames that lie anywhere, seen in a row.

use crate::commands::support::{Block, parse};
use crate::commands::{Args, Outcome, fail, usage};
use crate::console;
use crate::memory::areas::{self, AREAS};
use core::sync::atomic::Ordering::Relaxed;
use mm::addr::{Order, PAGE_SIZE};
use mm::phys::GfpFlags;
use shared::exit::ExitStatus;

/// The most pages that are mapped.
const PAGES: usize = 64;

/// Maps single pages backwards and looks at each through both mappings.
pub fn vmap(args: &mut Args<'_>) -> Outcome {
    let pages = parse::count("pages", args.next_word().unwrap_or(""))? as usize;
    if pages > PAGES {
        return Err(usage(format_args!("api vmap: at most {PAGES} pages")));
    }
    let failed = |what| fail(ExitStatus::CheckFailed, format_args!("api vmap: {what}"));
    let mut blocks = [const { None }; PAGES];
    for slot in blocks.iter_mut().take(pages) {
        *slot = Block::alloc(GfpFlags::GFP_KERNEL, Order::ZERO).ok();
    }
    let frames = blocks.each_ref().map(|block| block.as_ref().map(Block::pfn).unwrap_or_default());
    let have = blocks.iter().flatten().count();
    let used = frames.get(..have).unwrap_or_default();
    let at = areas::vmap(used.iter().rev().copied()).map_err(|_| failed("no addresses or tables"))?;
    let mut right = have == pages;
    for (n, block) in blocks.iter().flatten().rev().enumerate() {
        let word = (at.get() + n as u64 * PAGE_SIZE) as *mut u64;
        // SAFETY: the area was just made over frames of this command, which are reached by words only.
        unsafe { word.write_volatile(!(n as u64)) };
        right &= block.word(0).load(Relaxed) == !(n as u64);
        block.word(0).store(n as u64, Relaxed);
        // SAFETY: as above.
        right &= unsafe { word.read_volatile() } == n as u64;
    }
    console::print(format_args!(
        "vmap({pages}) -> {:#x} data={}\n",
        at.get(),
        if right { "ok" } else { "bad" }
    ));
    AREAS.vunmap(at).map_err(|_| failed("vunmap refused the area"))?;
    AREAS.purge();
    if right { Ok(()) } else { Err(failed("the two mappings differ")) }
}
