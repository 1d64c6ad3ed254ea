//! Folios: blocks of frames that contexts map, with references and reverse mapping (Linux `struct folio`).
//!
//! Owns: what a descriptor says while its block is a folio. Stays outside: who maps it (`rmap`, page tables), what it
//! holds (the page cache, shared memory), and whether it is used much (reclaim). Invariants: a folio is freed by whoever
//! gives its last reference back, and by nobody else, for the page allocator refuses a block that still says it is a
//! folio; every entry of a page table that maps a part of it holds a reference; who holds one may read all of this.
//!
//! | holder's word | bits | meaning |
//! |---|---|---|
//! | small | 0..29 | references |
//! | | 29 | a folio: set as long as there is one, so that nobody takes a reference of something else |
//! | large 0 | | what it belongs to: an address with a kind in its two lowest bits; 0 for nothing |
//! | large 1 | 0..36 | its first page there |
//! | | 36..64 | entries that map it or a part of it |
//! | small of the second frame | | entries that map it as a whole, of more than one page |
//!
//! As Linux does without `CONFIG_PAGE_MAPCOUNT`, pages of a large folio are not counted one by one.

mod census;
mod flags;
mod free;
mod lock;

use crate::addr::{NodeId, Order, Pfn};
use crate::frame::{Frame, FrameIdx, FrameTable, PageType, ZoneId};
pub use census::PageCensus;
use core::sync::atomic::{AtomicU64, Ordering};
pub use flags::FolioFlags;
pub(crate) use free::free;

const INDEX_BITS: u32 = 36;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;
/// One mapping more.
const MAPPED: u64 = 1 << INDEX_BITS;

/// In the small word: a folio. Neither slabs nor page tables ever have this bit there.
const FOLIO: u32 = 1 << 29;
const REFS: u32 = FOLIO - 1;

/// What a folio belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mapping {
    /// Nothing.
    None,
    /// The anonymous memory of the areas linked to the anchor at this address.
    Anon(u64),
    /// An object of shared memory, by its address.
    Space(u64),
    /// The address space of a file or of a disk, by its address.
    File(u64),
}

const KIND: u64 = 0b11;
const ANON: u64 = 0b01;
const FILE: u64 = 0b10;

impl Mapping {
    /// As it is kept.
    pub(crate) const fn word(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Anon(at) => at | ANON,
            Self::Space(at) => at,
            Self::File(at) => at | FILE,
        }
    }

    const fn of(word: u64) -> Self {
        match (word, word & KIND) {
            (0, _) => Self::None,
            (_, ANON) => Self::Anon(word & !KIND),
            (_, FILE) => Self::File(word & !KIND),
            _ => Self::Space(word & !KIND),
        }
    }
}

/// The first frame of a folio.
#[derive(Clone, Copy)]
pub(crate) struct Folio<'t> {
    table: &'t FrameTable,
    idx: FrameIdx,
}

impl<'t> Folio<'t> {
    /// Makes a folio of the block of one order at `pfn`, which the caller has just allocated: one reference, no mapping.
    /// `None` if that is no frame of the table.
    #[inline(always)]
    pub(crate) fn create(
        table: &'t FrameTable,
        pfn: Pfn,
        mapping: Mapping,
        index: u64,
        flags: FolioFlags,
    ) -> Option<Self> {
        let (idx, _) = table.lookup(pfn)?;
        let frame = table.frame(idx);
        let [belongs, place] = frame.held_words();
        belongs.store(mapping.word(), Ordering::Relaxed);
        place.store(index & INDEX_MASK, Ordering::Relaxed);
        frame.publish_state(frame.state().with_page_type(PageType::Folio).with_folio_flags(flags.bits()));
        // Last: whoever gets a reference from now on finds it complete.
        frame.held().store(FOLIO | 1, Ordering::Release);
        Some(Self { table, idx })
    }

    /// The folio that the frame `pfn` is a part of, if it is one.
    #[inline(always)]
    pub(crate) fn of(table: &'t FrameTable, pfn: Pfn) -> Option<Self> {
        Some(Self::with_node(table, pfn)?.0)
    }

