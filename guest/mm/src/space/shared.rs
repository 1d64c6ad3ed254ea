//! Shared memory of areas: made with the first, kept by all, gone with the last.

use super::{Errno, Mm, Vm};
use crate::addr::VirtAddr;
use crate::phys::{FrameAllocator, GfpFlags};
use crate::port::Machine;
use crate::shmem::Shmem;
use crate::vma::{Backing, VmFlags, VmaInit};
use crate::xarray::Entry;

impl<'p, M: Machine> Vm<'p, M> {
    /// Makes an object for `pages` pages, which are promised unless they need not be.
    pub(super) fn make_shmem<A: FrameAllocator<'p>>(
        &self,
        pages: u64,
        is_promised: bool,
        frames: &A,
    ) -> Result<Backing, Errno> {
        let ground = self.ground().ok_or(Errno::Enomem)?;
        let charged = if is_promised { pages } else { 0 };
        if !self.charge_all(charged) {
            return Err(Errno::Enomem);
        }
        let Ok(memory) = self.slabs.alloc(ground.shmem, frames, GfpFlags::GFP_KERNEL) else {
            self.uncharge_all(charged);
            return Err(Errno::Enomem);
        };
        let object = memory.cast::<Shmem>();
        // SAFETY: a new object of the cache for these, which is ours alone.
        unsafe { object.write(Shmem::new(charged)) };
        let nodes = self.nodes().zip(Entry::pointer(object.cast()));
        let added = nodes.map(|(nodes, entry)| {
            self.shared.add(&nodes.with(frames, GfpFlags::GFP_KERNEL), object.cast(), entry)
        });
        if !matches!(added, Some(Ok(()))) {
            // SAFETY: nobody else knows it.
            let _ = unsafe { self.slabs.free(ground.shmem, memory) };
            self.uncharge_all(charged);
            return Err(Errno::Enomem);
        }
        Ok(Backing::Shmem(object))
    }

    /// The object behind an area, if it is shared memory.
    #[inline]
    pub(crate) fn shmem_of(&self, backing: Backing) -> Option<&Shmem> {
        match backing {
            // SAFETY: an area, or whoever is about to make one, has a reference of the object.
            Backing::Shmem(object) => Some(unsafe { object.as_ref() }),
            _ => None,
        }
    }

    /// One more area has this memory behind it.
    pub(super) fn hold(&self, backing: Backing) {
        if let Backing::File(file) = backing {
            file.hold();
        }
        if let Some(object) = self.shmem_of(backing) {
            object.get();
        }
    }

    /// One area less has this memory behind it; with the last its pages go.
    pub(super) fn let_go(&self, backing: Backing) {
        if let Backing::File(file) = backing {
            // SAFETY: the caller gives up the reference of an area that is gone.
            return unsafe { self.cache.close(self.cache.file_of(file)) };
        }
        let Some(object) = self.shmem_of(backing).filter(|object| object.put()) else { return };
        if !self.end_shared(object) {
            // Reclaim has a page of it locked.
            self.leave_shared(object);
        }
    }

    /// Promises pages that belong to no context.
    fn charge_all(&self, pages: u64) -> bool {
        let before = self.commit.add(pages);
        let is_fine = self.would_do(pages, before + pages, 0);
        if !is_fine {
            self.commit.sub(pages);
        }
        is_fine
    }

    pub(super) fn uncharge_all(&self, pages: u64) {
        self.commit.sub(pages);
    }

    /// Shows the shared memory that `from` has at `addr` in context `to`, too: all of its area, at the same address.
    ///
    /// # Errors
    /// `Efault` where `from` has none; `Eexist` where `to` has something; `Enomem`.
    pub fn share<A: FrameAllocator<'p>>(
        &self,
        from: &Mm<'p, M>,
        addr: VirtAddr,
        to: &Mm<'p, M>,
        frames: &A,
    ) -> Result<(), Errno> {
        let init = {
            let areas = from.areas.read(self.machine().cpu());
            let vma = areas.find(addr.vpn().get()).ok_or(Errno::Efault)?;
            self.shmem_of(vma.backing()).ok_or(Errno::Efault)?.get();
            vma.init()
        };
        let result = self.add_shared(to, &init, frames);
        if result.is_err() {
            self.let_go(init.backing);
        }
        result
    }

    /// Makes the area of a context that shares memory with another. The caller's reference becomes the area's.
    fn add_shared<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        init: &VmaInit,
        frames: &A,
    ) -> Result<(), Errno> {
        let flags = init.flags - VmFlags::LOCKED;
        let mut areas = self.write_areas(mm, 1, frames)?;
        if areas.start_after(init.start).is_some_and(|start| start < init.end) {
            return Err(Errno::Eexist);
        }
        let vma = areas.insert(&VmaInit { mm: mm.id, flags, ..*init }).ok_or(Errno::Enomem)?;
        for usage in super::unmap::usages(flags, init.kind) {
            mm.counters.add_usage(usage, vma.pages());
        }
        vma.link_to_object(self.machine().cpu());
        Ok(())
    }
}
