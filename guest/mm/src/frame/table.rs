//! The tables: one descriptor per frame and one word per pageblock, in memory that the caller supplies.
//!
//! Owns: the mapping from frame numbers to descriptors (Linux's vmemmap). Stays outside: where that memory is and
//! how it is mapped. Invariants: words are zero until their block is taken in, and so its descriptors are made:
//! memory that nobody has used since power-on is not touched, memory that firmware has used is not trusted. A
//! block of 4 MiB is taken in as a whole, so two neighbours that can be buddies are always both valid.

use super::{Frame, FrameIdx, Kind, MigrateType, Pageblock, State, ZoneId};
use crate::addr::{Order, Pfn};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU16, Ordering};

/// How much memory the tables need, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TablesSize {
    /// For the descriptors.
    pub frames: u64,
    /// For the pageblock words.
    pub pageblocks: u64,
}

/// The memory of the tables.
///
/// `frames` may be a sparse mapping: only the part that describes a 4 MiB block with RAM in it must exist.
#[derive(Clone, Copy, Debug)]
pub struct Tables {
    /// Descriptor 0; descriptor `n` is `n` elements further on.
    pub frames: NonNull<Frame>,
    /// The word of pageblock 0.
    pub pageblocks: NonNull<u16>,
    /// The first frame number that the tables do not cover.
    pub end: Pfn,
}

impl Tables {
    /// The size of tables for all frames below `end`, rounded up to whole 4 MiB blocks.
    #[must_use]
    pub const fn size(end: Pfn) -> TablesSize {
        let blocks = end.get().div_ceil(Order::MAX.pages());
        TablesSize {
            frames: blocks * Order::MAX.pages() * size_of::<Frame>() as u64,
            pageblocks: blocks * 2 * size_of::<u16>() as u64,
        }
    }
}

/// See the module documentation. The empty table is all zero, so that a static before boot is, too.
#[derive(Clone, Copy)]
pub(crate) struct FrameTable {
    frames: *const Frame,
    pageblocks: *const AtomicU16,
    /// Frames covered: a multiple of a 4 MiB block, 0 before boot.
    end: u32,
}

// SAFETY: the table only hands out shared references to descriptors and words made of atomics.
unsafe impl Send for FrameTable {}
// SAFETY: as above.
unsafe impl Sync for FrameTable {}

impl FrameTable {
    /// Covers nothing.
    pub(crate) const EMPTY: Self = Self { frames: ptr::null(), pageblocks: ptr::null(), end: 0 };

    /// A table over `tables`; `None` if frame numbers would not fit 32 bits.
    ///
    /// # Safety
    /// 1. Both areas are valid for [`Tables::size`] bytes from their start (descriptors of 4 MiB blocks without RAM
    ///    excepted), for as long as the result is used. The pageblock words are zero, the descriptors anything.
    /// 2. Nobody else writes them.
    pub(crate) unsafe fn new(tables: &Tables) -> Option<Self> {
        let end = tables.end.get().checked_next_multiple_of(Order::MAX.pages())?;
        let end = u32::try_from(end).ok()?;
        Some(Self { frames: tables.frames.as_ptr(), pageblocks: tables.pageblocks.as_ptr().cast(), end })
    }

    /// The first frame number that is not covered.
    pub(crate) const fn end(&self) -> u32 {
        self.end
    }

    /// The pageblock word of frame `pfn`; `None` above the table.
    #[inline(always)]
    fn word(&self, pfn: u64) -> Option<&AtomicU16> {
        if pfn >= u64::from(self.end) {
            return None;
        }
        // SAFETY: `new` was promised one word per pageblock below `end`.
        Some(unsafe { &*self.pageblocks.add((pfn >> Order::PAGEBLOCK.get()) as usize) })
    }

    /// The descriptor of a frame that is known to be covered.
    #[inline(always)]
    pub(crate) fn frame(&self, idx: FrameIdx) -> &Frame {
        // SAFETY: the invariant of `FrameIdx`: it lies in a covered 4 MiB block with RAM in it.
        unsafe { &*self.frames.add(idx.get() as usize) }
    }

