//! Contexts' memory on a simulated machine: its CPUs touch pages through the tables, and what they cannot is handed to
//! the fault handler, as the guest's trap does.

mod advice;
mod ahead_model;
mod areas;
mod basic;
mod clone;
mod fail;
mod file;
mod file_race;
mod files;
mod flush;
mod flushers;
mod huge;
mod hugetlb;
mod last;
mod locked;
mod model;
mod msync;
mod race;
mod reap;
mod reclaim;
pub mod reclaim_model;
pub mod reclaim_replay;
mod remap;
mod rmap;
mod shared;
mod shared_swap;
mod swap;
mod swap_ahead;
mod swap_model;
mod swap_slots;
mod swap_slots_model;
mod swap_vma;
mod truncate;
mod write;
mod write_gap;
mod write_model;
mod write_stable;

use crate::board::{Board, MIB, Plan};
use crate::slab_fixture::config;
use mm::addr::{Order, PAGE_SIZE, Pfn, VirtAddr};
use mm::cache::PageCache;
use mm::fault::{Fault, Flavour, Segv};
use mm::hugetlb::HugePool;
use mm::io::Io;
use mm::lru::Lru;
use mm::pgtable::{PageTable, TableFrames};
use mm::phys::{
    AllocError, FrameAllocator, Frames, FreeError, GfpFlags, PageChecks, PageHooks, PageReport, Phys,
};
use mm::port::{Access, CpuId, Machine as _, Mmu as _, PteBits};
use mm::reclaim::Reclaim;
use mm::shrinker::Shrinkers;
use mm::slab::Slabs;
use mm::space::{Config, MapFlags, MapRequest, Mm, Vm};
use mm::swap::Swap;
use mm::vmstat::{NodeStat, VmEvent, VmStat, ZoneStat};
use sim::{Fault as Trap, FaultCode, Machine};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The allocator of a board, which can be made to fail.
pub struct Source<'b> {
    phys: &'b Phys<Machine>,
    /// How many more allocations succeed.
    pub credit: AtomicI64,
}

impl Source<'_> {
    /// So many more allocations succeed.
    pub fn set_credit(&self, credit: i64) {
        self.credit.store(credit, Ordering::Relaxed);
    }
}

impl<'b> FrameAllocator<'b> for Source<'b> {
    fn alloc(&self, gfp: GfpFlags, order: Order) -> Result<Frames<'b>, AllocError> {
        if self.credit.fetch_sub(1, Ordering::Relaxed) <= 0 {
            return Err(AllocError::OutOfMemory);
        }
        self.phys.alloc_pages(gfp, order)
    }

    fn free(&self, frames: Frames<'b>) -> Result<(), FreeError> {
        self.phys.free_pages(frames)
    }
}

// SAFETY: the allocator gives a block to one owner; all RAM of a board is in the direct map.
unsafe impl TableFrames for Source<'_> {
    fn alloc_table(&self) -> Option<Pfn> {
        self.alloc(GfpFlags::GFP_KERNEL, Order::ZERO).ok().map(|frames| frames.into_raw().0)
    }

    unsafe fn free_table(&self, pfn: Pfn) {
        // SAFETY: the caller gives the frame back.
        self.phys.free_pages(unsafe { self.phys.frames_from_raw(pfn, Order::ZERO) }).unwrap();
    }
}

/// A board, and what lives on it. All of that is leaked, so that everything may refer to everything, but for the board with
/// its RAM, which goes with the world.
pub struct World {
    pub board: &'static Board,
    pub vm: &'static Vm<'static, Machine>,
    pub reclaim: Reclaim<'static, Machine>,
    pub frames: Source<'static>,
    slabs: &'static Slabs<'static, Machine>,
    pub pool: &'static HugePool<'static, Machine>,
    /// Where the board was allocated.
    allocated: usize,
}

/// Keeps `value` to the end of the process, where a search for leaks finds it.
pub fn keep<T>(value: T) -> &'static T {
    static KEPT: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    let kept: &'static T = Box::leak(Box::new(value));
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).push(std::ptr::from_ref(kept).expose_provenance());
    kept
}

fn corrupt(what: &dyn std::fmt::Display) {
    panic!("corrupt: {what}");
}

thread_local! {
    /// The machine whose CPUs must have forgotten a page by the time that this thread frees it.
    static WATCHED: Cell<Option<&'static Machine>> = const { Cell::new(None) };
}

/// Ends a [`watch`].
pub struct Watch;

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHED.set(None);
    }
}

/// From now on a page that this thread frees while a CPU of `machine` could still reach it is found.
#[must_use]
pub fn watch(machine: &'static Machine) -> Watch {
    WATCHED.set(Some(machine));
    Watch
}

