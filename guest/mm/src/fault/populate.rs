//! Touching many pages before they are used (Linux `populate_vma_page_range`, `MADV_POPULATE_*`, `mlock`).

use super::Fault;
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, VirtAddr};
use crate::phys::FrameAllocator;
use crate::port::{Access, Level, Machine, PteBits, PteCodec};
use crate::space::{Codec, Errno, Mm, Vm};
use crate::vma::VmFlags;

impl<'p, M: Machine> Vm<'p, M> {
    /// Makes every page from `addr` on for `len` bytes what `access` needs. The faults are counted like any other.
    ///
    /// # Errors
    /// `Enomem` without memory, where nothing is mapped, or in a context that must end; `Efault` where the access is not
    /// allowed; `Ecorrupt`. Pages before the place of the failure are there.
    pub fn populate<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        addr: VirtAddr,
        len: u64,
        access: Access,
        frames: &A,
    ) -> Result<(), Errno> {
        let mut at = addr.get() & !(PAGE_SIZE - 1);
        let end = addr.get().checked_add(len).ok_or(Errno::Einval)?;
        while at < end {
            // Its memory has been taken, and what it gets now is lost (Linux `check_stable_address_space`).
            if mm.is_unstable() {
                return Err(Errno::Enomem);
            }
            let va = VirtAddr::new(at).ok_or(Errno::Einval)?;
            let Some(bytes) = self.mapped_at(mm, va, access) else {
                match self.touch(mm, va, access, frames) {
                    Fault::Minor(_) => continue,
                    Fault::Oom | Fault::Segv(super::Segv::MapErr) => return Err(Errno::Enomem),
                    Fault::Segv(super::Segv::AccErr) => return Err(Errno::Efault),
                    Fault::Sigbus => return Err(Errno::Efault),
                    Fault::Corrupt | Fault::Wait(_) | Fault::InSwap(_) => return Err(Errno::Ecorrupt),
                }
            };
            at = (at & !(bytes - 1)) + bytes;
        }
        Ok(())
    }

    /// How many bytes the entry maps that allows the access to `va`; `None` if a fault is needed.
    fn mapped_at(&self, mm: &Mm<'p, M>, va: VirtAddr, access: Access) -> Option<u64> {
        let _areas = mm.areas().read(self.machine().cpu());
        let entry = mm.tree().lookup(va)?;
        let pte = entry.slot.load();
        let is_leaf = entry.level == Level::PTE || Codec::<M>::is_huge(pte);
        let bits = Codec::<M>::bits(pte);
        let allowed = match access {
            Access::Read => true,
            Access::Write => bits.contains(PteBits::WRITE),
            Access::Execute => !bits.contains(PteBits::NO_EXEC),
        };
        (Codec::<M>::is_present(pte) && is_leaf && allowed).then_some(entry.level.size())
    }

    /// Locks what is mapped from `addr` on for `len` bytes in memory, and brings it there (Linux `mlock`).
    ///
    /// # Errors
    /// As [`Vm::populate`].
    pub fn mlock<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        addr: VirtAddr,
        len: u64,
        frames: &A,
    ) -> Result<(), Errno> {
        self.set_locked(mm, addr, len, true, frames)?;
        let end = addr.get() + len;
        let mut at = addr;
        while at.get() < end {
            let (stop, copies) = {
                let areas = mm.areas().read(self.machine().cpu());
                let vma = areas.find(at.get() >> PAGE_SHIFT).ok_or(Errno::Enomem)?;
                let copies = vma.flags().contains(VmFlags::WRITE) && vma.is_private();
                ((vma.end() << PAGE_SHIFT).min(end), copies)
            };
            // Copies are made now, so that no write needs one later. What is shared would become dirty for nothing, and a
            // disk might have no room for it (Linux `populate_vma_page_range`).
            let access = if copies { Access::Write } else { Access::Read };
            self.populate(mm, at, stop - at.get(), access, frames)?;
            at = VirtAddr::new(stop).ok_or(Errno::Einval)?;
        }
        Ok(())
    }

    /// As [`Vm::mlock`], of pages as they come: none is brought there (Linux `MLOCK_ONFAULT`).
    ///
    /// # Errors
    /// As [`Vm::munlock`].
    pub fn mlock_on_fault<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        addr: VirtAddr,
        len: u64,
        frames: &A,
    ) -> Result<(), Errno> {
        self.set_locked(mm, addr, len, true, frames)
    }

    /// Lets what is mapped from `addr` on for `len` bytes go again (Linux `munlock`).
    ///
    /// # Errors
    /// `Einval` for a bad range; `Enomem` where nothing is mapped, or without memory to divide an area.
    pub fn munlock<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        addr: VirtAddr,
        len: u64,
        frames: &A,
    ) -> Result<(), Errno> {
        self.set_locked(mm, addr, len, false, frames)
    }
}
