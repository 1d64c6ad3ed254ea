//! Page tables: the same code for boot, the kernel and every task context, for 3, 4 and 5 levels.
//!
//! Owns: the tree below a root ([`PageTable`]): walking, mapping, changing, splitting, unmapping, counting;
//! the entry format of x86-64. Stays outside: which page belongs where and who may touch it (vma, fault),
//! what a frame is used for (frame, phys), instructions (ports). Source: Intel SDM vol. 3 ch. 4; Linux
//! `mm/memory.c`, `arch/x86/mm/pat/set_memory.c`.
//!
//! Entries of contexts may also be changed by many CPUs at once, each under the lock of a table (`space` says when); no
//! table is unlinked then. Otherwise, while one CPU changes the entries of a range (map, split,
//! update, unmap):
//!
//! - The MMU of any CPU may walk it and set A and D, at any time.
//! - Nobody else changes entries of that range: its owner is whoever holds its VMA lock, or the boot CPU.
//! - Others may walk it, and see it as it is at some moment; but not during an unmap, which frees tables: from
//!   its start until its gather is finished, nobody else walks or changes what a table that it may empty spans.
//! - Other ranges are free to change at the same time, even below the same tables: a new table is linked by
//!   compare-and-exchange, and the loser takes the winner's.
//!
//! - A prune frees only tables that its range covers whole, so that rule concerns its own range alone.
//!
//! Tables are unlinked only by unmap and prune, and freed only after a flush ([`Gather`]). Memory orderings are in `slot`.
//!
//! The upper half of every root holds the same entries, linked once and never unlinked, so a change below
//! them shows in all roots. Entries of tables carry all rights; the leaf alone decides.

mod census;
mod clone;
mod cost;
mod error;
mod frames;
mod gather;
mod map;
mod populate;
mod range;
mod root;
mod scan;
mod slot;
mod split;
mod sweep;
mod unmap;
mod update;
mod walk;
mod x86_64;

pub use census::{Census, Leaves, Stride};
pub use clone::CopyEntry;
pub use cost::walk_refs;
pub use error::{PtError, Why};
pub use frames::TableFrames;
pub use gather::{Flushed, Gather};
pub use populate::LastTable;
pub use range::PageRange;
pub use root::NotEmpty;
pub use slot::PteSlot;
pub use update::Rights;
pub use walk::{Entry, Step, Walk};
pub use x86_64::X86_64;

use crate::addr::PhysAddr;
use crate::port::{Level, Machine, Mmu, PteCodec};
use slot::Table;

/// The entry format of machine `M`.
type Codec<M> = <<M as Machine>::Mmu as Mmu>::Pte;

/// The tree of tables below one root. A handle: copying it copies nothing else.
pub struct PageTable<'m, M: Machine> {
    machine: &'m M,
    root: PhysAddr,
}

impl<M: Machine> Clone for PageTable<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Machine> Copy for PageTable<'_, M> {}

impl<'m, M: Machine> PageTable<'m, M> {
    /// The tree below the table at `root`.
    ///
    /// # Safety
    /// 1. `root` is a table of the machine's root level, and every present entry below it that is not a leaf
    ///    leads to a table of the next level. All of them stay tables while the handle is used, but for those
    ///    that `unmap` and `prune` unlink.
    /// 2. Who changes entries through the handle, its slots included, keeps to the rules of
    ///    [the module](crate::pgtable) and writes only what keeps (1).
    /// 3. No change breaks a mapping that Rust relies on (code, stacks, references).
    /// 4. The `frames` of any call may be given any table of the tree back.
    #[must_use]
    pub const unsafe fn from_root(machine: &'m M, root: PhysAddr) -> Self {
        Self { machine, root }
    }

    /// The address of the root table, for the MMU.
    #[must_use]
    pub const fn root(&self) -> PhysAddr {
        self.root
    }

    /// The level of the root.
    #[inline]
    #[must_use]
    pub fn root_level(&self) -> Level {
        self.machine.mmu().root_level()
    }

    #[inline]
    fn root_table(&self) -> Option<Table<'m>> {
        self.table(self.root)
    }

    /// The table at `addr`, which a present entry of this tree names.
    #[inline(always)]
    fn table(&self, addr: PhysAddr) -> Option<Table<'m>> {
        // SAFETY: whoever made the handle vouched for every table of the tree (1).
        unsafe { Table::at(self.machine.physmem(), addr) }
    }

    /// The table that `pte`, found at `level`, leads to; `None` if it is a leaf, not present, or corrupt.
    #[inline(always)]
    fn child(&self, level: Level, pte: crate::port::Pte) -> Option<(Level, Table<'m>)> {
        let below = level.down()?;
        if !Codec::<M>::is_present(pte) || Codec::<M>::is_huge(pte) {
            return None;
        }
        Some((below, self.table(Codec::<M>::addr(pte))?))
    }
}