/// A block becomes free, or is taken.
fn forgotten(first: Pfn, order: Order, is_taken: bool) {
    let reached = WATCHED.get().is_some_and(|machine| machine.tlb().names(first, order.pages()));
    assert!(is_taken || !reached || std::thread::panicking(), "{first:?} is freed while a CPU can reach it");
}

impl Drop for World {
    fn drop(&mut self) {
        let board = std::ptr::with_exposed_provenance_mut::<Board>(self.allocated);
        // SAFETY: it came from a box. What else refers to it is leaked or goes now, and does nothing with it.
        drop(unsafe { Box::from_raw(board) });
    }
}

impl World {
    /// `ram` MiB and `cpus` CPUs. Free pages hold poison, so that a write after a free is found.
    pub fn new(ram: u64, cpus: u32) -> Self {
        Self::with(ram, cpus, true)
    }

    pub fn with(ram: u64, cpus: u32, checks: bool) -> Self {
        let mut plan = Plan::ram(&[MIB..ram * MIB]);
        plan.ram = ram * MIB;
        plan.cpus = cpus;
        let allocated = Box::into_raw(Box::new(plan.boot()));
        // SAFETY: it was just allocated, and goes with the world, which whoever uses it has.
        let board: &'static Board = unsafe { &*allocated };
        if checks {
            let report = |report: &PageReport| panic!("{report}");
            board.set_page_hooks(PageHooks { report, map: forgotten, ..PageHooks::SILENT });
            board.enable_page_checks(PageChecks::POISON | PageChecks::SLEEP | PageChecks::UNMAP);
        }
        let frames = Source { phys: board, credit: AtomicI64::new(i64::MAX) };
        let slabs: &'static Slabs<'static, Machine> = keep(Slabs::new(&**board));
        // SAFETY: the configuration has the number of CPUs that the board has.
        unsafe { slabs.boot(&config(cpus, 1), &frames) }.unwrap();
        // SAFETY: the tests change trees by the rules, and no code runs in them.
        let kernel = unsafe { PageTable::new(board.machine(), &frames) }.unwrap();
        let stat: &'static VmStat = keep(VmStat::new());
        let lru: &'static Lru<'static> = keep(Lru::new(stat));
        let io: &'static Io<'static, Machine> = keep(Io::new(&**board, slabs, stat));
        io.boot(&frames).unwrap();
        let cache: &'static PageCache<'static, Machine> = keep(PageCache::new(board, slabs, lru, io));
        cache.boot(&frames).unwrap();
        let swap: &'static Swap<'static, Machine> = keep(Swap::new(&**board, io, lru));
        let vm: &'static Vm<'static, Machine> = keep(Vm::new(board, slabs, cache, swap, corrupt));
        let pool: &'static HugePool<'static, Machine> = keep(HugePool::new(board, 512));
        let config = Config { kernel, user: PteBits::USER, pools: [Some(pool), None] };
        // SAFETY: nothing is ever mapped in the upper half.
        unsafe { vm.boot(&config, &frames) }.unwrap();
        let reclaim = Reclaim::new(board, vm, swap, keep(Shrinkers::new()));
        Self { board, vm, reclaim, frames, slabs, pool, allocated: allocated.expose_provenance() }
    }

