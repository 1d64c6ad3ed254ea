//! What a descriptor says while its block is a slab or a large object.
//!
//! Owns: the packing of the holder's words. Invariants: only the head of a slab has cache, list and shared word; its
//! other frames say how far behind the head they are, so that any address finds its head; all of it is cleared
//! before the block goes back. Count and list change under the rules of the shared word's place.
//!
//! | holder's word | bits | meaning |
//! |---|---|---|
//! | small | 0..16 | objects that are not on the local list |
//! | | 16..30 | number of the cache |
//! | | 30 | the head of a slab |
//! | | 31 | not the head: bits 0..16 say how far behind it |
//! | large 0 | | the shared word |
//! | large 1 | | the first object of the local list, an address; 0 for none |

use crate::addr::Order;
use crate::frame::{Frame, FrameIdx, FrameTable, PageType};
use crate::mutant::planted;
use crate::sync::{Place, RemoteWord};
use core::sync::atomic::Ordering::Relaxed;

const CACHE_SHIFT: u32 = 16;
const CACHE_MASK: u32 = 0x3fff;
const COUNT_MASK: u32 = 0xffff;
const HEAD: u32 = 1 << 30;
const TAIL: u32 = 1 << 31;

/// The head of a slab.
#[derive(Clone, Copy)]
pub(super) struct SlabFrame<'t> {
    frame: &'t Frame,
    idx: FrameIdx,
}

impl<'t> SlabFrame<'t> {
    /// The head at `idx`, which the caller knows to be one.
    #[inline(always)]
    pub(super) fn at(table: &'t FrameTable, idx: FrameIdx) -> Self {
        Self { frame: table.frame(idx), idx }
    }

    /// Which frame it is.
    #[inline(always)]
    pub(super) fn idx(self) -> FrameIdx {
        self.idx
    }

    /// The number of its cache.
    #[inline(always)]
    pub(super) fn cache_id(self) -> u32 {
        self.frame.held().load(Relaxed) >> CACHE_SHIFT & CACHE_MASK
    }

    /// Whether it is the head of a slab of the cache whose frames have this mark.
    #[inline(always)]
    pub(super) fn has_mark(self, mark: u32) -> bool {
        self.frame.held().load(Relaxed) >> CACHE_SHIFT == mark
    }

    /// Objects that are not on the local list.
    #[inline(always)]
    pub(super) fn inuse(self) -> u32 {
        self.frame.held().load(Relaxed) & COUNT_MASK
    }

    /// Sets the number of objects that are not on the local list.
    #[inline(always)]
    pub(super) fn set_inuse(self, inuse: u32) {
        let held = self.frame.held();
        held.store(held.load(Relaxed) & !COUNT_MASK | inuse & COUNT_MASK, Relaxed);
    }

    /// One object more on the local list; how many are not.
    #[inline(always)]
    pub(super) fn one_back(self) -> u32 {
        let held = self.frame.held();
        let left = held.load(Relaxed).wrapping_sub(u32::from(!planted("slab.use_count_sticks")));
        held.store(left, Relaxed);
        left & COUNT_MASK
    }

    /// The first object of the local list, or 0.
    #[inline(always)]
    pub(super) fn freelist(self) -> usize {
        self.frame.held_words()[1].load(Relaxed) as usize
    }

    /// Sets the first object of the local list.
    #[inline(always)]
    pub(super) fn set_freelist(self, object: usize) {
        self.frame.held_words()[1].store(object as u64, Relaxed);
    }

    /// The shared word.
    #[inline(always)]
    pub(super) fn word(self) -> RemoteWord<'t> {
        RemoteWord(&self.frame.held_words()[0])
    }
}

/// The mark of the slabs of cache `id`.
pub(super) const fn mark_of(id: u32) -> u32 {
    HEAD >> CACHE_SHIFT | id & CACHE_MASK
}

/// What lies at a frame.
#[derive(Clone, Copy)]
pub(super) enum Held<'t> {
    /// A slab, and how many frames behind its head this one is.
    Slab(SlabFrame<'t>, u32),
    /// The first frame of a large object of this order.
    Large(FrameIdx, Order),
    /// Nothing of the slab allocator's.
    Nothing,
}

/// Who holds the frame `idx`.
#[inline(always)]
pub(super) fn held(table: &FrameTable, idx: FrameIdx) -> Held<'_> {
    let frame = table.frame(idx);
    let state = frame.state();
    match state.page_type() {
        PageType::Slab => Held::Slab(SlabFrame { frame, idx }, 0),
        PageType::LargeKmalloc => Held::Large(idx, state.order()),
        PageType::None => tail(table, idx, frame),
    }
}

#[inline]
fn tail<'t>(table: &'t FrameTable, idx: FrameIdx, frame: &Frame) -> Held<'t> {
    let held = frame.held().load(Relaxed);
    if held & TAIL == 0 {
        return Held::Nothing;
    }
    let behind = held & COUNT_MASK;
    let head = idx.back(behind);
    match head.map(|head| SlabFrame::at(table, head)) {
        Some(slab) if slab.frame.state().page_type() == PageType::Slab => Held::Slab(slab, behind),
        _ => Held::Nothing,
    }
}

/// Marks an allocated block as a slab of cache `id` in `place`, with no object on its local list.
pub(super) fn make_slab(table: &FrameTable, idx: FrameIdx, order: Order, id: u32, place: Place) {
    for behind in 1..order.pages() as u32 {
        if let Some(frame) = idx.within(order, behind) {
            table.frame(frame).held().store(TAIL | behind, Relaxed);
        }
    }
    let slab = SlabFrame::at(table, idx);
    slab.frame.held().store(mark_of(id) << CACHE_SHIFT, Relaxed);
    slab.set_freelist(0);
    slab.word().init(place);
    slab.frame.set_state(slab.frame.state().with_page_type(PageType::Slab));
}

/// Marks an allocated block as one large object.
pub(super) fn make_large(table: &FrameTable, idx: FrameIdx) {
    let frame = table.frame(idx);
    frame.set_state(frame.state().with_page_type(PageType::LargeKmalloc));
}

/// Clears all marks, so that the block can go back.
pub(super) fn clear(table: &FrameTable, idx: FrameIdx, order: Order) {
    let head = table.frame(idx);
    head.set_state(head.state().with_page_type(PageType::None));
    head.held_words().iter().for_each(|word| word.store(0, Relaxed));
    for behind in 0..order.pages() as u32 {
        if let Some(frame) = idx.within(order, behind) {
            table
                .frame(frame)
                .held()
                .store(if planted("slab.tails_stay") { TAIL | behind } else { 0 }, Relaxed);
        }
    }
}
