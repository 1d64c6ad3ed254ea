//! Changing rights (Linux `mm/mprotect.c`).

use super::unmap::{checked, pages_of, usages};
use super::{Codec, Errno, Mm, MmTables, Vm};
use crate::addr::VirtAddr;
use crate::mutant::planted;
use crate::phys::FrameAllocator;
use crate::port::{Level, Machine, Pte, PteBits, PteCodec, PteView};
use crate::vma::{Areas, Backing, VmFlags, Vma};

/// The bits of an entry that are rights.
const RIGHTS: PteBits = PteBits::WRITE.union(PteBits::USER).union(PteBits::NO_EXEC);

/// What an entry says of a page that is its area's alone and written already.
const ALONE: PteBits = PteBits::EXCLUSIVE.union(PteBits::DIRTY);

/// The rights of an area, for its entries.
#[derive(Clone, Copy)]
struct Granted {
    /// At most these.
    rights: PteBits,
    /// None at all: every access faults.
    is_none: bool,
    /// What an entry must say to be writable: of shared memory nothing, of a file that is shared that it was written
    /// already, so that the first write is noticed.
    writable_if: PteBits,
}

impl Granted {
    /// What the entry `pte` of `level` says with these rights. A private page becomes writable only if it is the area's
    /// alone and written already; else its next write must fault.
    #[inline]
    fn apply<C: PteCodec>(self, pte: Pte, level: Level) -> Pte {
        let mut rights = self.rights & RIGHTS;
        if !C::has(pte, self.writable_if) || C::has(pte, PteBits::SPECIAL) {
            rights -= PteBits::WRITE;
        }
        if C::is_present(pte) && !self.is_none {
            return C::set(C::clear(pte, RIGHTS), rights);
        }
        match C::view(pte) {
            PteView::Present { addr, bits } | PteView::ProtNone { addr, bits } => {
                let mut bits = (bits - RIGHTS) | rights;
                bits.set(PteBits::HUGE, level != Level::PTE);
                if self.is_none {
                    C::encode(PteView::ProtNone { addr, bits: bits - PteBits::PRESENT })
                } else {
                    C::present(addr, bits)
                }
            }
            _ => pte,
        }
    }
}

impl<'p, M: Machine> Vm<'p, M> {
    /// Gives the areas from `addr` on for `len` bytes the rights `access` (Linux `mprotect`).
    ///
    /// # Errors
    /// `Einval` for a bad range; `Eacces` for writing to a file that is shared and not open for it; `Enomem` where nothing is
    /// mapped, without memory to divide an area, or when more would be promised than may be. Areas before the place of a failure have the new rights, as in Linux.
    pub fn mprotect<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        addr: VirtAddr,
        len: u64,
        access: VmFlags,
        frames: &A,
    ) -> Result<(), Errno> {
        if len == 0 && addr.page_offset() == 0 {
            return Ok(());
        }
        let (first, end) = checked(addr, len)?;
        let mut areas = self.write_areas(mm, 2, frames)?;
        self.covered(&areas, first, end)?;
        self.divide(mm, &mut areas, pages_of(first, end)?, frames)?;
        let result = self.each_area(&mut areas, first, end, |vma| {
            let flags = (vma.flags() - VmFlags::ACCESS) | (access & VmFlags::ACCESS);
            self.protect_area(mm, vma, flags, frames)
        });
        self.join(&mut areas, first, end);
        result
    }

    /// Whether there is an area for every page.
    pub(super) fn covered(&self, areas: &Areas<'p>, first: u64, end: u64) -> Result<(), Errno> {
        let mut at = first;
        for vma in areas.iter(first..end) {
            if vma.start() > at {
                return Err(Errno::Enomem);
            }
            at = vma.end();
        }
        if at < end { Err(Errno::Enomem) } else { Ok(()) }
    }

    /// Asks `change` for the new flags of each area from page `first` to `end`, whose borders are borders of areas.
    pub(super) fn each_area(
        &self,
        areas: &mut Areas<'p>,
        first: u64,
        end: u64,
        mut change: impl FnMut(&Vma) -> Result<VmFlags, Errno>,
    ) -> Result<(), Errno> {
        let mut at = first;
        while let Some(vma) = areas.next_from(at).filter(|vma| vma.start() < end) {
            let (start, next) = (vma.start(), vma.end());
            let flags = change(vma)?;
            areas.set_flags(start, flags);
            at = next;
        }
        Ok(())
    }

    /// Changes entries and counts of one area that gets `flags`, which it returns with what they need.
    fn protect_area<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        vma: &Vma,
        mut flags: VmFlags,
        frames: &A,
    ) -> Result<VmFlags, Errno> {
        let old = vma.flags();
        if flags == old {
            return Ok(flags);
        }
        if !super::map::may_have(vma.backing(), flags) {
            return Err(Errno::Eacces);
        }
        let how = super::MapFlags::empty();
        let wants = !old.intersects(VmFlags::ACCOUNT | VmFlags::NORESERVE) && self.is_accountable(flags, how);
        if wants {
            if !self.charge(mm, vma.pages()) {
                return Err(Errno::Enomem);
            }
            flags |= VmFlags::ACCOUNT;
        }
        for usage in usages(old, vma.kind()) {
            mm.counters.sub_usage(usage, vma.pages());
        }
        for usage in usages(flags, vma.kind()) {
            mm.counters.add_usage(usage, vma.pages());
        }
        let granted = Granted {
            rights: flags.pte_bits(self.user_bits()),
            is_none: flags.is_none(),
            writable_if: match vma.backing() {
                Backing::File(_) if flags.contains(VmFlags::SHARED) => PteBits::DIRTY,
                Backing::Shmem(_) => PteBits::empty(),
                _ => ALONE,
            },
        };
        let source = MmTables::new(self, mm, frames);
        let tree = mm.tree();
        let mut gather = tree.gather_on(&source, &mm.cpus);
        tree.scan(pages_of(vma.start(), vma.end())?, |slot, level, part| {
            let (old, new) = slot.update(|pte| granted.apply::<Codec<M>>(pte, level));
            if !planted("vm::flush.protect") {
                gather.changed(part, old, new);
            }
        })?;
        let _ = gather.finish();
        Ok(flags)
    }
}