    /// The pageblock of frame `pfn`; `None` above the table.
    #[inline(always)]
    pub(crate) fn pageblock(&self, pfn: u32) -> Option<Pageblock> {
        // Pairs with `take_in`: whoever sees the word sees descriptors that count.
        self.covering(pfn.into())
    }

    #[inline(always)]
    fn covering(&self, pfn: u64) -> Option<Pageblock> {
        Some(Pageblock::from_raw(self.word(pfn)?.load(Ordering::Acquire)))
    }

    /// The frame `pfn` and its pageblock, if the block around it has been taken in.
    #[inline(always)]
    pub(crate) fn lookup(&self, pfn: Pfn) -> Option<(FrameIdx, Pageblock)> {
        let block = self.covering(pfn.get())?;
        // Below the end of the table it fits 32 bits.
        if block.is_taken_in() { Some((FrameIdx::trusted(pfn.get() as u32)?, block)) } else { None }
    }

    /// The pageblock around a frame.
    #[inline(always)]
    pub(crate) fn around(&self, idx: FrameIdx) -> Pageblock {
        // SAFETY: the invariant of `FrameIdx`: it is below `end`, so its pageblock has a word.
        let word = unsafe { &*self.pageblocks.add((idx.get() >> Order::PAGEBLOCK.get()) as usize) };
        Pageblock::from_raw(word.load(Ordering::Relaxed))
    }

    /// The migrate type of the pageblock around a frame.
    #[inline(always)]
    pub(crate) fn migrate_type(&self, idx: FrameIdx) -> MigrateType {
        self.around(idx).migrate_type()
    }

    /// The blocks whose heads are among the `pages` frames from `start`, lowest first; none if the memory was not
    /// taken in. The frames lie in one 4 MiB block.
    pub(crate) fn heads(&self, start: u32, pages: u32) -> impl Iterator<Item = (FrameIdx, State)> {
        let taken_in = self.pageblock(start).is_some_and(Pageblock::is_taken_in);
        let end = if taken_in { start.saturating_add(pages) } else { start };
        let mut at = start;
        core::iter::from_fn(move || {
            while at < end {
                // Frame 0 has no index; it is always reserved.
                let Some(idx) = FrameIdx::trusted(at) else {
                    at += 1;
                    continue;
                };
                let state = self.frame(idx).state();
                if state.kind() != Kind::Reserved {
                    at = at.saturating_add(state.order().pages() as u32);
                    return Some((idx, state));
                }
                at += 1;
            }
            None
        })
    }

    /// Takes in the 4 MiB block around `pfn` for `zone`, all movable, as Linux starts out, and returns the frame.
    ///
    /// The caller knows that there is RAM in the block. `None` above the table and for frame 0.
    pub(crate) fn take_in(&self, pfn: u32, zone: ZoneId) -> Option<FrameIdx> {
        let start = pfn & !(Order::MAX.pages() as u32 - 1);
        for half in [start, start | Order::PAGEBLOCK.pages() as u32] {
            let word = self.word(half.into())?;
            if !Pageblock::from_raw(word.load(Ordering::Relaxed)).is_taken_in() {
                // SAFETY: the half is below `end`, in a block with RAM, so its descriptors exist; nobody looks at
                // them before the word says that they count.
                unsafe {
                    let first = self.frames.add(half as usize).cast_mut();
                    first.write_bytes(0, Order::PAGEBLOCK.pages() as usize);
                }
                word.store(Pageblock::new(zone, MigrateType::Movable).raw(), Ordering::Release);
            }
        }
        FrameIdx::trusted(pfn)
    }

    /// Changes the migrate type of the pageblocks that the block of `order` at `idx` covers or lies in.
    pub(crate) fn set_migrate_type(&self, idx: FrameIdx, order: Order, mt: MigrateType) {
        let end = idx.get().saturating_add(order.pages() as u32);
        for pfn in (idx.get()..end).step_by(Order::PAGEBLOCK.pages() as usize) {
            if let Some(word) = self.word(pfn.into()) {
                let block = Pageblock::from_raw(word.load(Ordering::Relaxed));
                word.store(Pageblock::new(block.zone(), mt).raw(), Ordering::Relaxed);
            }
        }
    }
}
