//! The machine under `mm`: simulated RAM, and CPUs that cost what the guest's do.
//!
//! Owns: the choice of CPU of each thread, and the RAM. The simulator's own CPUs check every use with locked operations,
//! and its RAM is a list of ranges; in the guest a CPU's number and its mask are plain accesses to its own data, an
//! address is an offset, and the direct map is made of large leaves, and so they are here.
//! Invariants: one machine in the process, one thread plays a CPU, and no interrupts exist; the main thread plays any
//! CPU, while nobody measures.

use std::arch::asm;
use std::cell::Cell;
use std::ops::Deref;
use std::ptr::NonNull;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use mm::addr::{NodeId, PAGE_SIZE, Pfn, PhysAddr};
use mm::frame::{Frame, Tables};
use mm::memblock::Memblock;
use mm::phys::{BootConfig, Phys, ReserveConfig, Topology, ZoneAllocator, ZoneLimits};
use mm::port::{self, CpuId, TaskFlags};
use mm::slab::{OrderRules, SlabConfig, Slabs};

/// RAM in GiB: all of it in one zone.
pub const GIB_OF_RAM: u64 = 1;
const RAM: u64 = GIB_OF_RAM << 30;
const CPUS: u32 = 2;
/// What Linux keeps on a machine of this size.
const RESERVES: ReserveConfig = ReserveConfig {
    min_free_kbytes: 4096,
    watermark_scale_factor: 10,
    watermark_boost_factor: 15_000,
    lowmem_reserve_ratio: [256, 256, 32, 0, 0],
    high_fraction: 0,
};

thread_local! {
    static CPU: Cell<u32> = const { Cell::new(0) };
    static MASKED: Cell<u32> = const { Cell::new(0) };
    static MEASURES: Cell<bool> = const { Cell::new(false) };
}

/// The calling thread plays `cpu` from now on, and measures.
pub fn play(cpu: u32) {
    CPU.set(cpu);
    MEASURES.set(true);
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
        // SAFETY: a number of this thread, raised in one instruction, as in the guest: the compiler shall not make
        // `irq_try_disable` and this one read and write of it.
        unsafe { asm!("inc dword ptr [{}]", in(reg) MASKED.with(Cell::as_ptr), options(nostack)) }
    }

    #[inline(always)]
    fn irq_try_disable(&self) -> bool {
        let is_outermost = MASKED.get() == 0;
        if is_outermost {
            MASKED.set(1);
        }
        is_outermost
    }

    #[inline(always)]
    fn irq_enable(&self) {
        MASKED.set(MASKED.get() - 1);
    }

    fn can_wait(&self) -> bool {
        !MEASURES.get()
    }

    /// The main thread works while the others do nothing, so it can do it in their place.
    fn call_on(&self, cpu: CpuId, work: &(dyn Fn() + Sync)) {
        let CpuId(own) = self.id();
        CPU.set(cpu.0);
        work();
        CPU.set(own);
    }

    fn wait_on(&self, _key: u64, _done: &mut dyn FnMut() -> bool) {
        std::thread::yield_now();
    }

    fn wake(&self, _key: u64) {}

    fn wait_for(&self, _ns: u64) {
        std::thread::yield_now();
    }

    fn now(&self) -> u64 {
        0
    }

    #[inline(always)]
    fn task_flags(&self) -> TaskFlags {
        TaskFlags::empty()
    }

    fn set_task_flags(&self, _flags: TaskFlags) {}
}

/// RAM in one piece.
pub struct DirectMap {
    base: NonNull<u8>,
}

// SAFETY: whoever uses a frame owns it, as on any machine.
unsafe impl Send for DirectMap {}
// SAFETY: as above.
unsafe impl Sync for DirectMap {}

impl port::PhysMem for DirectMap {
    #[inline(always)]
    fn ptr(&self, addr: PhysAddr) -> Option<NonNull<u8>> {
        // SAFETY: below the end of the RAM.
        (addr.get() < RAM).then(|| unsafe { self.base.add(addr.get() as usize) })
    }

