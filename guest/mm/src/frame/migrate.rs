//! Migrate types: what can be done with the pages of a block (Linux `enum migratetype`).
//!
//! Owns: the types, their order and their names as in `/proc/pagetypeinfo` of Linux 6.18 without CMA.

/// Groups pages by mobility, so that those that cannot move do not end up all over memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum MigrateType {
    /// Kernel data that is addressed physically: never moves.
    Unmovable = 0,
    /// Pages reached only through page tables or the page cache.
    Movable = 1,
    /// Kernel caches that can be dropped but not moved.
    Reclaimable = 2,
    /// Held back for allocations that may not wait.
    HighAtomic = 3,
    /// Being emptied; nothing is allocated from it.
    Isolate = 4,
}

impl MigrateType {
    /// How many types there are.
    pub const COUNT: usize = 5;
    /// Every type, in Linux's order.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Unmovable, Self::Movable, Self::Reclaimable, Self::HighAtomic, Self::Isolate];

    /// The type as an index, below [`MigrateType::COUNT`].
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The type of three stored bits; numbers that are never stored read as the last type.
    #[inline(always)]
    pub(super) const fn from_bits(bits: u32) -> Self {
        match bits & 7 {
            0 => Self::Unmovable,
            1 => Self::Movable,
            2 => Self::Reclaimable,
            3 => Self::HighAtomic,
            _ => Self::Isolate,
        }
    }

    /// Whether blocks of this type may merge with blocks of another such type above the pageblock order.
    #[inline(always)]
    #[must_use]
    pub const fn is_mergeable(self) -> bool {
        matches!(self, Self::Unmovable | Self::Movable | Self::Reclaimable)
    }

    /// Linux's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unmovable => "Unmovable",
            Self::Movable => "Movable",
            Self::Reclaimable => "Reclaimable",
            Self::HighAtomic => "HighAtomic",
            Self::Isolate => "Isolate",
        }
    }
}
