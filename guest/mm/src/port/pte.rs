//! The page-table entry: a raw word, what it can say, and the codec between the two.
//!
//! Owns: the vocabulary ([`PteBits`], [`PteView`], [`SwapEntry`]) and the contract of a codec ([`PteCodec`]).
//! Stays outside: bit positions (a codec's) and slots in memory (`pgtable`). Invariants: `encode(view(raw))
//! == raw` for every word; [`Pte::NONE`] is the word 0, so a zeroed frame is an empty table. Source: Intel
//! SDM vol. 3 ch. 4; Linux `include/linux/swapops.h`.

use crate::addr::{Pfn, PhysAddr};
use bitflags::bitflags;

bitflags! {
    /// What a page-table entry says, apart from its frame: the common language of all codecs.
    ///
    /// Bit positions are this crate's own; a codec translates them.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct PteBits: u32 {
        /// The entry translates.
        const PRESENT = 1 << 0;
        /// Writes are allowed.
        const WRITE = 1 << 1;
        /// Code outside the most privileged ring may use it.
        const USER = 1 << 2;
        /// Write-through caching.
        const WRITE_THROUGH = 1 << 3;
        /// Uncached.
        const NO_CACHE = 1 << 4;
        /// The MMU has used the entry.
        const ACCESSED = 1 << 5;
        /// The MMU has written through the entry.
        const DIRTY = 1 << 6;
        /// The entry is a leaf above the last level (2 MiB or 1 GiB).
        const HUGE = 1 << 7;
        /// The translation survives a change of root.
        const GLOBAL = 1 << 8;
        /// Software: the frame has no descriptor to count (Linux `_PAGE_SPECIAL`).
        const SPECIAL = 1 << 9;
        /// Software: write-protected by userfaultfd.
        const UFFD_WP = 1 << 10;
        /// Software: written since the last soft-dirty clear.
        const SOFT_DIRTY = 1 << 11;
        /// Instruction fetches fault.
        const NO_EXEC = 1 << 12;
        /// Software: the anonymous frame belongs to this mapping alone (Linux `_PAGE_SWP_EXCLUSIVE`).
        const EXCLUSIVE = 1 << 13;
    }
}

/// One raw entry. Only its codec knows what the bits mean; the word 0 is "nothing here" for all of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct Pte(u64);

impl Pte {
    /// The empty entry.
    pub const NONE: Self = Self(0);

    /// The entry with this raw word.
    #[must_use]
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// The raw word.
    #[must_use]
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// Whether the entry says nothing at all.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl core::fmt::Debug for Pte {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "E{:#x}", self.0)
    }
}

/// Where a page went: a swap area and a page offset in it (Linux `swp_entry_t`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SwapEntry(u64);

/// The bits of an offset in a [`SwapEntry`]; the number of the area stands above.
const OFFSET_BITS: u32 = SwapEntry::MAX_PAGES.trailing_zeros();

impl SwapEntry {
    /// How many swap areas an entry can name (Linux `MAX_SWAPFILES` is about as large).
    pub const MAX_AREAS: u32 = 32;
    /// How many pages of one area an entry can name: 4 PiB.
    pub const MAX_PAGES: u64 = 1 << 40;

    /// Page `offset` of swap area `area`; `None` if either does not fit an entry.
    #[must_use]
    pub const fn new(area: u32, offset: u64) -> Option<Self> {
        if area < Self::MAX_AREAS && offset < Self::MAX_PAGES {
            Some(Self((area as u64) << OFFSET_BITS | offset))
        } else {
            None
        }
    }

    /// The number of the swap area (Linux `swp_type`).
    #[must_use]
    pub const fn area(self) -> u32 {
        (self.0 >> OFFSET_BITS) as u32
    }

    /// The page in the area (Linux `swp_offset`).
    #[must_use]
    pub const fn offset(self) -> u64 {
        self.0 & (Self::MAX_PAGES - 1)
    }
}

