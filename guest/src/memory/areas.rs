//! The vmalloc area of this machine: the one [`Vmalloc`], and its functions by their Linux names.
//!
//! Owns: the area from `shared::layout::VMALLOC` on, as far as `vmalloc=` lets it go. Each function notes who calls
//! it, for `/proc/vmallocinfo`.

use super::slab::FRAMES;
use super::tables::KernelTables;
use super::{PHYS, boot};
use crate::arch::smp;
use crate::machine::{Kernel, MACHINE};
use crate::symbols::LinuxSymbol;
use crate::{report, settings};
use core::arch::asm;
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use mm::addr::{NodeId, Order, PAGE_SIZE, Pfn, PhysAddr, VirtAddr};
use mm::pgtable::PageRange;
use mm::phys::{FrameAllocator, GfpFlags};
use mm::port::{Level, PteBits};
use mm::vmalloc::{AreaFrames, Config, FreeAreaError, Request, Vmalloc, VmallocError};
use shared::layout::{DIRECT_MAP, DIRECT_MAP_SIZE, VMALLOC, VMALLOC_SIZE};

/// Every area of the kernel.
pub static AREAS: Vmalloc<'static, Kernel, KernelTables> = Vmalloc::new(&MACHINE, KernelTables);

// SAFETY: the buddy gives a block to one owner; without highmem its blocks are in the direct map.
unsafe impl AreaFrames for KernelTables {
    #[inline]
    fn alloc_frames(&self, node: Option<NodeId>, gfp: GfpFlags, order: Order) -> Option<Pfn> {
        let frames = match node {
            None => FRAMES.alloc(gfp, order),
            Some(node) => PHYS.alloc_pages_node(node, gfp, order),
        };
        Some(frames.ok()?.into_raw().0)
    }

    #[inline]
    unsafe fn free_frames(&self, pfn: Pfn, order: Order) {
        super::free_block(pfn, order);
    }

    #[inline]
    fn alloc_many(&self, node: Option<NodeId>, gfp: GfpFlags, slots: &mut [Pfn]) -> usize {
        let many = if node.is_none() { PHYS.alloc_raw_pages_bulk(gfp, slots) } else { 0 };
        // In bulk comes what is free; for the rest room may be made.
        let rest = slots.get_mut(many..).unwrap_or_default();
        let frames = core::iter::from_fn(|| self.alloc_frames(node, gfp, Order::ZERO));
        many + rest.iter_mut().zip(frames).map(|(slot, frame)| *slot = frame).count()
    }

    #[inline]
    unsafe fn free_many(&self, frames: &[Pfn]) {
        // SAFETY: promised by the caller.
        if let Err(error) = unsafe { PHYS.free_raw_pages_bulk(frames) } {
            report::corruption(format_args!("{error}"));
        }
    }
}

/// Whether areas may have large leaves.
static HUGE: AtomicBool = AtomicBool::new(true);

/// The size of the area in bytes.
pub fn size() -> u64 {
    settings::number("vmalloc").unwrap_or(VMALLOC_SIZE).min(VMALLOC_SIZE) & !(PAGE_SIZE - 1)
}

/// Opens the area, when tables and zones stand.
pub fn boot() -> Result<(), VmallocError> {
    HUGE.store(!settings::is_on("nohugevmalloc"), Ordering::Relaxed);
    let start = VirtAddr::truncate(VMALLOC);
    let config = Config {
        tree: boot::kernel_root(),
        range: PageRange::new(start, size() / PAGE_SIZE).ok_or(VmallocError::BadSize)?,
        bits: PteBits::WRITE | PteBits::NO_EXEC | PteBits::ACCESSED | PteBits::DIRTY | boot::ring_bits(),
        max_pages: PHYS.total_managed_pages(),
        cpus: 1,
    };
    // SAFETY: boot has mapped nothing in the range, and from here on only `AREAS` does.
    unsafe { AREAS.boot(config) }
}

/// Tells the area how many CPUs are online.
pub fn count_cpus() {
    AREAS.set_cpus(smp::online(), PHYS.total_managed_pages());
}

/// The return address of the function that this is expanded in, which must not be inlined.
macro_rules! caller {
    () => {{
        let caller: u64;
        // SAFETY: every function keeps a frame pointer (the guest's cargo configuration forces them), and above
        // the saved one lies the return address.
        unsafe { asm!("mov {}, [rbp + 8]", out(reg) caller, options(nostack, readonly, preserves_flags)) };
        caller
    }};
}

/// `bytes` of memory in small pages, from anywhere.
#[inline(never)]
pub fn vmalloc(bytes: u64) -> Result<VirtAddr, VmallocError> {
    AREAS.vmalloc(&Request::new(bytes, caller!()))
}

/// As [`vmalloc`], for other requests; who calls is noted here.
#[inline(never)]
pub fn vmalloc_with(request: Request) -> Result<VirtAddr, VmallocError> {
    let max_leaf = if HUGE.load(Ordering::Relaxed) { request.max_leaf } else { Level::PTE };
    AREAS.vmalloc(&Request { max_leaf, caller: caller!(), ..request })
}

/// Frees what [`vmalloc`] gave; a wrong address is a bug of the caller and changes nothing.
pub fn vfree(at: VirtAddr) -> Result<(), FreeAreaError> {
    AREAS.vfree(at)
}

/// Maps frames that belong to somebody else.
#[inline(never)]
pub fn vmap(frames: impl ExactSizeIterator<Item = Pfn>) -> Result<VirtAddr, VmallocError> {
    AREAS.vmap(frames, PteBits::empty(), caller!())
}

/// Maps device registers, uncached. `None` without memory for tables or room in the area.
#[inline(never)]
pub fn ioremap(addr: PhysAddr, bytes: u64) -> Option<NonNull<u8>> {
    let uncached = PteBits::NO_CACHE | PteBits::WRITE_THROUGH;
    let at = AREAS.ioremap(addr, bytes, uncached, caller!()).ok()?;
    NonNull::new(at.get() as *mut u8)
}

/// What lies at an address that faults, in words.
pub struct Place(pub u64);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let area = VirtAddr::new(self.0).and_then(|va| AREAS.try_find(va));
        match area {
            None if self.0.wrapping_sub(VMALLOC) < size() => write!(f, "vmalloc area, nothing here"),
            None => match self.0.checked_sub(DIRECT_MAP) {
                Some(at) if at < DIRECT_MAP_SIZE => write!(f, "pfn {:#x} not in direct map", at / PAGE_SIZE),
                _ => write!(f, "no area"),
            },
            Some(area) => {
                let what = match (area.is_lazy, self.0 >= area.guard().get()) {
                    (true, _) => "vmalloc area freed",
                    (false, true) => "vmalloc guard",
                    (false, false) => "vmalloc area",
                };
                let (start, guard) = (area.start.get(), area.guard().get());
                write!(f, "{what}: {start:#x}-{guard:#x} {}", LinuxSymbol(area.caller))
            }
        }
    }
}
