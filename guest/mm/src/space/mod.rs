//! Contexts' memory: what is mapped where, with which rights, and how much (Linux `mm_struct`, `mm/mmap.c`).
//!
//! Owns: the contexts' areas, their roots, their counters, and what has been promised to them. Stays outside: what
//! happens when a page is touched (`fault`), tasks and processes (the guest). Source: Linux `mm/mmap.c`, `mm/vma.c`,
//! `mm/mprotect.c`, `mm/madvise.c`, `kernel/fork.c`, 6.18.
//!
//! Who may change entries of a context's page tables, and how:
//!
//! | holds | may |
//! |---|---|
//! | the read lock | make tables; under the lock of a table, change its entries |
//! | the write lock | change entries and areas, unlink tables |
//!
//! So whoever holds either lock may follow the tables. What an entry named is given back after the flush only.
//!
//! Addresses: each context has a part of the lower half of its own ([`layout`]), so that an address means the same
//! everywhere; the overlay window at the top is the exception, where a clone has the addresses of its parent.

mod advised;
mod brk;
mod clean;
mod clone;
mod commit;
mod counters;
mod create;
mod dirty;
mod evict;
mod files;
mod gather;
pub mod layout;
mod locked;
mod madvise;
mod map;
mod mapped;
mod pool;
mod protect;
mod ptl;
mod query;
mod reap;
mod remap;
mod settings;
mod shared;
mod shared_swap;
mod split;
mod split_folio;
mod swapoff;
mod tables;
mod unmap;
mod verify;
mod verify_file;
mod zap;

use crate::addr::{Pfn, PhysAddr};
use crate::cache::PageCache;
pub use crate::errno::Errno;
use crate::frame::FrameTable;
use crate::hugetlb::HugePool;
use crate::lru::Lru;
use crate::pgtable::PageTable;
use crate::phys::Phys;
use crate::port::{Machine, Mmu, PteBits};
use crate::slab::{Cache, Slabs};
use crate::swap::Swap;
use crate::sync::{Once, RwLock};
use crate::vma::{Areas, Objects};
use crate::vmstat::VmStat;
use crate::xarray::NodeCache;
pub(crate) use advised::{Walk, may_be_reclaimed};
pub use brk::Brk;
pub use commit::{Commit, CommitInfo};
use core::fmt::Display;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
pub use counters::{Counters, Rss, Usage};
pub use create::{BootError, Config};
pub(crate) use evict::{Forgotten, Step};
pub use files::Copies;
pub use layout::Layout;
pub use madvise::Advice;
pub use map::{MapFlags, MapRequest};
pub use mapped::FolioInfo;
pub(crate) use ptl::TableGuard;
pub use query::{FolioUse, PSS_UNITS, Resident};
pub use remap::Moving;
pub use settings::{OvercommitMode, Settings, ThpMode};
pub(crate) use tables::MmTables;
pub use verify_file::FileCensus;

/// The entry format of machine `M`.
pub(crate) type Codec<M> = <<M as Machine>::Mmu as Mmu>::Pte;

/// How many contexts there can be at once.
pub const MAX_MMS: usize = layout::SLICES;

/// The memory of one context.
pub struct Mm<'p, M: Machine> {
    /// Its number: which part of the address space is its own.
    id: u32,
    machine: &'p M,
    root: PhysAddr,
    areas: RwLock<Areas<'p>>,
    /// CPUs that may have translations of it, by number.
    cpus: AtomicU64,
    /// Entries were taken away that CPUs may not have forgotten yet.
    unflushed: AtomicBool,
    /// Its pages were taken away although tasks still run in it (Linux `MMF_UNSTABLE`).
    unstable: AtomicBool,
    counters: Counters,
    layout: Layout,
    /// Where the heap ends, in bytes.
    brk: AtomicU64,
}

/// What is fixed at boot.
pub(crate) struct Ground<'p, M: Machine> {
    objects: Objects<'p, M>,
    /// Where contexts come from.
    mm: &'p Cache,
    /// Where objects of shared memory come from.
    shmem: &'p Cache,
    table: &'p FrameTable,
    /// The kernel's tables: the upper half of every root.
    kernel: PageTable<'p, M>,
    /// What entries of contexts must say so that contexts can use them.
    user: PteBits,
    /// A page of zeroes that all contexts may read.
    zero: Pfn,
    pools: [Option<&'p HugePool<'p, M>>; 2],
}

/// The memory of all contexts. Lives in a static; everything goes through `&self`.
pub struct Vm<'p, M: Machine> {
    phys: &'p Phys<M>,
    slabs: &'p Slabs<'p, M>,
    cache: &'p PageCache<'p, M>,
    swap: &'p Swap<'p, M>,
    ground: Once<Option<Ground<'p, M>>>,
    commit: Commit,
    settings: Settings,
    /// Called with what is wrong when a structure turns out to be corrupt.
    on_corruption: fn(&dyn Display),
    /// The first frame of the huge page of zeroes; 0 until somebody has read from one.
    huge_zero: AtomicU64,
    mms: [AtomicPtr<Mm<'p, M>>; MAX_MMS],
    /// Shared memory.
    shared: shared_swap::Objects,
}

impl<'p, M: Machine> Ground<'p, M> {
    /// The frame descriptors.
    #[inline(always)]
    pub(crate) fn table(&self) -> &'p FrameTable {
        self.table
    }

    /// The page of zeroes.
    #[inline(always)]
    pub(crate) fn zero(&self) -> Pfn {
        self.zero
    }

    /// What entries must say so that contexts can use them.
    #[inline(always)]
    pub(crate) fn user(&self) -> PteBits {
        self.user
    }
}

