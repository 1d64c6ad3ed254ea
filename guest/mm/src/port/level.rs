//! The geometry of a radix page table: levels of 512 entries, numbered from the leaf side.
//!
//! Owns: [`Level`], its sizes and its Linux names. Invariants: a level is 1 to 5.
//! Source: Intel SDM vol. 3 ch. 4.5; Linux `include/linux/pgtable.h` and the folding of `pgtable-nop4d.h`.

use crate::addr::{PAGE_SHIFT, PAGE_SIZE, VirtAddr};

/// log2 of the entries in a table.
const INDEX_BITS: u32 = 9;

/// A level of the page table: 1 is the last (Linux pte), then pmd, pud, p4d; 5 is the deepest root.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Level(u8);

impl Level {
    /// Leaves of 4 KiB.
    pub const PTE: Self = Self(1);
    /// Leaves of 2 MiB.
    pub const PMD: Self = Self(2);
    /// Leaves of 1 GiB.
    pub const PUD: Self = Self(3);
    /// The root of four-level tables: entries of 512 GiB, never leaves.
    pub const P4D: Self = Self(4);
    /// The root of five-level tables: entries of 256 TiB, never leaves.
    pub const PGD: Self = Self(5);
    /// How many levels there can be.
    pub const MAX: usize = 5;
    /// Entries in a table of any level.
    pub const ENTRIES: usize = 1 << INDEX_BITS;

    /// Level `n`, if there is one.
    #[must_use]
    pub const fn new(n: u32) -> Option<Self> {
        if n >= 1 && n <= Self::MAX as u32 { Some(Self(n as u8)) } else { None }
    }

    /// The number of the level: how many tables a walk that ends here has left, itself included.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0 as u32
    }

    /// log2 of the bytes that one entry of this level covers.
    #[must_use]
    pub const fn shift(self) -> u32 {
        PAGE_SHIFT + INDEX_BITS * (self.0 as u32 - 1)
    }

    /// Bytes that one entry of this level covers.
    #[must_use]
    pub const fn size(self) -> u64 {
        1 << self.shift()
    }

    /// Base pages that one entry of this level covers.
    #[must_use]
    pub const fn pages(self) -> u64 {
        self.size() / PAGE_SIZE
    }

    /// The next level towards the leaves.
    #[must_use]
    pub const fn down(self) -> Option<Self> {
        Self::new(self.0 as u32 - 1)
    }

    /// The next level towards the root.
    #[must_use]
    pub const fn up(self) -> Option<Self> {
        Self::new(self.0 as u32 + 1)
    }

    /// Which entry of a table of this level translates `va`: below [`Level::ENTRIES`].
    #[must_use]
    pub const fn index(self, va: VirtAddr) -> usize {
        (va.get() >> self.shift()) as usize & (Self::ENTRIES - 1)
    }

    /// What Linux calls this level in a tree whose root is `root`: the root is the pgd, the levels that a
    /// shorter tree lacks are folded into it.
    #[must_use]
    pub const fn name(self, root: Self) -> &'static str {
        if self.0 == root.0 {
            return "PGD";
        }
        match self.0 {
            1 => "PTE",
            2 => "PMD",
            3 => "PUD",
            _ => "P4D",
        }
    }
}
