//! vmalloc: addresses in a row over frames that lie anywhere.
//!
//! Owns: the vmalloc range, which area is where, and the frames below areas that have their own. Stays outside: what
//! frames are free (`phys`), the format of tables (`pgtable`). Source: Linux `mm/vmalloc.c`, 6.18.
//!
//! Invariants:
//! - An area ends with an unmapped guard page, and no page belongs to two areas.
//! - Freeing makes every entry of the area fault at once but keeps the frame in it; later one flush serves many freed
//!   areas (a purge), and only after it do frames die and pages become free. So no CPU ever sees a frame or an address
//!   in its old place after it has been given away. (Linux frees the frames before the flush.)
//! - Entries of an area change only by whoever made its segment [`State::Changing`], took it just now, or holds it in
//!   a purge; others look at entries only while they hold the lock and see the area in use.
//!
//! One lock guards the division of the range; it is never held while frames are allocated or freed, while entries
//! change, or during a flush. Calls go down: `alloc`, `map`, `free` → `purge` → `space` → `index`, `sizes` →
//! `segment`.

mod alloc;
mod area;
mod batch;
mod error;
mod free;
mod index;
mod map;
mod purge;
mod segment;
mod sizes;
mod space;

pub use alloc::Request;
pub use area::Area;
pub use error::{FreeAreaError, VmallocError};
pub use purge::lazy_max_pages;
pub use segment::Kind;

use crate::addr::{NodeId, Order, PAGE_SIZE, Pfn, VirtAddr};
use crate::pgtable::{PageRange, PageTable, TableFrames};
use crate::phys::GfpFlags;
use crate::port::{Machine, Mmu, PhysMem, PteBits};
use crate::sync::{InitError, Once, SpinGuard, SpinLock};
use core::sync::atomic::{AtomicU64, Ordering};
#[cfg(doc)]
use segment::State;
use space::Space;

/// The entry format of machine `M`.
type Codec<M> = <<M as Machine>::Mmu as Mmu>::Pte;

/// A source of frames for areas and of tables to map them with.
///
/// # Safety
/// Nobody else uses a block that [`AreaFrames::alloc_frames`] gives until it comes back. A block that was asked for
/// without [`GfpFlags::__GFP_HIGHMEM`] is in the direct map.
pub unsafe trait AreaFrames: TableFrames {
    /// A block of `order`, on `node` if possible; `None` if there is none.
    fn alloc_frames(&self, node: Option<NodeId>, gfp: GfpFlags, order: Order) -> Option<Pfn>;

    /// Takes back a block.
    ///
    /// # Safety
    /// The block came from `alloc_frames` of this source with this order, and neither software nor any MMU uses it
    /// any more.
    unsafe fn free_frames(&self, pfn: Pfn, order: Order);

    /// Single frames for `slots`, from the first on; how many there were. Each is a block of order 0.
    #[must_use = "the frames are the caller's"]
    fn alloc_many(&self, node: Option<NodeId>, gfp: GfpFlags, slots: &mut [Pfn]) -> usize {
        let frames = core::iter::from_fn(|| self.alloc_frames(node, gfp, Order::ZERO));
        slots.iter_mut().zip(frames).map(|(slot, frame)| *slot = frame).count()
    }

    /// Takes back single frames.
    ///
    /// # Safety
    /// As for [`AreaFrames::free_frames`], of each of them, with order 0.
    unsafe fn free_many(&self, frames: &[Pfn]) {
        for &frame in frames {
            // SAFETY: promised by the caller.
            unsafe { self.free_frames(frame, Order::ZERO) };
        }
    }
}

/// Where areas lie and what they may be.
#[derive(Clone, Copy)]
pub struct Config<'m, M: Machine> {
    /// The kernel's page tables, complete at the root for the whole range.
    pub tree: PageTable<'m, M>,
    /// The range.
    pub range: PageRange,
    /// What every small leaf says: write, no-execute and the like.
    pub bits: PteBits,
    /// No area is larger: pages of RAM (Linux `totalram_pages`).
    pub max_pages: u64,
    /// CPUs that are online, for the rule of [`lazy_max_pages`].
    pub cpus: u32,
}

