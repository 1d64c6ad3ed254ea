//! The arena: a buddy allocator of its own on one fresh block, for looking at the algorithm step by step.
//!
//! Owns: the one arena that a script may have open. Its blocks belong to the commands alone, so any number may be
//! given back to it: a wrong one is refused.

use super::sound;
use crate::machine::{CPU, Kernel};
use crate::memory::PHYS;
use crate::report;
use mm::addr::{Order, Pfn};
use mm::phys::{AllocError, Arena, FreeError, GfpFlags, Step};
use mm::sync::SpinLock;

static ARENA: SpinLock<Option<Arena<'static, Kernel>>> = SpinLock::new(None);

/// What is free in the arena, and where it is.
pub struct Info {
    /// Its first frame.
    pub pfn: Pfn,
    /// Its order.
    pub order: Order,
    /// Free blocks of each order.
    pub free: [u32; Order::COUNT],
}

/// Why there is no new arena.
pub enum OpenError {
    /// So many pages of the old one are held.
    Busy(u64),
    /// No block for it.
    Alloc(AllocError),
}

/// Closes the arena, if one is open.
///
/// # Errors
/// How many of its pages are held; it stays open then.
pub fn close() -> Result<(), u64> {
    let mut slot = ARENA.lock(&CPU);
    let held = slot.as_ref().map_or(0, |arena| arena.order().pages() - arena.free_pages());
    if held != 0 {
        return Err(held);
    }
    let old = slot.take();
    drop(slot);
    match old.map(Arena::dissolve) {
        None | Some(Ok(())) => Ok(()),
        Some(Err(busy)) => report::corruption(format_args!("arena lost {} pages", busy.pages)),
    }
}

/// Opens a fresh arena of 2^order pages; the one before is closed.
pub fn open(order: Order) -> Result<(), OpenError> {
    close().map_err(OpenError::Busy)?;
    let arena = PHYS.arena(GfpFlags::GFP_KERNEL, order).map_err(OpenError::Alloc)?;
    *ARENA.lock(&CPU) = Some(arena);
    Ok(())
}

/// Whether an arena is open.
pub fn is_open() -> bool {
    ARENA.lock(&CPU).is_some()
}

/// What is free in it; `None` if none is open.
pub fn info() -> Option<Info> {
    let slot = ARENA.lock(&CPU);
    let arena = slot.as_ref()?;
    let mut free = [0; Order::COUNT];
    for (cell, order) in free.iter_mut().zip(Order::all()) {
        *cell = arena.free_blocks(order);
    }
    Some(Info { pfn: arena.pfn(), order: arena.order(), free })
}

/// Checks its lists, if one is open; what does not hold is corruption.
pub fn check() -> bool {
    let slot = ARENA.lock(&CPU);
    let Some(arena) = slot.as_ref() else { return false };
    sound(arena.verify());
    true
}

/// Allocates from it.
pub fn alloc(order: Order, trace: &mut impl FnMut(Step)) -> Result<Pfn, AllocError> {
    let slot = ARENA.lock(&CPU);
    let arena = slot.as_ref().ok_or(AllocError::NotBooted)?;
    arena.alloc(order, trace).map(|frames| frames.into_raw().0)
}

/// Gives a block back to it; `None` if `pfn` is not in it.
pub fn free(pfn: Pfn, order: Order, trace: &mut impl FnMut(Step)) -> Option<Result<(), FreeError>> {
    let slot = ARENA.lock(&CPU);
    let arena = slot.as_ref()?;
    let inside = pfn.get().checked_sub(arena.pfn().get()).is_some_and(|n| n < arena.order().pages());
    // SAFETY: the blocks of the arena are the commands' own, and no handle to one outlives a command.
    inside.then(|| arena.free(unsafe { arena.frames_from_raw(pfn, order) }, trace))
}