impl<'p, M: Machine> Vm<'p, M> {
    /// Before boot: there are no contexts.
    #[must_use]
    pub const fn new(
        phys: &'p Phys<M>,
        slabs: &'p Slabs<'p, M>,
        cache: &'p PageCache<'p, M>,
        swap: &'p Swap<'p, M>,
        on_corruption: fn(&dyn Display),
    ) -> Self {
        Self {
            phys,
            slabs,
            cache,
            swap,
            ground: Once::new(None),
            commit: Commit::new(),
            settings: Settings::new(),
            on_corruption,
            huge_zero: AtomicU64::new(0),
            mms: [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_MMS],
            shared: shared_swap::Objects::new(),
        }
    }

    /// The machine that the contexts live on.
    #[inline(always)]
    pub fn machine(&self) -> &'p M {
        self.phys.machine()
    }

    /// The frames that pages come from.
    #[inline(always)]
    pub fn phys(&self) -> &'p Phys<M> {
        self.phys
    }

    /// What is counted.
    #[inline(always)]
    pub fn stat(&self) -> &'p VmStat {
        self.cache.lru().stat()
    }

    /// The lists that reclaim goes by.
    #[inline(always)]
    pub(crate) fn lru(&self) -> &'p Lru<'p> {
        self.cache.lru()
    }

    /// The pages of files.
    #[inline(always)]
    pub fn cache(&self) -> &'p PageCache<'p, M> {
        self.cache
    }

    /// Where pages go that have to make room.
    #[inline(always)]
    pub fn swap(&self) -> &'p Swap<'p, M> {
        self.swap
    }

    /// What can be changed while the machine runs.
    #[inline(always)]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What has been promised.
    pub fn commit(&self) -> &Commit {
        &self.commit
    }

    /// What is fixed at boot; none before.
    #[inline(always)]
    pub(crate) fn ground(&self) -> Option<&Ground<'p, M>> {
        self.ground.get()?.as_ref()
    }

    /// The frame descriptors; none before boot.
    #[inline(always)]
    pub(crate) fn frame_table(&self) -> Option<&'p FrameTable> {
        self.ground().map(|ground| ground.table)
    }

    /// Where the descriptions of areas come from.
    #[inline(always)]
    pub(crate) fn objects(&self) -> Option<&Objects<'p, M>> {
        self.ground().map(|ground| &ground.objects)
    }

    /// The nodes of indexes, for all arrays of the machine; none before boot.
    pub fn nodes(&self) -> Option<&'p NodeCache<'p, 'p, M>> {
        self.cache.nodes()
    }

    /// What entries must say so that contexts can use them.
    #[inline(always)]
    pub(crate) fn user_bits(&self) -> PteBits {
        self.ground().map_or(PteBits::empty(), |ground| ground.user)
    }

    /// The huge page of zeroes, if there is one.
    pub(crate) fn huge_zero(&self) -> &AtomicU64 {
        &self.huge_zero
    }

    /// Something is not as this module left it.
    #[cold]
    pub(crate) fn corrupt(&self, what: &dyn Display) {
        (self.on_corruption)(what);
    }

    /// The context with this number.
    pub fn mm(&self, id: u32) -> Option<&Mm<'p, M>> {
        let mm = self.mms.get(id as usize)?.load(Ordering::Acquire);
        if mm.addr() == create::RESERVED {
            return None;
        }
        // SAFETY: the pointer is of a complete context; it is taken out before the context is freed, and who frees one
        // promises that nobody uses it any more.
        unsafe { mm.as_ref() }
    }

    /// All contexts, by number.
    pub fn mms(&self) -> impl Iterator<Item = &Mm<'p, M>> {
        (0..MAX_MMS as u32).filter_map(|id| self.mm(id))
    }
}

impl<'p, M: Machine> Mm<'p, M> {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its page tables, for whoever keeps to the rules of [the module](crate::space).
    #[inline]
    #[must_use]
    pub fn tree(&self) -> PageTable<'p, M> {
        // SAFETY: the root was made by `create` as a tree of its own; everybody who changes entries goes through this
        // module or `fault`, whose rules these are.
        unsafe { PageTable::from_root(self.machine, self.root) }
    }

    /// Whether what it had was taken away because its end is certain: no task goes on after a fault, for it would find zeroes.
    #[inline(always)]
    #[must_use]
    pub fn is_unstable(&self) -> bool {
        self.unstable.load(Ordering::Acquire)
    }

    /// The root, for a CPU that switches to it.
    #[must_use]
    pub fn root(&self) -> PhysAddr {
        self.root
    }

    /// The lock over areas and tables.
    #[inline(always)]
    pub(crate) fn areas(&self) -> &RwLock<Areas<'p>> {
        &self.areas
    }

    /// How much it has.
    #[inline(always)]
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Where its parts lie.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The CPUs that may have translations of it, one bit each.
    #[inline]
    #[must_use]
    pub fn cpus(&self) -> u64 {
        self.cpus.load(Ordering::SeqCst)
    }

    /// CPU number `cpu` is about to use the root: from now on it is told of changes. Before the root is loaded.
    pub fn enter(&self, cpu: u32) {
        // SeqCst: either a change is seen by the walks of this CPU, or who makes it sees this bit.
        self.cpus.fetch_or(1 << (cpu % 64), Ordering::SeqCst);
    }

    /// CPU number `cpu` has loaded another root, which dropped all that it knew of this one.
    pub fn leave(&self, cpu: u32) {
        self.cpus.fetch_and(!(1 << (cpu % 64)), Ordering::SeqCst);
    }
}
