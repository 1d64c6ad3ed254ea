//! Roots: making one that shares the upper half, and giving it back.

use super::populate::new_table;
use super::slot::{PteSlot, Table};
use super::{PageTable, TableFrames};
use crate::port::{Level, Machine, PhysMem};

/// Something is still mapped, or tables are still linked, in the lower half of a root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotEmpty;

/// The first entry of a root that belongs to the upper half.
const UPPER: usize = Level::ENTRIES / 2;

impl<'m, M: Machine> PageTable<'m, M> {
    /// A tree with nothing in it; `None` if there is no frame.
    ///
    /// # Safety
    /// Points 2 to 4 of [`PageTable::from_root`].
    #[must_use]
    pub unsafe fn new(machine: &'m M, frames: &impl TableFrames) -> Option<Self> {
        let pfn = new_table(machine, frames)?;
        Some(Self { machine, root: pfn.addr() })
    }

    /// A tree with nothing in its lower half, and the upper half of this one (Linux `pgd_alloc`); `None` if
    /// there is no frame. What was promised for this tree holds for the new one.
    ///
    /// All upper entries that will ever be used must be there already: see [`PageTable::preallocate`].
    #[must_use]
    pub fn new_sharing_upper(&self, frames: &impl TableFrames) -> Option<Self> {
        let from = self.root_table()?;
        let new = Self { machine: self.machine, root: new_table(self.machine, frames)?.addr() };
        let to = new.root_table()?;
        for (from, to) in from.slots().zip(to.slots()).skip(UPPER) {
            to.set(from.load());
        }
        Some(new)
    }

    /// Frees the root.
    ///
    /// # Errors
    /// [`NotEmpty`] if the lower half is not; nothing happens then.
    ///
    /// # Safety
    /// The root came from `frames`, is active on no CPU, no other handle to it is used any more, and if it is
    /// the last root with its upper half, that holds no tables.
    pub unsafe fn free_root(self, frames: &impl TableFrames) -> Result<(), NotEmpty> {
        let lower = self.root_table().into_iter().flat_map(Table::slots).take(UPPER);
        if lower.map(PteSlot::load).any(|pte| !pte.is_none()) {
            return Err(NotEmpty);
        }
        let pfn = self.root.pfn();
        // SAFETY: nobody uses the frame any more, and it came from `frames`.
        unsafe {
            self.machine.physmem().zero(pfn);
            frames.free_table(pfn);
        }
        Ok(())
    }
}
