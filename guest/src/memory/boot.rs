//! Boot of the memory manager: memory map, kernel page tables, frame descriptors, zones.
//!
//! Owns: the kernel root. Stays outside: the tables' format and the allocator itself (`mm`).
//! Invariants: the cost does not grow with RAM but for one directory entry per 2 MiB; page tables and
//! descriptors come from 2 MiB-aligned arenas, so that second-level mappings stay large; text is never
//! writable, data never executable.

use super::tables::{self, BootTables};
use super::{PHYS, areas, highmem, map, zones};
use crate::arch::{cpu, paging};
use crate::boot_info::BootInfo;
use crate::machine::{Kernel, MACHINE};
use crate::platform::Platform;
use crate::settings;
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use mm::addr::{NodeId, Order, PAGE_SIZE, Pfn, PhysAddr, VirtAddr, align_down, align_up};
use mm::frame::{Frame, Tables};
use mm::memblock::{Direction, Memblock, MemblockError, NodeChoice, Request};
use mm::pgtable::{Leaves, PageRange, PageTable, PtError};
use mm::phys::{BootConfig, BootError};
use mm::port::{Level, Machine, PhysMem, PteBits};
use mm::sync::SpinLock;
use mm::vmalloc::VmallocError;
use shared::layout::{
    DIRECT_MAP, FIXMAP_IOAPIC, FIXMAP_LAPIC, IMAGE_OFFSET, IOAPIC, LAPIC, VMALLOC, VMALLOC_SIZE, VMEMMAP,
    VMEMMAP_SIZE,
};
use shared::params;

const HUGE: u64 = 2 << 20;

unsafe extern "C" {
    static image_start: u8;
    static image_text_end: u8;
    static image_rodata_end: u8;
    static image_data_end: u8;
    static boot_stack_guard: u8;
    #[link_name = "image_end"]
    static image_end_symbol: u8;
}

static ROOT: AtomicU64 = AtomicU64::new(0);
static DIRECT_LEAVES: SpinLock<Leaves> = SpinLock::new(Leaves { pte: 0, pmd: 0, pud: 0 });

/// Memory cannot be managed on this machine.
#[derive(Debug)]
pub enum Failure {
    /// The memory map.
    Map(MemblockError),
    /// The kernel's page tables.
    Tables(PtError),
    /// No frame for the root.
    NoRoot,
    /// The zones.
    Zones(BootError),
    /// The vmalloc area.
    Areas(VmallocError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map(error) => write!(f, "{error}"),
            Self::Tables(error) => write!(f, "{error}"),
            Self::NoRoot => write!(f, "no memory for the kernel's page tables"),
            Self::Zones(error) => write!(f, "{error}"),
            Self::Areas(error) => write!(f, "{error}"),
        }
    }
}

impl From<MemblockError> for Failure {
    fn from(error: MemblockError) -> Self {
        Self::Map(error)
    }
}

impl From<PtError> for Failure {
    fn from(error: PtError) -> Self {
        Self::Tables(error)
    }
}

/// First virtual address after the image.
pub fn image_end() -> u64 {
    (&raw const image_end_symbol) as u64
}

/// The bounds of the image's text, read-only data and data, as virtual addresses.
pub fn image_sections() -> [(u64, u64); 3] {
    let at = |symbol: *const u8| symbol as u64;
    let (text, text_end) = (at(&raw const image_start), at(&raw const image_text_end));
    let rodata_end = at(&raw const image_rodata_end);
    [(text, text_end), (text_end, rodata_end), (rodata_end, image_end())]
}

/// Where the image's data ends and its zeroes begin, as a virtual address.
pub fn image_bss() -> u64 {
    (&raw const image_data_end) as u64
}

/// The user bit, at the ring that needs it.
pub fn ring_bits() -> PteBits {
    if cpu::ring() == 0 { PteBits::empty() } else { PteBits::USER }
}

/// What the kernel's own data is mapped with. Nobody asks whether it was used, so it counts as used from the start: the CPU
/// need not note it, and a host that shadows the tables maps such pages ahead, and for writing at the first read.
fn writable() -> PteBits {
    PteBits::WRITE | PteBits::NO_EXEC | PteBits::ACCESSED | PteBits::DIRTY
}

/// The kernel's page tables.
pub fn kernel_root() -> PageTable<'static, Kernel> {
    // SAFETY: `init` built the tree at ROOT, which lives for good; changes are made by owners of their ranges.
    unsafe { PageTable::from_root(&MACHINE, PhysAddr::truncate(ROOT.load(Ordering::Acquire))) }
}

/// How many leaves of each size make up the direct map.
pub fn direct_map_leaves() -> Leaves {
    *DIRECT_LEAVES.lock(&crate::machine::CPU)
}

/// How many pages the frame descriptors take.
pub fn descriptor_pages() -> u64 {
    let area = range(VMEMMAP, VMEMMAP_SIZE).ok();
    area.and_then(|area| kernel_root().census(area)).map_or(0, |census| census.leaves.pages())
}

