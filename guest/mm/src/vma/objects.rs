//! Where areas, anchors and nodes come from: caches with Linux's names.
//!
//! Owns: the caches. Invariants: an object is initialised before anybody sees it, and freed once.

use super::{Vma, VmaInit};
use crate::maple::{Bag, Nodes, Spare};
use crate::phys::{AllocError, FrameAllocator, GfpFlags};
use crate::port::Machine;
use crate::rmap::{AnonVma, Limbo};
use crate::slab::{Cache, CacheRequest, CreateError, SlabFlags, Slabs};
use crate::sync::rcu;
use core::ptr::NonNull;

/// See the module documentation.
pub struct Objects<'p, M: Machine> {
    slabs: &'p Slabs<'p, M>,
    nodes: Nodes<'p, 'p, M>,
    vma: &'p Cache,
    anon: &'p Cache,
    limbo: Limbo,
}

/// Memory for an area that is nobody's yet.
#[must_use = "memory that is not given back is lost"]
pub(super) struct Blank(NonNull<u8>);

// SAFETY: the memory is the holder's alone.
unsafe impl Send for Blank {}
// SAFETY: only whoever has it by value can reach the memory.
unsafe impl Sync for Blank {}

impl Blank {
    /// What an area is once nobody uses it.
    pub(super) fn of(vma: NonNull<Vma>) -> Self {
        Self(vma.cast())
    }

    /// Makes it an area.
    pub(super) fn fill(self, init: &VmaInit) -> NonNull<Vma> {
        let vma = self.0.cast::<Vma>();
        // SAFETY: it is an object of the cache for areas, so it has the size and alignment, and is the holder's alone.
        unsafe { vma.write(Vma::new(init)) };
        vma
    }
}

impl<'p, M: Machine> Objects<'p, M> {
    /// Makes the caches.
    ///
    /// # Errors
    /// [`CreateError`].
    pub fn new(slabs: &'p Slabs<'p, M>, frames: &impl FrameAllocator<'p>) -> Result<Self, CreateError> {
        let cache = |name, size: usize| {
            let request =
                CacheRequest { name, size: size as u32, align: 0, flags: SlabFlags::empty(), ctor: None };
            slabs.create(&request, frames)
        };
        Ok(Self {
            slabs,
            nodes: Nodes::new(slabs, frames)?,
            vma: cache("vm_area_struct", size_of::<Vma>())?,
            anon: cache("anon_vma", AnonVma::SIZE)?,
            limbo: Limbo::new(),
        })
    }

    pub(super) fn blank(&self, frames: &impl FrameAllocator<'p>) -> Result<Blank, AllocError> {
        self.slabs.alloc(self.vma, frames, GfpFlags::GFP_KERNEL).map(Blank)
    }

    pub(super) fn give_blank(&self, blank: Blank) {
        // SAFETY: the object is the caller's alone. It came from this cache, so it is not refused.
        let _ = unsafe { self.slabs.free(self.vma, blank.0) };
    }

    /// Frees an area that nothing refers to any more.
    ///
    /// # Safety
    /// It came from [`Blank::fill`], and nobody uses it.
    pub(super) unsafe fn free_vma(&self, vma: NonNull<Vma>) {
        // SAFETY: promised by the caller; atomics and plain words need no drop.
        let _ = unsafe { self.slabs.free(self.vma, vma.cast()) };
    }

    /// Gives an area without an anchor one of its own, unless another CPU is faster.
    ///
    /// # Errors
    /// [`AllocError`].
    pub(crate) fn anchor(&self, vma: &Vma, frames: &impl FrameAllocator<'p>) -> Result<(), AllocError> {
        // During a fault, with a lock held: it must not wait.
        let anchor = self.slabs.alloc(self.anon, frames, GfpFlags::GFP_NOWAIT)?.cast::<AnonVma>();
        // SAFETY: a new object of the cache for anchors, which is ours alone.
        unsafe { anchor.write(AnonVma::new()) };
        // SAFETY: the anchor is empty and nobody else's; the area leaves its list before it is freed.
        if !unsafe { vma.link.attach(self.slabs.machine().cpu(), anchor) } {
            // SAFETY: it is on no area, and nobody has seen it. It came from this cache, so it is not refused.
            let _ = unsafe { self.slabs.free(self.anon, anchor.cast()) };
        }
        Ok(())
    }

    /// Frees an anchor once nobody looks at it any more.
    ///
    /// # Safety
    /// It came from [`Objects::anchor`], and no area is linked to it.
    pub(super) unsafe fn free_anchor(&self, anchor: NonNull<AnonVma>) {
        // SAFETY: promised by the caller.
        unsafe { self.limbo.push(self.slabs.machine().cpu(), anchor) };
    }

    /// Anchors that wait to be freed.
    pub(crate) fn waiting(&self) -> u32 {
        self.limbo.len(self.slabs.machine().cpu())
    }

    /// Frees the anchors that wait for that, if this code can wait.
    pub(crate) fn settle(&self) {
        let cpu = self.slabs.machine().cpu();
        self.limbo.take(
            cpu,
            || rcu::synchronize(cpu, self.anon.cpus()),
            |anchor| {
                // SAFETY: it is on no area, and all who could have come to it have left.
                let _ = unsafe { self.slabs.free(self.anon, anchor.cast()) };
            },
        );
    }

    /// `count` nodes for a tree.
    pub(super) fn nodes(
        &self,
        count: usize,
        frames: &impl FrameAllocator<'p>,
    ) -> Result<Spare<'p, 'p, M>, AllocError> {
        let mut spare = self.nodes.spare();
        spare.reserve(count, frames, GfpFlags::GFP_KERNEL)?;
        Ok(spare)
    }

    /// Frees the nodes in `bag` but for `keep` of them.
    pub(super) fn trim(&self, bag: &mut Bag<'p>, keep: usize) {
        let mut rest = self.nodes.spare();
        while bag.len() > keep && rest.take_one(bag) {}
    }
}
