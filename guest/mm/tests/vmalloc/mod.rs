//! vmalloc on a simulated machine: one source of frames for areas, tables and descriptors.

mod basic;
mod fail;
mod model;
mod race;

use crate::board::{Board, MIB, Plan, order};
use crate::map_fixture::{activate, new_tree, range, va};
use mm::addr::{NodeId, Order, Pfn, VirtAddr};
use mm::pgtable::{PageTable, TableFrames};
use mm::phys::{AllocError, GfpFlags};
use mm::port::{Level, Machine as _, PteBits};
use mm::vmalloc::{AreaFrames, Config, Request, Vmalloc};
use sim::Machine;
use std::ops::Deref;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Where areas lie in tests.
pub const START: u64 = 0xffff_c900_0000_0000;
/// Who asks for areas in tests.
pub const CALLER: u64 = 0xca11;
/// Every byte of a frame that was given back: as an entry, present and far beyond any RAM.
const POISON: u8 = 0x67;

/// The allocator of a board, which can be made to fail, and counts.
pub struct Source<'b> {
    board: &'b Board,
    /// How many more allocations succeed.
    credit: AtomicI64,
    /// Frames out: of areas and descriptors, of tables.
    pub frames: AtomicU64,
    pub tables: AtomicU64,
}

impl<'b> Source<'b> {
    pub fn new(board: &'b Board) -> Self {
        let zero = || AtomicU64::new(0);
        Self { board, credit: AtomicI64::new(i64::MAX), frames: zero(), tables: zero() }
    }

    /// After `n` more allocations all fail.
    pub fn fail_after(&self, n: i64) {
        self.credit.store(n, Ordering::Relaxed);
    }

    pub fn out(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    pub fn tables_out(&self) -> u64 {
        self.tables.load(Ordering::Relaxed)
    }

    fn alloc(&self, node: Option<NodeId>, gfp: GfpFlags, order: Order) -> Option<Pfn> {
        if self.credit.fetch_sub(1, Ordering::Relaxed) <= 0 {
            return None;
        }
        let frames = match node {
            Some(node) => self.board.alloc_pages_node(node, gfp, order),
            None => self.board.alloc_pages(gfp, order),
        };
        frames.ok().map(|frames| frames.into_raw().0)
    }

    fn free(&self, pfn: Pfn, order: Order) {
        for n in 0..order.pages() {
            // SAFETY: the caller gives the frames back.
            unsafe { self.board.machine().physmem().poison(pfn.checked_add(n).unwrap(), POISON) };
        }
        self.board.give(pfn.get(), order.get()).unwrap();
    }
}

// SAFETY: the board's allocator gives a block to one owner; all its RAM is in the simulated direct map.
unsafe impl TableFrames for &Source<'_> {
    fn alloc_table(&self) -> Option<Pfn> {
        let pfn = self.alloc(None, GfpFlags::GFP_KERNEL, Order::ZERO)?;
        self.tables.fetch_add(1, Ordering::Relaxed);
        Some(pfn)
    }

    unsafe fn free_table(&self, pfn: Pfn) {
        // SAFETY: the caller has given the frame back.
        assert!(unsafe { self.board.machine().physmem().is_filled(pfn, 0) }, "{pfn:?} is not an empty table");
        self.tables.fetch_sub(1, Ordering::Relaxed);
        self.free(pfn, Order::ZERO);
    }
}

// SAFETY: as above.
unsafe impl AreaFrames for &Source<'_> {
    fn alloc_frames(&self, node: Option<NodeId>, gfp: GfpFlags, order: Order) -> Option<Pfn> {
        let pfn = self.alloc(node, gfp, order)?;
        self.frames.fetch_add(order.pages(), Ordering::Relaxed);
        Some(pfn)
    }

    unsafe fn free_frames(&self, pfn: Pfn, order: Order) {
        self.frames.fetch_sub(order.pages(), Ordering::Relaxed);
        self.free(pfn, order);
    }
}

pub type Areas<'b> = Vmalloc<'b, Machine, &'b Source<'b>>;

/// vmalloc and the tree that it maps in.
pub struct World<'b> {
    areas: Areas<'b>,
    pub tree: PageTable<'b, Machine>,
}

impl<'b> Deref for World<'b> {
    type Target = Areas<'b>;

    fn deref(&self) -> &Areas<'b> {
        &self.areas
    }
}

/// A board with `mib` MiB of RAM and four CPUs.
pub fn board(mib: u64) -> Board {
    Plan { cpus: 4, ram: mib * MIB, ..Plan::ram(&[MIB..mib * MIB]) }.boot()
}

/// vmalloc with a range of `pages` pages, with its tree active on every CPU.
pub fn open<'b>(board: &'b Board, source: &'b Source<'b>, pages: u64) -> World<'b> {
    let machine = board.machine();
    let areas = Vmalloc::new(machine, source);
    let tree = new_tree(machine, &source);
    let range = range(START, pages);
    tree.preallocate(range, &source).unwrap();
    activate(machine, tree);
    let bits = PteBits::WRITE | PteBits::NO_EXEC;
    let config = Config { tree, range, bits, max_pages: board.total_managed_pages(), cpus: 4 };
    // SAFETY: nobody else knows the tree, and its tables come from this source.
    unsafe { areas.boot(config) }.unwrap();
    World { areas, tree }
}

pub fn small(pages: u64) -> Request {
    Request::new(pages << 12, CALLER)
}

pub fn huge(pages: u64) -> Request {
    Request { max_leaf: Level::PMD, ..small(pages) }
}

/// Page `n` of an area.
pub fn page(area: VirtAddr, n: u64) -> VirtAddr {
    va(area.get() + (n << 12))
}

/// Takes every frame that is free; gives them back in [`release`].
pub fn exhaust(board: &Board) -> Vec<(Pfn, Order)> {
    let mut held = Vec::new();
    for n in (0..=10).rev() {
        loop {
            match board.alloc_pages(GfpFlags::GFP_KERNEL, order(n)) {
                Ok(frames) => held.push(frames.into_raw()),
                Err(AllocError::OutOfMemory) => break,
                Err(other) => panic!("{other:?}"),
            }
        }
    }
    held
}

pub fn release(board: &Board, held: Vec<(Pfn, Order)>) {
    for (pfn, order) in held {
        board.give(pfn.get(), order.get()).unwrap();
    }
}