/// Takes RAM into management. The boot tables are in use; afterwards the kernel's own are.
pub fn init(info: &BootInfo, platform: &mut Platform, cmdline: &str) -> Result<(), Failure> {
    let mut memory = map::build(info, cmdline)?;
    platform.assign_nodes(&mut memory, cmdline)?;
    memory.align_nodes(memory_block())?;
    let limits = zones::limits(&memory);
    let lowmem_end = limits.highmem_start.map_or(memory.end(), Pfn::addr);
    let arena_size = arena_size(&memory, cmdline);
    let arena = memory.alloc(&Request {
        max: PhysAddr::truncate(paging::BOOT_DIRECT_END),
        direction: Direction::BottomUp,
        ..Request::new(arena_size, HUGE.min(arena_size.next_power_of_two()))
    })?;
    let frames = BootTables::new(arena, arena_size);
    // SAFETY: only boot knows this tree and changes it, and nothing runs in it yet; both sources of table frames
    // take what the other has given.
    let tree = unsafe { PageTable::new(&MACHINE, &frames) }.ok_or(Failure::NoRoot)?;
    ROOT.store(tree.root().get(), Ordering::Release);
    let bits = writable() | ring_bits();
    map_direct(&tree, &memory, lowmem_end, &frames, cmdline, bits)?;
    map_image(&tree, &frames)?;
    map_fixed(&tree, &frames)?;
    let tables = map_descriptors(&tree, &mut memory, lowmem_end, &frames, bits)?;
    tree.preallocate(range(VMALLOC, VMALLOC_SIZE)?, &frames)?;
    let node = memory.memory().iter().find(|region| region.end > arena.get()).and_then(|region| region.node);
    tables::count_boot_tables(node.unwrap_or_default(), (frames.rest().get() - arena.get()) / PAGE_SIZE);
    memory.release(frames.rest(), arena.get() + arena_size - frames.rest().get())?;
    // SAFETY: the tree maps image, direct map and fixmap as the boot tables did; stack and tables with them.
    unsafe { cpu::write_cr3(tree.root()) };
    paging::set_direct_map_end(lowmem_end.get());
    let config = BootConfig {
        memblock: &memory,
        topology: platform.topology(),
        zones: limits,
        tables,
        merge: settings::is_on("buddy.merge"),
    };
    // SAFETY: the descriptors were mapped to reserved frames and zeroed above; what memblock calls free is RAM
    // that nobody uses.
    unsafe { PHYS.boot(&config) }.map_err(Failure::Zones)?;
    areas::boot().map_err(Failure::Areas)?;
    highmem::boot()?;
    Ok(())
}

fn memory_block() -> u64 {
    Order::MAX.pages() * PAGE_SIZE
}

fn range(start: u64, size: u64) -> Result<PageRange, Failure> {
    let va = VirtAddr::new(start).ok_or(Failure::NoRoot)?;
    PageRange::new(va, size / PAGE_SIZE).ok_or(Failure::NoRoot)
}

/// The largest leaf that the direct map may have. Single pages that come and go need small ones.
fn largest_leaf(cmdline: &str) -> Level {
    match params::get_enum(cmdline, "directmap") {
        _ if params::get_bool(cmdline, "debug_pagealloc") == Some(true) => Level::PTE,
        Some("4k") => Level::PTE,
        Some("2m") => Level::PMD,
        _ if params::get_bool(cmdline, "nogbpages") == Some(true) => Level::PMD,
        _ => Level::PUD,
    }
}

/// Enough for the tables of everything that boot maps; the rest is given back.
fn arena_size(memory: &Memblock, cmdline: &str) -> u64 {
    let end = memory.end().get();
    let pages_4k = largest_leaf(cmdline) == Level::PTE;
    let leaf_tables = if pages_4k { end.div_ceil(HUGE) } else { 2 * memory.memory().len() as u64 + 4 };
    let directories = end.div_ceil(1 << 30) + 1;
    // Roots and upper levels of six areas, image, fixmap, and the descriptors' share of each.
    let descriptors = end.div_ceil(1 << 30) + 2 * memory.memory().len() as u64;
    let vmalloc_roots = VMALLOC_SIZE >> 39;
    align_up((leaf_tables + directories + descriptors + vmalloc_roots + 64) * PAGE_SIZE, PAGE_SIZE)
        .unwrap_or(HUGE)
}

fn map_direct(
    tree: &PageTable<'_, Kernel>,
    memory: &Memblock,
    lowmem_end: PhysAddr,
    frames: &BootTables,
    cmdline: &str,
    bits: PteBits,
) -> Result<(), Failure> {
    let largest = largest_leaf(cmdline);
    let mut sum = Leaves::default();
    let mut done = 0;
    for region in memory.memory() {
        // Whole pages, those at the borders too: a page that is partly RAM is still reached through here.
        let start = align_down(region.start, PAGE_SIZE).max(done);
        let end = align_up(region.end, PAGE_SIZE).unwrap_or(region.end).min(lowmem_end.get());
        if start >= end {
            continue;
        }
        done = end;
        let pa = PhysAddr::truncate(start);
        let leaves = tree.map_range(range(DIRECT_MAP + start, end - start)?, pa, largest, bits, frames)?;
        sum.pte += leaves.pte;
        sum.pmd += leaves.pmd;
        sum.pud += leaves.pud;
    }
    *DIRECT_LEAVES.lock(&crate::machine::CPU) = sum;
    Ok(())
}

