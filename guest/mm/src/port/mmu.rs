//! The MMU, cut at the codec of a page-table entry: walking, splitting and freeing tables is portable.

use super::{Level, PteCodec};
use crate::addr::PhysAddr;

/// The kind of access that is to be translated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An instruction fetch.
    Execute,
}

/// The page-table format of a machine, and the root in use.
pub trait Mmu {
    /// The format of an entry.
    type Pte: PteCodec;

    /// The level of a root table: [`Level::P4D`] on x86-64, [`Level::PGD`] with LA57.
    fn root_level(&self) -> Level;
    /// The highest level at which a leaf may stand: [`Level::PUD`] if the CPU knows 1 GiB pages.
    fn max_leaf(&self) -> Level;
    /// Makes `root` the active page table of this CPU. Drops this CPU's translations that are not global.
    ///
    /// # Safety
    /// `root` maps the running code, its stack and everything the memory manager touches.
    unsafe fn activate(&self, root: PhysAddr);
    /// The active root of this CPU.
    fn active_root(&self) -> PhysAddr;
}
