//! The blocks that `alloc` has taken and nobody has freed.
//!
//! Invariants: a block in the table is owned by it; only such blocks go back to the zones, so no command can free
//! what belongs to the kernel. Blocks of the arena are not in the table, because the arena is the commands' own.

use crate::machine::CPU;
use crate::memory::PHYS;
use mm::addr::{Order, Pfn};
use mm::phys::{FreeError, Step};
use mm::sync::SpinLock;

/// How many blocks can be held.
pub const MAX: usize = 64;

type Entry = (Pfn, Order);

struct Held {
    blocks: [Option<Entry>; MAX],
    /// The newest block, freed or not, of zone or arena.
    last: Option<Entry>,
}

static HELD: SpinLock<Held> = SpinLock::new(Held { blocks: [None; MAX], last: None });

/// Whether no more blocks can be held.
pub fn is_full() -> bool {
    HELD.lock(&CPU).blocks.iter().all(Option::is_some)
}

/// Records a block of a zone, which is the table's from now on. There is room: see [`is_full`].
pub fn hold(pfn: Pfn, order: Order) {
    let mut held = HELD.lock(&CPU);
    if let Some(slot) = held.blocks.iter_mut().find(|slot| slot.is_none()) {
        *slot = Some((pfn, order));
    }
    held.last = Some((pfn, order));
}

/// Records a block of the arena as the newest.
pub fn remember(pfn: Pfn, order: Order) {
    HELD.lock(&CPU).last = Some((pfn, order));
}

/// The newest block, freed or not.
pub fn last() -> Option<Entry> {
    HELD.lock(&CPU).last
}

/// The order of a held block.
pub fn order_of(pfn: Pfn) -> Option<Order> {
    HELD.lock(&CPU).blocks.iter().flatten().find(|(at, _)| *at == pfn).map(|(_, order)| *order)
}

/// Frees a held block. Of a frame where none is held, that it is free already or was never RAM; `None` if it is
/// somebody else's.
pub fn free(pfn: Pfn, order: Order, trace: &mut impl FnMut(Step)) -> Option<Result<(), FreeError>> {
    let held = {
        let mut held = HELD.lock(&CPU);
        held.blocks.iter_mut().find(|slot| slot.is_some_and(|(at, _)| at == pfn)).and_then(Option::take)
    };
    if held.is_none() {
        let refusal = PHYS.check_free(pfn, order).err();
        return refusal.filter(|e| matches!(e, FreeError::DoubleFree(_) | FreeError::BadPfn(_))).map(Err);
    }
    // SAFETY: the block was in the table, so it was owned by it, and has just left it. A wrong order is refused.
    Some(PHYS.free_pages_traced(unsafe { PHYS.frames_from_raw(pfn, order) }, trace))
}