    /// As [`Folio::of`], with the node that its memory is on.
    #[inline(always)]
    pub(crate) fn with_node(table: &'t FrameTable, pfn: Pfn) -> Option<(Self, NodeId)> {
        let (idx, block) = table.lookup(pfn)?;
        let folio = Self::at(table, idx);
        let folio = if folio.frame().state().is_folio() { folio } else { Self::around(table, idx)? };
        Some((folio, block.zone().node))
    }

    /// The folio whose first frame is `idx`. The caller knows that there is one.
    #[inline(always)]
    pub(crate) fn at(table: &'t FrameTable, idx: FrameIdx) -> Self {
        Self { table, idx }
    }

    /// Its first descriptor.
    #[inline(always)]
    fn frame(self) -> &'t Frame {
        self.table.frame(self.idx)
    }

    /// The folio whose second or later frame `idx` is.
    #[cold]
    #[inline(never)]
    fn around(table: &'t FrameTable, idx: FrameIdx) -> Option<Self> {
        Order::all().skip(1).find_map(|order| {
            let idx = idx.block_start(order)?;
            let frame = table.frame(idx);
            let state = frame.state();
            (state.is_folio() && state.order() >= order).then_some(Self { table, idx })
        })
    }

    /// Its first frame.
    #[inline]
    pub(crate) fn pfn(self) -> Pfn {
        self.idx.pfn()
    }

    /// Its size.
    #[inline]
    pub(crate) fn order(self) -> Order {
        self.frame().state().order()
    }

    /// The node that its memory is on.
    #[inline]
    pub(crate) fn node(self) -> NodeId {
        self.table.around(self.idx).zone().node
    }

    /// The zone that it is in.
    #[inline]
    pub(crate) fn zone(self) -> ZoneId {
        self.table.around(self.idx).zone()
    }

    /// The table that it is in.
    #[inline]
    pub(crate) fn table(self) -> &'t FrameTable {
        self.table
    }

    /// Its flags now.
    #[inline]
    pub(crate) fn flags(self) -> FolioFlags {
        FolioFlags::from_bits_retain(self.frame().state().folio_flags())
    }

    /// Sets flags; those that were set before.
    #[inline]
    pub(crate) fn set_flags(self, flags: FolioFlags) -> FolioFlags {
        FolioFlags::from_bits_retain(self.frame().set_folio_flags(flags.bits()))
    }

    /// Clears flags; those that were set before.
    #[inline]
    pub(crate) fn clear_flags(self, flags: FolioFlags) -> FolioFlags {
        FolioFlags::from_bits_retain(self.frame().clear_folio_flags(flags.bits()))
    }

    /// Sets flags that are clear and clears those that are set.
    #[inline]
    pub(crate) fn flip_flags(self, flags: FolioFlags) {
        self.frame().flip_folio_flags(flags.bits());
    }

    /// Clears flags of a folio whose last reference is gone: nobody else changes them any more.
    #[inline]
    pub(crate) fn clear_flags_of_dead(self, flags: FolioFlags) {
        let state = self.frame().state();
        self.frame().set_state(state.with_folio_flags((self.flags() - flags).bits()));
    }

    /// Its place in the table.
    #[inline]
    pub(crate) fn idx(self) -> FrameIdx {
        self.idx
    }

    fn place(self) -> &'t AtomicU64 {
        &self.frame().held_words()[1]
    }

    /// What it belongs to.
    #[inline]
    pub(crate) fn mapping(self) -> Mapping {
        Mapping::of(self.frame().held_words()[0].load(Ordering::Acquire))
    }

    /// Whether it belongs to what has this [`Mapping::word`].
    #[inline(always)]
    pub(crate) fn belongs_to(self, word: u64) -> bool {
        let [belongs, _] = self.frame().held_words();
        belongs.load(Ordering::Acquire) == word
    }

    /// Its first page in what it belongs to.
    #[inline]
    pub(crate) fn index(self) -> u64 {
        self.place().load(Ordering::Relaxed) & INDEX_MASK
    }

    /// It belongs to something else from now on, at the same page of it.
    #[inline]
    pub(crate) fn attach(self, mapping: Mapping) {
        self.frame().held_words()[0].store(mapping.word(), Ordering::Release);
    }

    /// Says what a folio belongs to that nothing maps yet; the caller has it locked.
    pub(crate) fn set_owner(self, mapping: Mapping, index: u64) {
        self.place().store(index & INDEX_MASK, Ordering::Relaxed);
        self.frame().held_words()[0].store(mapping.word(), Ordering::Release);
    }

    /// References.
    #[inline]
    pub(crate) fn refs(self) -> u32 {
        self.frame().held().load(Ordering::Acquire) & REFS
    }

    /// Takes `n` more references. The caller holds one, or an entry that maps it and that nobody can take away.
    #[inline]
    pub(crate) fn get(self, n: u32) {
        self.frame().held().fetch_add(n, Ordering::Relaxed);
    }

    /// A reference to the folio whose first frame is `pfn`, if there is one with references (Linux `folio_try_get`). The
    /// caller may have read `pfn` somewhere a while ago: it looks there again, and gives the reference back if
    /// something else stands there now.
    #[inline]
    pub(crate) fn try_get(table: &'t FrameTable, pfn: Pfn) -> Option<Self> {
        let (idx, _) = table.lookup(pfn)?;
        let frame = table.frame(idx);
        let more = |held: u32| (held & FOLIO != 0 && held & REFS != 0).then_some(held + 1);
        // Acquire: what whoever made the folio wrote before its reference is seen.
        frame.held().fetch_update(Ordering::Acquire, Ordering::Relaxed, more).ok()?;
        Some(Self { table, idx })
    }

    /// If there are exactly `refs` references, the caller's among them, takes all of them: from now on nobody gets
    /// another (Linux `folio_ref_freeze`).
    #[must_use = "a frozen folio must be freed or thawed"]
    pub(crate) fn freeze(self, refs: u32) -> bool {
        let held = self.frame().held();
        held.compare_exchange(FOLIO | refs, FOLIO, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Gives a frozen folio `refs` references (Linux `folio_ref_unfreeze`).
    pub(crate) fn thaw(self, refs: u32) {
        self.frame().held().store(FOLIO | refs, Ordering::Release);
    }

    /// Gives `n` references back; whether those were the last. Then the folio is the caller's to free.
    #[inline]
    #[must_use = "a folio without references that nobody frees is lost"]
    pub(crate) fn put(self, n: u32) -> bool {
        // Release: what was done with the folio is done before it is freed. Acquire: by whoever frees it.
        self.frame().held().fetch_sub(n, Ordering::AcqRel) == FOLIO | n
    }

    /// Entries that map it or a part of it.
    #[inline]
    pub(crate) fn mapcount(self) -> u64 {
        self.place().load(Ordering::Acquire) >> INDEX_BITS
    }

    /// One entry maps it, of a folio that nobody else knows yet.
    #[inline]
    pub(crate) fn map_first(self) {
        let place = self.place();
        place.store(place.load(Ordering::Relaxed) + MAPPED, Ordering::Relaxed);
    }

    /// `n` entries more map it; whether none did.
    #[inline]
    pub(crate) fn add_mapped(self, n: u64) -> bool {
        self.place().fetch_add(n * MAPPED, Ordering::Relaxed) < MAPPED
    }

    /// `n` entries map it no more; whether none does.
    #[inline]
    pub(crate) fn sub_mapped(self, n: u64) -> bool {
        self.place().fetch_sub(n * MAPPED, Ordering::Relaxed) >> INDEX_BITS == n
    }

    fn whole(self) -> &'t core::sync::atomic::AtomicU32 {
        self.table.frame(self.idx.inside(1)).held()
    }

    /// Entries that map all of a folio of more than one page.
    pub(crate) fn entire_mapcount(self) -> u32 {
        self.whole().load(Ordering::Relaxed)
    }

    /// One entry more maps all of a folio of more than one page; whether none did.
    pub(crate) fn add_entire(self) -> bool {
        self.whole().fetch_add(1, Ordering::Relaxed) == 0
    }

    /// One entry less maps all of a folio of more than one page; whether none does.
    pub(crate) fn sub_entire(self) -> bool {
        self.whole().fetch_sub(1, Ordering::Relaxed) == 1
    }
}