    pub fn machine(&self) -> &'static Machine {
        self.board.machine()
    }

    /// A context that CPU 0 runs on from now on.
    pub fn context(&self) -> &Mm<'static, Machine> {
        let mm = self.vm.create(&self.frames).unwrap();
        self.run(mm);
        mm
    }

    /// This thread's CPU runs on `mm` from now on, and on nothing else.
    pub fn run(&self, mm: &Mm<'static, Machine>) {
        use mm::port::Cpu as _;
        let cpu = self.machine().cpu().id().0;
        mm.enter(cpu);
        let before = self.machine().mmu().active_root();
        // SAFETY: this machine runs no code of its own.
        unsafe { self.machine().mmu().activate(mm.root()) };
        for other in self.vm.mms().filter(|other| other.root() == before && other.id() != mm.id()) {
            other.leave(cpu);
        }
    }

    pub fn map(&self, mm: &Mm<'static, Machine>, pages: u64) -> VirtAddr {
        self.vm.mmap(mm, &MapRequest::anon(pages * PAGE_SIZE), &self.frames).unwrap()
    }

    /// Private memory where a clone gets it, too.
    pub fn map_overlay(&self, mm: &Mm<'static, Machine>, pages: u64) -> VirtAddr {
        let request = MapRequest { flags: MapFlags::OVERLAY, ..MapRequest::anon(pages * PAGE_SIZE) };
        self.vm.mmap(mm, &request, &self.frames).unwrap()
    }

    /// Hands a trap to the fault handler.
    fn trapped(&self, mm: &Mm<'static, Machine>, trap: Trap) -> Result<Flavour, Segv> {
        let Trap::Page { va, code } = trap else { panic!("{trap:?}") };
        let access = if code.contains(FaultCode::FETCH) {
            Access::Execute
        } else if code.contains(FaultCode::WRITE) {
            Access::Write
        } else {
            Access::Read
        };
        match self.resolve(mm, va, access) {
            Fault::Minor(flavour) => Ok(flavour),
            Fault::Segv(segv) => Err(segv),
            other => panic!("{other:?} at {va:?}"),
        }
    }

    /// Handles a fault to its end, as the guest's trap does: what is in swap is waited for.
    pub fn resolve(&self, mm: &Mm<'static, Machine>, va: VirtAddr, access: Access) -> Fault {
        self.vm.touch(mm, va, access, &self.frames)
    }

    /// Stores, faulting as often as it takes.
    pub fn store(&self, mm: &Mm<'static, Machine>, va: VirtAddr, value: u64) -> Result<(), Segv> {
        loop {
            match self.machine().user().store_u64(va, value) {
                Ok(()) => return Ok(()),
                Err(trap) => self.trapped(mm, trap).map(drop)?,
            }
        }
    }

    /// Loads, faulting as often as it takes.
    pub fn load(&self, mm: &Mm<'static, Machine>, va: VirtAddr) -> Result<u64, Segv> {
        loop {
            match self.machine().user().load_u64(va) {
                Ok(value) => return Ok(value),
                Err(trap) => self.trapped(mm, trap).map(drop)?,
            }
        }
    }

    /// Which way the one fault of a store takes; `None` if there is none.
    pub fn flavour_of_store(&self, mm: &Mm<'static, Machine>, va: VirtAddr, value: u64) -> Option<Flavour> {
        let trap = self.machine().user().store_u64(va, value).err()?;
        let flavour = self.trapped(mm, trap).unwrap();
        self.machine().user().store_u64(va, value).unwrap();
        Some(flavour)
    }

    pub fn flavour_of_load(&self, mm: &Mm<'static, Machine>, va: VirtAddr) -> Option<Flavour> {
        let trap = self.machine().user().load_u64(va).err()?;
        let flavour = self.trapped(mm, trap).unwrap();
        self.machine().user().load_u64(va).unwrap();
        Some(flavour)
    }

    pub fn event(&self, event: VmEvent) -> u64 {
        self.vm.stat().event(event)
    }

    /// Everything holds for every context.
    pub fn verify(&self) {
        for mm in self.vm.mms() {
            self.vm.verify(mm).unwrap_or_else(|what| panic!("context {}: {what}", mm.id()));
        }
        self.vm.cache().lru().verify(self.board).unwrap_or_else(|what| panic!("lru: {what}"));
        self.verify_zones();
    }

    /// Zones have what their nodes have.
    fn verify_zones(&self) {
        let stat = self.vm.stat();
        let in_zones = |what| self.board.populated_zones().map(|zone| stat.in_zone(zone.id(), what)).sum();
        let locked: u64 = in_zones(ZoneStat::Mlocked);
        assert_eq!(locked, stat.total(NodeStat::Mlocked), "locked pages");
        let pending: u64 = in_zones(ZoneStat::WritePending);
        let of_nodes = stat.total(NodeStat::Dirty) + stat.total(NodeStat::Writeback);
        assert_eq!(pending, of_nodes, "pages that wait to be written");
    }

    /// Empty slabs go back, and before that what waits for a grace period.
    pub fn shrink_slabs(&self) {
        if let Some(nodes) = self.vm.nodes() {
            nodes.settle();
        }
        for cpu in self.machine().cpu().ids() {
            let flush = || self.slabs.caches().for_each(|cache| self.slabs.flush_cpu(cache));
            self.machine().cpu().run_on(cpu, flush);
        }
        for cache in self.slabs.caches() {
            self.slabs.shrink(cache);
        }
    }

    pub fn free_pages(&self) -> u64 {
        self.board.total_free_pages()
    }

    /// Ends a context; this thread's CPU runs on none afterwards.
    pub fn end(&self, mm: &Mm<'static, Machine>) {
        use mm::port::Cpu as _;
        mm.leave(self.machine().cpu().id().0);
        // SAFETY: tests do not use a context after they ended it, and no CPU runs on it.
        unsafe {
            self.machine().mmu().activate(mm::addr::PhysAddr::default());
            self.vm.destroy(mm.id(), &self.frames).unwrap();
        }
    }
}

pub fn page(va: VirtAddr, n: u64) -> VirtAddr {
    va.checked_add(n * PAGE_SIZE).unwrap()
}

pub fn cpu(n: u32) -> CpuId {
    CpuId(n)
}