/// Maps the image in small pages, each section with its own rights, but for the page below the boot stack.
fn map_image(tree: &PageTable<'_, Kernel>, frames: &BootTables) -> Result<(), Failure> {
    let [text, rodata, (data, end)] = image_sections();
    let guard = (&raw const boot_stack_guard) as u64;
    for ((start, end), bits) in [
        (text, PteBits::ACCESSED),
        (rodata, PteBits::ACCESSED | PteBits::NO_EXEC),
        ((data, guard), writable()),
        ((guard + PAGE_SIZE, end), writable()),
    ] {
        let pa = PhysAddr::truncate(start - IMAGE_OFFSET);
        tree.map_range(range(start, end - start)?, pa, Level::PTE, bits | ring_bits(), frames)?;
    }
    Ok(())
}

/// Maps the interrupt controllers where the boot tables had them.
fn map_fixed(tree: &PageTable<'_, Kernel>, frames: &BootTables) -> Result<(), Failure> {
    let bits = writable() | PteBits::NO_CACHE | PteBits::WRITE_THROUGH | ring_bits();
    for (va, pa) in [(FIXMAP_LAPIC, LAPIC), (FIXMAP_IOAPIC, IOAPIC)] {
        tree.map_range(range(va, PAGE_SIZE)?, PhysAddr::truncate(pa), Level::PTE, bits, frames)?;
    }
    Ok(())
}

/// Whole 4 MiB blocks of one node, without a block between them that has no RAM. Their descriptors lie
/// together: the fewer 2 MiB pages boot touches, the fewer the host has to clear.
struct Run {
    start: u64,
    end: u64,
    node: Option<NodeId>,
}

impl Run {
    /// Extends this run by `next`, or gives back what is left of it: a run of its own.
    fn absorb(&mut self, next: Self) -> Option<Self> {
        let start = next.start.max(self.end);
        if next.end <= self.end {
            return None;
        }
        if start == self.end && next.node == self.node {
            self.end = next.end;
            return None;
        }
        Some(Self { start, ..next })
    }
}

/// Gives every 4 MiB block with RAM its frame descriptors, on the node of that RAM, and zeroes the words of
/// pageblocks. Descriptors are zeroed as their block is taken in.
fn map_descriptors(
    tree: &PageTable<'_, Kernel>,
    memory: &mut Memblock,
    lowmem_end: PhysAddr,
    frames: &BootTables,
    bits: PteBits,
) -> Result<Tables, Failure> {
    let block = memory_block();
    let end =
        Pfn::new(align_up(memory.end().get(), block).unwrap_or(0) / PAGE_SIZE).ok_or(Failure::NoRoot)?;
    let size = Tables::size(end);
    let regions = memory.clone();
    let mut runs = regions.memory().iter().filter_map(|region| {
        let start = align_down(region.start, block);
        Some(Run { start, end: align_up(region.end, block)?, node: region.node })
    });
    let mut run = runs.next();
    while let Some(mut current) = run {
        run = runs.find_map(|next| current.absorb(next));
        let per_page = size_of::<Frame>() as u64;
        let pages = (current.end - current.start) / PAGE_SIZE;
        let (offset, length) = (current.start / PAGE_SIZE * per_page, pages * per_page);
        let request = Request {
            node: current.node.map_or(NodeChoice::Any, NodeChoice::Prefer),
            max: lowmem_end,
            ..Request::new(length, if length >= HUGE { HUGE } else { PAGE_SIZE })
        };
        let pa = memory.alloc(&request)?;
        tree.map_range(range(VMEMMAP + offset, length)?, pa, Level::PMD, bits, frames)?;
    }
    let words = align_up(size.pageblocks, PAGE_SIZE).unwrap_or(size.pageblocks);
    let low = PhysAddr::truncate(paging::BOOT_DIRECT_END);
    let pa = memory.alloc(&Request {
        max: low,
        direction: Direction::BottomUp,
        ..Request::new(words, PAGE_SIZE)
    })?;
    let pageblocks = MACHINE.physmem().ptr(pa).ok_or(Failure::NoRoot)?;
    // SAFETY: the range was just reserved and the boot tables show it.
    unsafe { pageblocks.as_ptr().write_bytes(0, words as usize) };
    let frames = NonNull::new(VMEMMAP as *mut Frame).ok_or(Failure::NoRoot)?;
    Ok(Tables { frames, pageblocks: pageblocks.cast(), end })
}
