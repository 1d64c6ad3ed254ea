//! The machine under `mm`: simulated RAM, and CPUs that cost what the guest's do.
//!
//! Owns: the choice of CPU of each thread. The simulator's own CPUs check every use with locked operations; in the
//! guest a CPU's number and its mask are plain accesses to its own data, and so they are here.
//! Invariants: one machine in the process, one thread plays a CPU, and no interrupts exist.

use std::alloc::{self, Layout, handle_alloc_error};
use std::cell::Cell;
use std::ops::Deref;
use std::ptr::NonNull;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use mm::addr::{NodeId, Pfn, PhysAddr};
use mm::frame::{Frame, Tables};
use mm::memblock::Memblock;
use mm::phys::{BootConfig, Phys, Topology, ZoneAllocator, ZoneLimits};
use mm::port::{self, CpuId};
use mm::slab::{OrderRules, SlabConfig, Slabs};

/// RAM in GiB: all of it in one zone.
pub const GIB_OF_RAM: u64 = 1;
const RAM: u64 = GIB_OF_RAM << 30;
const CPUS: u32 = 2;

thread_local! {
    static CPU: Cell<u32> = const { Cell::new(0) };
    static MASKED: Cell<u32> = const { Cell::new(0) };
}

/// The calling thread plays `cpu` from now on.
pub fn play(cpu: u32) {
    CPU.set(cpu);
}

/// See the module documentation.
pub struct Cpus;

impl port::Cpu for Cpus {
    #[inline(always)]
    fn id(&self) -> CpuId {
        CpuId(CPU.get())
    }

    #[inline(always)]
    fn irq_disable(&self) {
        MASKED.set(MASKED.get() + 1);
    }

    #[inline(always)]
    fn irq_enable(&self) {
        MASKED.set(MASKED.get() - 1);
    }
}

/// The simulated machine with these CPUs.
pub struct Machine {
    sim: sim::Machine,
    cpus: Cpus,
}

impl port::Machine for Machine {
    type Mmu = sim::Mmu;
    type PhysMem = sim::Ram;
    type Tlb = sim::Tlb;
    type Cpu = Cpus;

    fn mmu(&self) -> &sim::Mmu {
        self.sim.mmu()
    }

    #[inline(always)]
    fn physmem(&self) -> &sim::Ram {
        self.sim.physmem()
    }

    fn tlb(&self) -> &sim::Tlb {
        self.sim.tlb()
    }

    #[inline(always)]
    fn cpu(&self) -> &Cpus {
        &self.cpus
    }
}

/// Booted physical memory. Lives as long as the process.
pub struct Board {
    phys: Phys<Machine>,
    /// How long boot took.
    pub boot_seconds: f64,
    /// How long making all descriptors took.
    pub init_seconds: f64,
}

impl Deref for Board {
    type Target = Phys<Machine>;

    fn deref(&self) -> &Phys<Machine> {
        &self.phys
    }
}

impl Board {
    /// Bytes of tables for each frame, pageblock words included.
    pub fn bytes_per_frame(&self) -> f64 {
        let end = Pfn::from_u32((RAM >> 12) as u32);
        let size = Tables::size(end);
        (size.frames + size.pageblocks) as f64 / end.get() as f64
    }

    /// Fails if an invariant of physical memory is broken.
    pub fn verify(&self) -> Result<()> {
        self.phys.verify().map_err(|broken| anyhow!("memory is corrupted: {broken}"))
    }
}

/// Zeroed memory that is never returned.
fn zeroed<T>(bytes: u64) -> Result<NonNull<T>> {
    let layout = Layout::from_size_align(bytes as usize, 64).context("size of tables")?;
    // SAFETY: tables are never empty.
    let memory = NonNull::new(unsafe { alloc::alloc_zeroed(layout) });
    Ok(memory.unwrap_or_else(|| handle_alloc_error(layout)).cast())
}

/// Boots, and makes every descriptor.
pub fn boot() -> Result<&'static Board> {
    let bad = |what: &str| anyhow!("cannot describe the machine: {what}");
    let mut memblock = Memblock::new();
    let start = PhysAddr::new(0).ok_or_else(|| bad("address 0"))?;
    memblock.add(start, RAM, Some(NodeId::ZERO)).map_err(|_| bad("RAM"))?;
    let mut topology = Topology::new();
    for cpu in 0..CPUS {
        anyhow::ensure!(topology.set_cpu_node(CpuId(cpu), NodeId::ZERO), "too many CPUs");
    }
    let end = Pfn::from_u32((RAM >> 12) as u32);
    let size = Tables::size(end);
    let tables = Tables { frames: zeroed::<Frame>(size.frames)?, pageblocks: zeroed(size.pageblocks)?, end };
    let zones = ZoneLimits { dma_end: Pfn::from_u32(0), dma32_end: Pfn::from_u32(0) };
    let sim = sim::Machine::builder().ram(0..RAM).poison(0).cpus(CPUS).build();
    let machine = Machine { sim, cpus: Cpus };
    let board = Box::leak(Box::new(Board { phys: Phys::new(machine), boot_seconds: 0.0, init_seconds: 0.0 }));
    let clock = Instant::now();
    let config = BootConfig { memblock: &memblock, topology: &topology, zones, tables };
    // SAFETY: the tables are as large as they must be, zeroed, never returned; the RAM is simulated.
    unsafe { board.phys.boot(&config) }.map_err(|error| anyhow!("boot: {error}"))?;
    board.boot_seconds = clock.elapsed().as_secs_f64();
    let clock = Instant::now();
    while board.phys.take_in_deferred(u32::MAX) > 0 {}
    board.init_seconds = clock.elapsed().as_secs_f64();
    Ok(board)
}

/// Starts the slab allocator on it.
pub fn boot_slabs(board: &'static Board) -> Result<&'static Slabs<'static, Machine>> {
    let slabs = Box::leak(Box::new(Slabs::new(&board.phys)));
    let rules = OrderRules { cpus: CPUS, ..SlabConfig::LINUX.rules };
    let config = SlabConfig { rules, seed: 1, ..SlabConfig::LINUX };
    // SAFETY: the configuration names as many CPUs as threads play.
    unsafe { slabs.boot(&config, &ZoneAllocator::new(&board.phys)) }
        .map_err(|error| anyhow!("slabs: {error}"))?;
    Ok(slabs)
}
