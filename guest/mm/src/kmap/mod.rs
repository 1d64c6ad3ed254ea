//! Temporary mappings of frames that have no place in the direct map.
//!
//! Owns: two windows of the kernel's address space. The *local* one has [`LOCAL_SLOTS`] pages for each CPU, used as a
//! stack: short mappings that nobody else can see (Linux `kmap_local_page`). The *pool* has [`POOL_SLOTS`] pages for
//! all, counted by frame: mappings that last and may be handed around (Linux `kmap`). Stays outside: which frames
//! need a mapping, and waiting for room in the pool.
//! Invariants: the tables of both windows exist from boot on, so mapping allocates nothing; a page of a window shows
//! another frame only after the flush of those that may have it cached: the own CPU for a local one, all for the pool.
//! Source: Linux `mm/highmem.c`.

mod local;
mod pool;

use crate::addr::{PAGE_SIZE, Pfn, VirtAddr};
use crate::pgtable::{Entry, PageRange, PageTable, PtError, PteSlot, TableFrames};
use crate::phys::MAX_CPUS;
use crate::port::{Level, Machine, Mmu, Pte, PteBits, PteCodec};
use crate::sync::{InitError, Once, SpinLock};
use core::fmt;
pub use local::LOCAL_SLOTS;
use local::Stack;
pub use pool::POOL_SLOTS;
use pool::Slots;

/// Pages of both windows: [`LOCAL_SLOTS`] for each of [`MAX_CPUS`] CPUs, then the pool.
pub const PAGES: u64 = (LOCAL_SLOTS * MAX_CPUS + POOL_SLOTS) as u64;

/// The entry format of machine `M`.
type Codec<M> = <<M as Machine>::Mmu as Mmu>::Pte;

/// Why a frame was not mapped or unmapped. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KmapError {
    /// The windows do not exist yet.
    NotReady,
    /// This CPU has used up its slots: the nesting is too deep, or somebody forgot to unmap.
    OutOfSlots,
    /// Every slot of the pool is in use: wait until one is unmapped.
    PoolFull,
    /// The address is none of a mapping.
    NotMapped(VirtAddr),
    /// The last mapping of this CPU must go first.
    OutOfOrder {
        /// What was to be unmapped.
        at: VirtAddr,
        /// The last mapping.
        last: VirtAddr,
    },
}

impl fmt::Display for KmapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReady => write!(f, "kmap: not ready"),
            Self::OutOfSlots => write!(f, "kmap_local: out of slots ({LOCAL_SLOTS})"),
            Self::PoolFull => write!(f, "kmap: all {POOL_SLOTS} slots are in use"),
            Self::NotMapped(at) => write!(f, "kunmap: {:#x} is not mapped", at.get()),
            Self::OutOfOrder { at, last } => {
                write!(f, "kunmap_local: {:#x} is not the last mapping, {:#x} is", at.get(), last.get())
            }
        }
    }
}

/// Where the windows are.
#[derive(Clone, Copy)]
struct Windows<'m, M: Machine> {
    tree: PageTable<'m, M>,
    range: PageRange,
    bits: PteBits,
}

/// See the module documentation. Lives in a static; everything goes through `&self`.
pub struct Kmap<'m, M: Machine> {
    machine: &'m M,
    windows: Once<Option<Windows<'m, M>>>,
    stacks: [Stack; MAX_CPUS],
    pool: SpinLock<Slots>,
}

impl<'m, M: Machine> Kmap<'m, M> {
    /// Before boot: nothing can be mapped.
    #[must_use]
    pub const fn new(machine: &'m M) -> Self {
        let stacks = [const { Stack::new() }; MAX_CPUS];
        Self { machine, windows: Once::new(None), stacks, pool: SpinLock::new(Slots::new()) }
    }

    /// Makes the tables of the windows, the first [`PAGES`] pages of `range`. Mappings say `bits`. Nothing happens if
    /// that was done before.
    ///
    /// # Errors
    /// Those of [`PageTable::populate`]; `Invalid` if the range is too small.
    ///
    /// # Safety
    /// Nothing is mapped in the range, and nobody else changes what `tree` maps there.
    pub unsafe fn boot(
        &self,
        tree: PageTable<'m, M>,
        range: PageRange,
        bits: PteBits,
        frames: &impl TableFrames,
    ) -> Result<(), PtError> {
        let done = self.windows.init(|slot| {
            if range.pages() < PAGES {
                return Err(PtError { at: range.start(), why: crate::pgtable::Why::Invalid });
            }
            for page in (0..PAGES).step_by(Level::ENTRIES).chain([PAGES - 1]) {
                tree.populate(page_of(range, page), Level::PTE, frames)?;
            }
            *slot = Some(Windows { tree, range, bits });
            Ok(())
        });
        match done {
            Err(InitError::Failed(error)) => Err(error),
            Ok(()) | Err(InitError::Taken) => Ok(()),
        }
    }

    #[inline]
    fn windows(&self) -> Result<&Windows<'m, M>, KmapError> {
        self.windows.get().and_then(Option::as_ref).ok_or(KmapError::NotReady)
    }
}

fn page_of(range: PageRange, page: u64) -> VirtAddr {
    VirtAddr::truncate(range.start().get() + page * PAGE_SIZE)
}

impl<'m, M: Machine> Windows<'m, M> {
    /// Where page `page` is seen.
    #[inline]
    fn address(&self, page: usize) -> VirtAddr {
        page_of(self.range, page as u64)
    }

    /// Which page of the windows `at` lies in.
    fn page_at(&self, at: VirtAddr) -> Option<usize> {
        let page = at.vpn().get().checked_sub(self.range.start().vpn().get())?;
        usize::try_from(page).ok().filter(|_| page < PAGES)
    }

    /// The entry of a page. Boot has made its table.
    #[inline]
    fn slot(&self, page: usize) -> Result<PteSlot<'m>, KmapError> {
        match self.tree.lookup(self.address(page)) {
            Some(Entry { level: Level::PTE, slot }) => Ok(slot),
            _ => Err(KmapError::NotReady),
        }
    }

    fn pte(&self, pfn: Pfn) -> Pte {
        Codec::<M>::present(pfn.addr(), self.bits)
    }
}