/// See the module documentation. Lives in a static; everything goes through `&self`.
pub struct Vmalloc<'m, M: Machine, F> {
    machine: &'m M,
    frames: F,
    config: Once<Option<Config<'m, M>>>,
    space: SpinLock<Space>,
    lazy_limit: AtomicU64,
    purges: AtomicU64,
}

impl<'m, M: Machine, F: AreaFrames> Vmalloc<'m, M, F> {
    /// Before boot: there are no areas.
    #[must_use]
    pub const fn new(machine: &'m M, frames: F) -> Self {
        let (config, space) = (Once::new(None), SpinLock::new(Space::new()));
        Self { machine, frames, config, space, lazy_limit: AtomicU64::new(0), purges: AtomicU64::new(0) }
    }

    /// Opens the range.
    ///
    /// # Errors
    /// [`VmallocError::NoMemory`]; [`VmallocError::NotReady`] if it was opened before.
    ///
    /// # Safety
    /// Nothing is mapped in the range, and nobody else changes what `config.tree` maps there. Its tables may be given
    /// to and come from the `frames` of this object.
    pub unsafe fn boot(&self, config: Config<'m, M>) -> Result<(), VmallocError> {
        self.set_cpus(config.cpus, config.max_pages);
        let filled = self.config.init(|slot| {
            if !self.lock_with_spare().ok_or(VmallocError::NoMemory)?.open(config.range.pages()) {
                return Err(VmallocError::NotReady);
            }
            *slot = Some(config);
            Ok(())
        });
        filled.map_err(|error| match error {
            InitError::Taken => VmallocError::NotReady,
            InitError::Failed(error) => error,
        })
    }

    #[inline]
    fn config(&self) -> Option<&Config<'m, M>> {
        self.config.get()?.as_ref()
    }

    #[inline]
    fn lock(&self) -> SpinGuard<'_, Space, M::Cpu> {
        self.space.lock(self.machine.cpu())
    }

    /// The lock, with descriptors for whatever is done next; `None` without a frame for them.
    #[inline]
    fn lock_with_spare(&self) -> Option<SpinGuard<'_, Space, M::Cpu>> {
        loop {
            let space = self.lock();
            if !space.is_short() {
                return Some(space);
            }
            drop(space);
            self.add_spare()?;
        }
    }

    #[cold]
    fn add_spare(&self) -> Option<()> {
        let pfn = self.frames.alloc_frames(None, GfpFlags::GFP_KERNEL, Order::ZERO)?;
        let frame = self.machine.physmem().ptr(pfn.addr())?;
        // SAFETY: the frame was just handed out, is in the direct map for it was not asked for as highmem, and stays
        // with the pool for good.
        unsafe { self.lock().add_frame(frame) };
        Some(())
    }

    /// Pages of frames that areas in use own (`VmallocUsed`).
    pub fn used_pages(&self) -> u64 {
        self.lock().used()
    }

    /// Pages of freed areas that wait for a flush, guards included (Linux `vmap_lazy_nr`). The frames of those that
    /// had any are still taken.
    pub fn lazy_pages(&self) -> u64 {
        self.lock().lazy_pages()
    }

    /// Frames that descriptors of areas take.
    pub fn descriptor_frames(&self) -> u64 {
        self.lock().descriptor_frames()
    }

    /// Flushes that freed areas have caused.
    pub fn purges(&self) -> u64 {
        self.purges.load(Ordering::Relaxed)
    }

    /// Checks the division of the range.
    ///
    /// # Errors
    /// What does not hold, in words.
    pub fn verify(&self) -> Result<(), &'static str> {
        match self.config() {
            Some(config) => self.lock().verify(config.range.pages()),
            None => Ok(()),
        }
    }
}

impl<M: Machine> Config<'_, M> {
    /// The page of the range that `va` lies in, counted from its start.
    #[inline]
    fn page_of(&self, va: VirtAddr) -> Option<u64> {
        let page = va.vpn().get().checked_sub(self.range.start().vpn().get())?;
        (page < self.range.pages()).then_some(page)
    }

    /// Where a page of the range is.
    #[inline]
    fn address(&self, page: u64) -> VirtAddr {
        VirtAddr::truncate(self.range.start().get() + page * PAGE_SIZE)
    }

    /// `pages` pages from a page of the range on.
    #[inline]
    fn part(&self, page: u64, pages: u64) -> Option<PageRange> {
        self.range.part(page, pages)
    }
}
