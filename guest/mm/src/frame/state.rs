//! The state word of a frame: a packed value with pure transitions.
//!
//! Owns: the bit layout and which transition is legal. Invariants: 0 is [`State::RESERVED`]; a word other than
//! reserved stands only at the head of a block of its order, aligned to it.
//!
//! | bits | meaning |
//! |---|---|
//! | 0..2 | kind |
//! | 2 | owner: the zone, or a private arena |
//! | 4..8 | order of the block that starts here |
//! | 8..11 | migrate type: of the list it is on, or that it was allocated for |
//! | 12..14 | page type: what an allocated block is used for, where that must be known from the frame |
//! | 14 | a plain slab: its objects need no care when they are freed |
//! | 15..28 | of a plain slab: the bits that are 0 in the address of every object |
//! | 16..32 | of a folio: its flags, which others may set and clear at any time |

use super::MigrateType;
use crate::addr::Order;

/// What a frame is to the allocator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Not a head: never given to the allocator, or inside a block.
    Reserved,
    /// Head of a free block that is on a free list.
    Free,
    /// Head of a block that somebody holds.
    Allocated,
    /// Head of a free block on a per-CPU list: the zone neither counts nor merges it.
    Cached,
}

/// Who keeps the free lists that a block may be on.
///
/// Blocks merge only with blocks of the same owner (Linux compares zone ids), so the frames of an arena never
/// merge with their neighbours outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    /// The zone of the frame.
    Zone,
    /// A private arena.
    Arena,
}

/// What an allocated block is used for (Linux `enum pagetype`). Such a block is freed by its user only: the type
/// must be gone before the zone takes it back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PageType {
    /// Nothing that the frame says.
    None,
    /// Objects of a slab cache.
    Slab,
    /// One object that is too large for the slab caches.
    LargeKmalloc,
    /// Memory of contexts: it has references and is mapped.
    Folio,
}

const KIND_MASK: u32 = 0b11;
const FREE: u32 = 1;
const ALLOCATED: u32 = 2;
const CACHED: u32 = 3;
const OWNER_SHIFT: u32 = 2;
const ORDER_SHIFT: u32 = 4;
const ORDER_MASK: u32 = 0xf << ORDER_SHIFT;
const TYPE_SHIFT: u32 = 8;
const USE_SHIFT: u32 = 12;
const USE_MASK: u32 = 0b11 << USE_SHIFT;
const PLAIN: u32 = 1 << 14;
const MISALIGNED_SHIFT: u32 = 15;
const MISALIGNED_BITS: u32 = 13;
const FOLIO_SHIFT: u32 = 16;
/// All that the page type gives a meaning.
const DETAIL_MASK: u32 = !0 << 14;
const SLAB_MASK: u32 = PLAIN | ((1 << MISALIGNED_BITS) - 1) << MISALIGNED_SHIFT;
/// Everything but the migrate type.
const BLOCK_MASK: u32 = KIND_MASK | 1 << OWNER_SHIFT | ORDER_MASK | USE_MASK;

/// Why a block cannot be released.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    /// No allocated block starts here.
    NotHeld,
    /// The block that starts here has this order.
    WrongOrder(Order),
}

/// See the module documentation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub(crate) struct State(u32);

impl State {
    /// Not the head of anything.
    pub(crate) const RESERVED: Self = Self(0);

    /// A stored word.
    #[inline(always)]
    pub(super) const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    /// The word to store.
    #[inline(always)]
    pub(super) const fn raw(self) -> u32 {
        self.0
    }

    #[inline(always)]
    const fn block(kind: u32, order: Order, owner: Owner) -> u32 {
        kind | (owner as u32) << OWNER_SHIFT | order.get() << ORDER_SHIFT
    }

    /// Head of a free block.
    #[inline(always)]
    pub(crate) const fn free(order: Order, mt: MigrateType, owner: Owner) -> Self {
        Self(Self::block(FREE, order, owner) | (mt as u32) << TYPE_SHIFT)
    }

    /// Head of a block that is handed out.
    #[inline(always)]
    pub(crate) const fn allocated(order: Order, mt: MigrateType, owner: Owner) -> Self {
        Self(Self::block(ALLOCATED, order, owner) | (mt as u32) << TYPE_SHIFT)
    }

    /// Head of a free block on a per-CPU list.
    #[inline(always)]
    pub(crate) const fn cached(order: Order, mt: MigrateType) -> Self {
        Self(Self::block(CACHED, order, Owner::Zone) | (mt as u32) << TYPE_SHIFT)
    }

