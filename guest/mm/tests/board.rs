//! A board for tests of physical memory: a simulated machine, zeroed tables, and a booted allocator.

use mm::addr::{NodeId, Order, Pfn, PhysAddr};
use mm::frame::{Frame, MigrateType, Tables, ZoneId, ZoneKind};
use mm::memblock::Memblock;
use mm::phys::{BootConfig, BootError, GfpFlags, Phys, ReserveConfig, Topology, ZoneLimits};
use mm::port::CpuId;
use sim::Machine;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ops::{Deref, Range};
use std::ptr::NonNull;

pub const MIB: u64 = 1 << 20;
pub const GIB: u64 = 1 << 30;

pub fn order(n: u32) -> Order {
    Order::new(n).unwrap()
}

pub fn pfn(n: u64) -> Pfn {
    Pfn::new(n).unwrap()
}

pub fn node(n: u32) -> NodeId {
    NodeId::new(n).unwrap()
}

pub fn addr(bytes: u64) -> PhysAddr {
    PhysAddr::new(bytes).unwrap()
}

pub fn zone_id(n: u32, kind: ZoneKind) -> ZoneId {
    ZoneId { node: node(n), kind }
}

/// Zeroed memory that the host supplies on first touch.
struct Zeroed {
    base: NonNull<u8>,
    layout: Layout,
}

impl Zeroed {
    fn new(bytes: u64) -> Self {
        let layout = Layout::from_size_align(bytes.max(1) as usize, 64).unwrap();
        // SAFETY: the layout is not empty.
        Self { base: NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap(), layout }
    }
}

// SAFETY: an allocation may be used from any thread.
unsafe impl Sync for Zeroed {}

impl Drop for Zeroed {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.base.as_ptr(), self.layout) }
    }
}

/// What a board is made of.
#[derive(Clone)]
pub struct Plan {
    pub memblock: Memblock,
    pub topology: Topology,
    pub zones: ZoneLimits,
    pub cpus: u32,
    /// Bytes of simulated RAM, filled with a pattern; only tests that look at memory need it.
    pub ram: u64,
    /// Descriptors hold garbage before boot, as memory does that firmware has used.
    pub dirty: bool,
    /// Every CPU has lists of its own, and zones keep reserves.
    pub reserves: Option<ReserveConfig>,
    /// Free blocks merge.
    pub merge: bool,
}

/// Linux's defaults but for a boost, with so much memory kept free.
pub fn reserves(min_free_kbytes: u64) -> ReserveConfig {
    ReserveConfig {
        min_free_kbytes,
        watermark_scale_factor: 10,
        watermark_boost_factor: 0,
        lowmem_reserve_ratio: [256, 256, 32, 0, 0],
        high_fraction: 0,
    }
}

impl Plan {
    /// One node with RAM at these byte ranges.
    pub fn ram(ranges: &[Range<u64>]) -> Self {
        let mut plan = Self {
            memblock: Memblock::new(),
            topology: Topology::new(),
            zones: ZoneLimits::LINUX,
            cpus: 1,
            ram: 4096,
            dirty: false,
            reserves: None,
            merge: true,
        };
        for range in ranges {
            plan = plan.node_ram(0, range.clone());
        }
        plan
    }

    /// RAM at pages `start..start + pages`.
    pub fn pages(start: u64, pages: u64) -> Self {
        Self::ram(&[start << 12..(start + pages) << 12])
    }

    /// More RAM, on a node.
    pub fn node_ram(mut self, on: u32, range: Range<u64>) -> Self {
        self.memblock.add(addr(range.start), range.end - range.start, Some(node(on))).unwrap();
        self
    }

    /// Takes a range of bytes.
    pub fn reserve(mut self, range: Range<u64>) -> Self {
        self.memblock.reserve(addr(range.start), range.end - range.start).unwrap();
        self
    }

    /// Zone borders in bytes.
    pub fn zones(mut self, dma: u64, dma32: u64) -> Self {
        self.zones = ZoneLimits { dma_end: pfn(dma >> 12), dma32_end: pfn(dma32 >> 12), ..self.zones };
        self
    }

    /// Every CPU has lists of its own, and zones keep reserves.
    pub fn lists(mut self, reserves: ReserveConfig) -> Self {
        self.reserves = Some(reserves);
        self
    }

    /// Boots.
    pub fn boot(&self) -> Board {
        self.try_boot().unwrap()
    }