    #[inline(always)]
    fn addr_of(&self, ptr: NonNull<u8>) -> Option<PhysAddr> {
        PhysAddr::new(ptr.as_ptr().addr().wrapping_sub(self.base.as_ptr().addr()) as u64)
    }

    unsafe fn zero(&self, pfn: Pfn) {
        if let Some(page) = self.ptr(pfn.addr()) {
            // SAFETY: the caller owns the frame.
            unsafe { page.write_bytes(0, PAGE_SIZE as usize) };
        }
    }

    unsafe fn copy(&self, from: Pfn, to: Pfn) {
        if let (Some(from), Some(to)) = (self.ptr(from.addr()), self.ptr(to.addr())) {
            // SAFETY: the caller owns the frame, nobody writes the other, and they differ.
            unsafe { to.copy_from_nonoverlapping(from, PAGE_SIZE as usize) };
        }
    }
}

/// The simulated machine with these CPUs and this RAM.
pub struct Machine {
    sim: sim::Machine,
    ram: DirectMap,
    cpus: Cpus,
}

impl port::Machine for Machine {
    type Mmu = sim::Mmu;
    type PhysMem = DirectMap;
    type Tlb = sim::Tlb;
    type Cpu = Cpus;

    fn mmu(&self) -> &sim::Mmu {
        self.sim.mmu()
    }

    #[inline(always)]
    fn physmem(&self) -> &DirectMap {
        &self.ram
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

/// Alignment of the largest block of frames.
const ALIGN: usize = 4 << 20;

/// Zeroed memory that is never returned, in large pages where the host has them: so a kernel maps its RAM and its
/// descriptors.
fn zeroed(bytes: u64) -> Result<NonNull<u8>> {
    let bytes = usize::try_from(bytes).context("size of memory")?;
    // SAFETY: a new mapping, of which only a part is used; the second call only says how the host should back it.
    let base = unsafe {
        let (rights, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let start =
            libc::mmap(std::ptr::null_mut(), bytes + ALIGN, rights, flags | libc::MAP_NORESERVE, -1, 0);
        anyhow::ensure!(start != libc::MAP_FAILED, "no memory for {bytes} bytes");
        let base = start.cast::<u8>().add(start.cast::<u8>().align_offset(ALIGN));
        libc::madvise(base.cast(), bytes, libc::MADV_HUGEPAGE);
        base
    };
    NonNull::new(base).context("memory at 0")
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
    let (frames, pageblocks) = (zeroed(size.frames)?.cast::<Frame>(), zeroed(size.pageblocks)?.cast());
    let tables = Tables { frames, pageblocks, end };
    let none = Pfn::from_u32(0);
    let zones = ZoneLimits { dma_end: none, dma32_end: none, ..ZoneLimits::LINUX };
    let sim = sim::Machine::builder().ram(0..PAGE_SIZE).poison(0).cpus(CPUS).build();
    let machine = Machine { sim, ram: DirectMap { base: zeroed(RAM)? }, cpus: Cpus };
    let board = Box::leak(Box::new(Board { phys: Phys::new(machine), boot_seconds: 0.0, init_seconds: 0.0 }));
    let clock = Instant::now();
    let config = BootConfig { memblock: &memblock, topology: &topology, zones, tables, merge: true };
    // SAFETY: the tables are as large as they must be, zeroed, never returned; the RAM is simulated.
    unsafe { board.phys.boot(&config) }.map_err(|error| anyhow!("boot: {error}"))?;
    for cpu in 0..CPUS {
        board.phys.setup_cpu(CpuId(cpu)).map_err(|error| anyhow!("CPU {cpu}: {error}"))?;
    }
    board.phys.set_reserves(&RESERVES);
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
    let config = SlabConfig { rules, seed: 1, randomize: false, hardened: false, ..SlabConfig::LINUX };
    // SAFETY: the configuration names as many CPUs as threads play.
    unsafe { slabs.boot(&config, &ZoneAllocator::new(&board.phys)) }
        .map_err(|error| anyhow!("slabs: {error}"))?;
    Ok(slabs)
}