    /// What the frame is.
    #[inline(always)]
    pub(crate) const fn kind(self) -> Kind {
        match self.0 & KIND_MASK {
            FREE => Kind::Free,
            ALLOCATED => Kind::Allocated,
            CACHED => Kind::Cached,
            _ => Kind::Reserved,
        }
    }

    /// Who keeps the lists.
    #[inline(always)]
    pub(crate) const fn owner(self) -> Owner {
        if self.0 >> OWNER_SHIFT & 1 == 0 { Owner::Zone } else { Owner::Arena }
    }

    /// The order of the block that starts here; 0 for a reserved frame.
    #[inline(always)]
    pub(crate) const fn order(self) -> Order {
        match Order::new((self.0 & ORDER_MASK) >> ORDER_SHIFT) {
            Some(order) => order,
            None => Order::MAX,
        }
    }

    /// The migrate type.
    #[inline(always)]
    pub(crate) const fn migrate_type(self) -> MigrateType {
        MigrateType::from_bits(self.0 >> TYPE_SHIFT)
    }

    /// What the block is used for.
    #[inline(always)]
    pub(crate) const fn page_type(self) -> PageType {
        match (self.0 & USE_MASK) >> USE_SHIFT {
            1 => PageType::Slab,
            2 => PageType::LargeKmalloc,
            3 => PageType::Folio,
            _ => PageType::None,
        }
    }

    /// The same block, used for this.
    #[inline(always)]
    pub(crate) const fn with_page_type(self, page_type: PageType) -> Self {
        Self(self.0 & !(USE_MASK | DETAIL_MASK) | (page_type as u32) << USE_SHIFT)
    }

    /// The same block, a slab whose objects need no care when they are freed; all their addresses are 0 in the bits of
    /// `misaligned`. The same as before if those do not fit.
    #[inline(always)]
    pub(crate) const fn with_plain_objects(self, misaligned: usize) -> Self {
        if misaligned >> MISALIGNED_BITS != 0 {
            return self;
        }
        Self(self.0 & !SLAB_MASK | PLAIN | (misaligned as u32) << MISALIGNED_SHIFT)
    }

    /// Where a word has these flags of a folio.
    #[inline(always)]
    pub(super) const fn of_folio_flags(flags: u16) -> u32 {
        (flags as u32) << FOLIO_SHIFT
    }

    /// The same folio with these flags.
    #[inline(always)]
    pub(crate) const fn with_folio_flags(self, flags: u16) -> Self {
        Self(self.0 & !Self::of_folio_flags(u16::MAX) | Self::of_folio_flags(flags))
    }

    /// The flags of a folio.
    #[inline(always)]
    pub(crate) const fn folio_flags(self) -> u16 {
        (self.0 >> FOLIO_SHIFT) as u16
    }

    /// Whether an allocated folio starts here.
    #[inline(always)]
    pub(crate) const fn is_folio(self) -> bool {
        self.0 & (KIND_MASK | USE_MASK) == ALLOCATED | (PageType::Folio as u32) << USE_SHIFT
    }

    /// Whether it is a slab whose objects need no care when they are freed.
    #[inline(always)]
    pub(crate) const fn is_plain_slab(self) -> bool {
        self.0 & (USE_MASK | PLAIN) == (PageType::Slab as u32) << USE_SHIFT | PLAIN
    }

    /// Of a plain slab: whether no object starts at `addr`.
    #[inline(always)]
    pub(crate) const fn is_misaligned(self, addr: usize) -> bool {
        // The state has nothing above the field.
        (self.0 >> MISALIGNED_SHIFT) as usize & addr != 0
    }

    /// Whether a free block of exactly this order and owner starts here (Linux `page_is_buddy`).
    #[inline(always)]
    pub(crate) const fn is_free_block(self, order: Order, owner: Owner) -> bool {
        self.0 & BLOCK_MASK == Self::block(FREE, order, owner)
    }

    /// Checks that an allocated block of `order` starts here and may be given back to `owner`.
    #[inline(always)]
    pub(crate) const fn release(self, order: Order, owner: Owner) -> Result<(), Refused> {
        if self.0 & BLOCK_MASK == Self::block(ALLOCATED, order, owner) {
            return Ok(());
        }
        let is_plain = owner as u32 == self.owner() as u32 && self.0 & USE_MASK == 0;
        match (self.kind(), is_plain) {
            (Kind::Allocated, true) => Err(Refused::WrongOrder(self.order())),
            _ => Err(Refused::NotHeld),
        }
    }
}