/// Everything an entry can say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PteView {
    /// Nothing is mapped.
    None,
    /// The MMU translates through it: to a table, or to a frame if it is a leaf.
    Present {
        /// The frame or the table.
        addr: PhysAddr,
        /// [`PteBits::PRESENT`] is always among them.
        bits: PteBits,
    },
    /// Mapped but every access faults: `mprotect(PROT_NONE)` and NUMA hints. Keeps the frame and all rights.
    ProtNone {
        /// The frame.
        addr: PhysAddr,
        /// What the present entry will say again, without [`PteBits::PRESENT`].
        bits: PteBits,
    },
    /// The frame is being moved: who faults here waits until it has arrived.
    Migration {
        /// The frame that is moved.
        addr: PhysAddr,
        /// What the present entry will say again, without [`PteBits::PRESENT`].
        bits: PteBits,
    },
    /// The page is in swap.
    Swap {
        /// Where.
        entry: SwapEntry,
        /// What survives a swap-out: exclusive, soft-dirty, uffd-wp.
        bits: PteBits,
    },
    /// The frame has failed (hwpoison): who touches it is killed.
    Poisoned {
        /// The failed frame.
        pfn: Pfn,
    },
    /// A word that no code of this crate writes: the table is corrupt.
    Bad {
        /// The word as found.
        raw: u64,
    },
}

/// The format of one kind of page table: pure functions on words, without state.
///
/// `addr` arguments are multiples of the base page size; a codec drops the bits below it.
pub trait PteCodec: 'static {
    /// The bits of an entry that points to a lower table: all rights, so that the leaf alone decides.
    const TABLE_BITS: PteBits;

    /// The present entry for `addr` with `bits`; [`PteBits::PRESENT`] is implied.
    fn present(addr: PhysAddr, bits: PteBits) -> Pte;
    /// Whether the MMU would translate through `pte`.
    fn is_present(pte: Pte) -> bool;
    /// Whether `pte` is a leaf when it stands above the last level: mapped or parked (swap, migration, ...),
    /// but not a table and not none.
    fn is_huge(pte: Pte) -> bool;
    /// The address field of a present, prot-none or migration entry.
    fn addr(pte: Pte) -> PhysAddr;
    /// The flag bits of an entry, whatever its kind.
    fn bits(pte: Pte) -> PteBits;
    /// `pte` with its flag bits replaced by `bits`; address and kind (present or not) stay.
    ///
    /// For entries that have flags: not for none and poisoned ones.
    fn with_bits(pte: Pte, bits: PteBits) -> Pte;
    /// `pte` with flag bits set; as [`PteCodec::with_bits`].
    #[inline]
    fn set(pte: Pte, bits: PteBits) -> Pte {
        Self::with_bits(pte, Self::bits(pte) | bits)
    }
    /// `pte` with flag bits cleared; as [`PteCodec::with_bits`].
    #[inline]
    fn clear(pte: Pte, bits: PteBits) -> Pte {
        Self::with_bits(pte, Self::bits(pte) - bits)
    }
    /// Whether all of the flag bits are set.
    #[inline]
    fn has(pte: Pte, bits: PteBits) -> bool {
        Self::bits(pte).contains(bits)
    }
    /// Whether `old` has one of the flag bits that `new` has not.
    #[inline]
    fn loses(old: Pte, new: Pte, bits: PteBits) -> bool {
        (Self::bits(old) - Self::bits(new)).intersects(bits)
    }
    /// What the present entry `pte` is as [`PteView::ProtNone`].
    fn prot_none(pte: Pte) -> Pte;
    /// The same entry for the frame (or swap page) `pages` further on. Wraps past the end of the field.
    fn advance(pte: Pte, pages: u64) -> Pte;
    /// The word for `view`. A `Bad` keeps its word.
    fn encode(view: PteView) -> Pte;
    /// What `pte` says. Total: a word with a meaningless bit is [`PteView::Bad`].
    fn view(pte: Pte) -> PteView;
}