    /// Boots, or says why not.
    pub fn try_boot(&self) -> Result<Board, BootError> {
        let machine = match self.reserves {
            None => Machine::builder().ram(0..self.ram).poison(0x5a).cpus(self.cpus).build(),
            // The lists lie in RAM.
            Some(_) => Machine::builder().ram(0..self.memblock.end().get()).cpus(self.cpus).build(),
        };
        let end = self.memblock.end().get().div_ceil(4096);
        let board = Board { phys: Box::new(Phys::new(machine)), memory: TableMemory::new(pfn(end)) };
        if self.dirty {
            let frames = &board.memory.frames;
            // SAFETY: the whole allocation, which nobody uses yet.
            unsafe { frames.base.as_ptr().write_bytes(0xa5, frames.layout.size()) };
        }
        // SAFETY: the words are zeroed, the tables large enough, and live as long as the board; the RAM is simulated.
        unsafe { board.phys.boot(&self.config(&board)) }?;
        if let Some(reserves) = self.reserves {
            (0..self.cpus).for_each(|cpu| board.setup_cpu(CpuId(cpu)).unwrap());
            board.set_reserves(&reserves);
        }
        Ok(board)
    }

    fn config(&self, board: &Board) -> BootConfig<'_> {
        BootConfig {
            memblock: &self.memblock,
            topology: &self.topology,
            zones: self.zones,
            tables: board.tables(),
            merge: self.merge,
        }
    }
}

/// The memory of the tables.
pub struct TableMemory {
    frames: Zeroed,
    pageblocks: Zeroed,
    end: Pfn,
}

impl TableMemory {
    fn new(end: Pfn) -> Self {
        let size = Tables::size(end);
        Self { frames: Zeroed::new(size.frames), pageblocks: Zeroed::new(size.pageblocks), end }
    }

    pub fn tables(&self) -> Tables {
        Tables {
            frames: self.frames.base.cast::<Frame>(),
            pageblocks: self.pageblocks.base.cast(),
            end: self.end,
        }
    }
}

/// A booted allocator and the memory of its tables.
pub struct Board {
    // Dropped before the tables that it points to.
    phys: Box<Phys<Machine>>,
    memory: TableMemory,
}

impl Deref for Board {
    type Target = Phys<Machine>;

    fn deref(&self) -> &Phys<Machine> {
        &self.phys
    }
}

impl Board {
    pub fn tables(&self) -> Tables {
        self.memory.tables()
    }

    /// Tables as large as this board's, zeroed.
    pub fn spare_tables(&self) -> TableMemory {
        TableMemory::new(self.memory.end)
    }

    /// How many frame descriptors are not all zero.
    pub fn touched_descriptors(&self) -> usize {
        let words = self.memory.frames.layout.size() / 32;
        // SAFETY: the table has that many 32-byte descriptors, all initialized; nobody writes meanwhile.
        let table =
            unsafe { std::slice::from_raw_parts(self.memory.frames.base.as_ptr().cast::<[u8; 32]>(), words) };
        table.iter().filter(|bytes| bytes.iter().any(|b| *b != 0)).count()
    }

    /// Allocates and forgets the handle.
    pub fn take(&self, gfp: GfpFlags, n: u32) -> Option<u64> {
        self.alloc_pages(gfp, order(n)).ok().map(|frames| frames.into_raw().0.get())
    }

    /// Frees by number.
    pub fn give(&self, at: u64, n: u32) -> Result<(), mm::phys::FreeError> {
        // SAFETY: the tests own what they allocated; wrong numbers are what they test.
        self.free_pages(unsafe { self.frames_from_raw(pfn(at), order(n)) })
    }

    /// Free blocks of each order of a zone, as a line of `/proc/buddyinfo` has them.
    pub fn buddyinfo(&self, zone: ZoneId) -> [u32; Order::COUNT] {
        let zone = self.zone(zone).unwrap();
        let mut line = [0; Order::COUNT];
        for (cell, order) in line.iter_mut().zip(Order::all()) {
            *cell = zone.free_blocks_of_order(order);
        }
        line
    }

    /// The zone that a frame belongs to.
    pub fn zone_of(&self, at: u64) -> ZoneId {
        self.pageblock(pfn(at)).unwrap().zone()
    }

    /// The migrate type of the pageblock of a frame.
    pub fn type_of(&self, at: u64) -> MigrateType {
        self.pageblock(pfn(at)).unwrap().migrate_type()
    }
}
