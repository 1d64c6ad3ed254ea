//! What a descriptor says while its block is a slab or a large object.
//!
//! Owns: the packing of the holder's words. Invariants: only the head of a slab has cache, list and shared word; its
//! other frames say how far behind the head they are, so that any address finds its head; all of it is cleared
//! before the block goes back. Count and list change under the rules of the shared word's place.
//!
//! | holder's word | bits | meaning |
//! |---|---|---|
//! | small | 0..15 | objects that are not on the local list |
//! | | 15 | the active slab of a CPU |
//! | | 16..24 | number of the cache |
//! | | 30 | the head of a slab |
//! | | 31 | not the head: bits 0..15 say how far behind it |
//! | large 0 | | the shared word |
//! | large 1 | | the first object of the local list, an address; 0 for none |

use super::cache::Cache;
use super::registry::MAX_CACHES;
use crate::addr::Order;
use crate::frame::{Frame, FrameIdx, FrameTable, PageType};
use crate::mutant::planted;
use crate::sync::{Chain, Place, RemoteWord};
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

const CACHE_SHIFT: u32 = 16;
const CACHE_MASK: u32 = 0xff;
const _: () = assert!(MAX_CACHES == CACHE_MASK as usize + 1);
const COUNT_MASK: u32 = 0x7fff;
/// So the count of an active slab never looks like that of an empty one.
const ACTIVE: u32 = 1 << 15;
const HEAD: u32 = 1 << 30;
const TAIL: u32 = 1 << 31;

/// The local list of a slab: what the short ways touch.
#[derive(Clone, Copy)]
pub(super) struct LocalList<'t>(&'t Frame);

impl<'t> LocalList<'t> {
    /// That of the slab with this head.
    #[inline(always)]
    pub(super) fn of(frame: &'t Frame) -> Self {
        Self(frame)
    }

    /// The first object of the local list, or 0.
    #[inline(always)]
    pub(super) fn freelist(self) -> usize {
        self.0.held_words()[1].load(Relaxed) as usize
    }

    /// Sets the first object of the local list.
    #[inline(always)]
    pub(super) fn set_freelist(self, object: usize) {
        self.0.held_words()[1].store(object as u64, Relaxed);
    }

    /// Puts a free object of the slab on the local list, with a link to `first`, the one that is first now; as
    /// [`LocalList::one_back`].
    #[inline(always)]
    pub(super) fn push(
        self,
        object: NonNull<u8>,
        first: usize,
        link: impl FnOnce(NonNull<u8>, usize),
    ) -> bool {
        link(object, first);
        self.set_freelist(object.as_ptr().addr());
        self.one_back()
    }

    /// One object more on the local list; whether all are there now, and the slab is not active.
    #[inline(always)]
    pub(super) fn one_back(self) -> bool {
        let held = self.0.held();
        let left = held.load(Relaxed).wrapping_sub(u32::from(!planted("slab.use_count_sticks")));
        held.store(left, Relaxed);
        left & (ACTIVE | COUNT_MASK) == 0
    }

    /// One object less on the local list.
    #[inline(always)]
    pub(super) fn one_out(self) {
        let held = self.0.held();
        held.store(held.load(Relaxed).wrapping_add(1), Relaxed);
    }
}

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

    /// Its descriptor.
    #[inline(always)]
    pub(super) fn frame(self) -> &'t Frame {
        self.frame
    }

    /// Its local list.
    #[inline(always)]
    pub(super) fn local(self) -> LocalList<'t> {
        LocalList(self.frame)
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

    /// Says whether it is the active slab of a CPU.
    #[inline]
    pub(super) fn set_active(self, is_active: bool) {
        let held = self.frame.held();
        held.store(held.load(Relaxed) & !ACTIVE | if is_active { ACTIVE } else { 0 }, Relaxed);
    }

    /// Sets the number of objects that are not on the local list.
    #[inline(always)]
    pub(super) fn set_inuse(self, inuse: u32) {
        let held = self.frame.held();
        held.store(held.load(Relaxed) & !COUNT_MASK | inuse & COUNT_MASK, Relaxed);
    }

    /// Makes the chain that others have freed, which has been taken off the word, the local list, which is empty.
    pub(super) fn adopt(self, first: usize, chain: Chain) {
        self.local().set_freelist(first);
        self.set_inuse(self.inuse().saturating_sub(chain.count));
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

/// The head of the slab that the byte at `addr` in the frame `idx` belongs to, if it is a plain one and an object starts
/// there.
#[inline(always)]
pub(super) fn plain(table: &FrameTable, idx: FrameIdx, addr: usize) -> Option<SlabFrame<'_>> {
    let (mut slab, mut state) = (SlabFrame::at(table, idx), table.frame(idx).state());
    if !state.is_plain_slab() {
        let held = slab.frame.held().load(Relaxed);
        if held & TAIL == 0 {
            return None;
        }
        slab = SlabFrame::at(table, idx.back(held & COUNT_MASK)?);
        state = slab.frame.state();
        if !state.is_plain_slab() {
            return None;
        }
    }
    (!state.is_misaligned(addr) || planted("slab.kfrees_the_middle")).then_some(slab)
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
        PageType::Folio => Held::Nothing,
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

/// Marks an allocated block as a slab of `cache` in `place`, with no object on its local list.
pub(super) fn make_slab(table: &FrameTable, idx: FrameIdx, cache: &Cache, place: Place) {
    let order = cache.geometry.order;
    for behind in 1..order.pages() as u32 {
        if let Some(frame) = idx.within(order, behind) {
            table.frame(frame).held().store(TAIL | behind, Relaxed);
        }
    }
    let slab = SlabFrame::at(table, idx);
    slab.frame.held().store(mark_of(cache.id) << CACHE_SHIFT, Relaxed);
    slab.local().set_freelist(0);
    slab.word().init(place);
    let state = slab.frame.state().with_page_type(PageType::Slab);
    slab.frame.set_state(if cache.is_plain { state.with_plain_objects(cache.misaligned) } else { state });
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
