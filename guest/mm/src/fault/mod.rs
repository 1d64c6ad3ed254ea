//! Page faults: what happens when a page is touched that is not there, or not as it was touched (Linux `mm/memory.c`,
//! `mm/huge_memory.c`).
//!
//! Owns: the decision, and the entry that is made. Stays outside: areas (`space`), where frames come from (the caller's
//! allocator), and what a program is told (the guest). Invariants: nothing here sleeps; an entry changes under the lock
//! of its table and only if it still is what was decided about; a page that was replaced is given back after the flush;
//! a fault that changes nothing, because another CPU was faster, is done all the same, and the access is tried again.
//!
//! | file | what is touched |
//! |---|---|
//! | `anon` | a page of anonymous memory that is not there: zeroes to read, a page to write |
//! | `wp` | a page that may be written but whose entry says no: reused, or copied |
//! | `huge` | the same for huge pages |
//! | `hugetlb` | pages from a pool of huge pages |
//! | `shared` | a page of shared memory |
//! | `swapin` | a page that is in swap |
//! | `swapahead` | pages that were read with it |
//! | `file` | a page of a file |
//! | `around` | pages beside it |
//! | `wait` | what has to be read or asked for first |
//! | `stack` | the pages below a stack |
//! | `populate` | many pages at once, before they are used |

mod anon;
mod around;
mod file;
mod huge;
mod hugetlb;
mod populate;
mod shared;
mod stack;
mod swapahead;
mod swapin;
mod wait;
mod wp;

pub use swapin::Held;

use crate::addr::{PAGE_SHIFT, Pfn, VirtAddr};
use crate::folio::{Folio, FolioFlags, Mapping};
use crate::mutant::planted;
use crate::pgtable::{PageTable, PtError, PteSlot, Why};
use crate::phys::{AllocError, FrameAllocator, GfpFlags};
use crate::port::{Access, Level, Machine, Pte, PteBits, PteCodec, SwapEntry};
use crate::space::{Codec, Ground, Mm, MmTables, Rss, TableGuard, Vm};
use crate::sync::ReadGuard;
use crate::vma::{Areas, Backing, VmFlags, Vma};
use crate::vmstat::{NodeStat, VmEvent};
use wait::Need;
pub use wait::Ticket;

/// Pages are asked for with the context's lock held: who has none to give must not wait. The fault ends, and whoever
/// can wait does, and tries again.
const GFP_PAGE: GfpFlags = GfpFlags::GFP_HIGHUSER_MOVABLE.difference(GfpFlags::__GFP_DIRECT_RECLAIM);

/// Which way a fault took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flavour {
    /// A read of anonymous memory: the page of zeroes.
    AnonZero,
    /// A write to anonymous memory: a new page.
    Anon,
    /// A write to a page that others have, too: a copy.
    Cow,
    /// A write to a page that its only owner may write from now on.
    Reuse,
    /// The first touch of a huge page: all of it.
    Huge,
    /// A read of a huge page: the huge page of zeroes.
    HugeZero,
    /// The first touch of a page from a pool of huge pages.
    Hugetlb,
    /// A page of shared memory, whether it is new or another area has it already.
    Shared,
    /// Nothing had to be done.
    Spurious,
    /// A page that was in swap.
    Swapped,
    /// A read of a page of a file, alone.
    FileRead,
    /// A read of a page of a file, and all beside it that was in memory.
    FileAround,
    /// A write to a private page of a file: a copy.
    FileCow,
    /// A write to a page of a file that is shared.
    FileShared,
}

impl Flavour {
    /// How many there are.
    pub const COUNT: usize = Self::FileShared as usize + 1;
}

/// Why a program is told off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Segv {
    /// Nothing is mapped there (`SEGV_MAPERR`).
    MapErr,
    /// Not with these rights (`SEGV_ACCERR`).
    AccErr,
}

/// What became of a fault.
#[derive(PartialEq, Eq, Debug)]
#[must_use = "who touched the page waits for it"]
pub enum Fault {
    /// The access may be tried again.
    Minor(Flavour),
    /// The page is in swap, see [`Vm::wait_for_swap`].
    InSwap(SwapEntry),
    /// Something has to be waited for, see [`Vm::touch`].
    Wait(Ticket),
    /// There was no memory.
    Oom,
    /// There is no page: none was left in the pool of huge pages, the file ends before, or the page could not be read or
    /// given a place on the disk.
    Sigbus,
    /// The access is not allowed.
    Segv(Segv),
    /// The page tables are corrupt.
    Corrupt,
}

/// Why a way could not be gone to its end.
enum Stop {
    NoMemory,
    NoPoolPage,
    /// The file ends before.
    PastEnd,
    Corrupt,
    /// The page has to be brought from there.
    InSwap(SwapEntry),
    Wait(Need),
    /// An entry is not what it was: the access will show what it is now.
    Again,
}

impl From<PtError> for Stop {
    fn from(error: PtError) -> Self {
        match error.why {
            Why::NoFrames => Self::NoMemory,
            Why::Exists => Self::Again,
            _ => Self::Corrupt,
        }
    }
}

impl From<AllocError> for Stop {
    fn from(_: AllocError) -> Self {
        Self::NoMemory
    }
}

/// One fault.
struct Touch<'a, 'p, M: Machine, A> {
    vm: &'a Vm<'p, M>,
    mm: &'a Mm<'p, M>,
    areas: &'a Areas<'p>,
    vma: &'a Vma,
    ground: &'a Ground<'p, M>,
    vpn: u64,
    write: bool,
    /// It waited before.
    resumed: bool,
    frames: &'a A,
}

impl<M: Machine, A> Clone for Touch<'_, '_, M, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Machine, A> Copy for Touch<'_, '_, M, A> {}

/// Whether an area with `flags` allows the access (Linux `access_error`).
#[inline]
fn allows(flags: VmFlags, access: Access) -> bool {
    match access {
        Access::Write => flags.contains(VmFlags::WRITE),
        Access::Execute => flags.contains(VmFlags::EXEC),
        // On x86-64 whatever may be written or executed can be read.
        Access::Read => flags.intersects(VmFlags::ACCESS),
    }
}

impl<'p, M: Machine> Vm<'p, M> {
    /// Makes the page at `va` what the access needs (Linux `handle_mm_fault`). Pages come from `frames`.
    pub fn fault<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        va: VirtAddr,
        access: Access,
        frames: &A,
    ) -> Fault {
        self.fault_then(mm, va, access, frames, Fault::Minor, |fault| fault)
    }

    /// As [`Vm::fault`], at the place of the call, which goes on in one of two ways: for a trap, where every instruction
    /// counts. What is common there needs no memory to tell what is rare.
    #[inline(always)]
    fn fault_then<A: FrameAllocator<'p>, T>(
        &self,
        mm: &Mm<'p, M>,
        va: VirtAddr,
        access: Access,
        frames: &A,
        done: impl FnOnce(Flavour) -> T,
        other: impl FnOnce(Fault) -> T,
    ) -> T {
        let cpu = self.machine().cpu();
        let vpn = va.get() >> PAGE_SHIFT;
        let areas = mm.areas().read(cpu);
        let Some(vma) = areas.find(vpn) else {
            drop(areas);
            return other(self.fault_outside(mm, va, access, frames));
        };
        let (true, Some(ground)) = (allows(vma.flags(), access), self.ground()) else {
            drop(areas);
            return other(Fault::Segv(Segv::AccErr));
        };
        self.stat().count_masked(cpu, ReadGuard::masked(&areas), VmEvent::PgFault, 1);
        mm.counters().count_fault();
        let write = access == Access::Write;
        let touch = Touch { vm: self, mm, areas: &areas, vma, ground, vpn, write, resumed: false, frames };
        match touch.handle() {
            Ok(flavour) => {
                drop(areas);
                done(flavour)
            }
            Err(stop) => {
                let fault = touch.aside().stopped(stop);
                drop(areas);
                other(fault)
            }
        }
    }

    /// As [`Vm::fault`], of one that was counted and has waited.
    #[cold]
    #[inline(never)]
    fn fault_again<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        va: VirtAddr,
        access: Access,
        frames: &A,
    ) -> Fault {
        let vpn = va.get() >> PAGE_SHIFT;
        let areas = mm.areas().read(self.machine().cpu());
        // Everything may have changed.
        let Some(vma) = areas.find(vpn) else { return Fault::Segv(Segv::MapErr) };
        if !allows(vma.flags(), access) {
            return Fault::Segv(Segv::AccErr);
        }
        let Some(ground) = self.ground() else { return Fault::Corrupt };
        let write = access == Access::Write;
        Touch { vm: self, mm, areas: &areas, vma, ground, vpn, write, resumed: true, frames }.outcome()
    }

    /// Nothing is mapped at `va`; a stack may grow to there.
    #[cold]
    #[inline(never)]
    fn fault_outside<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        va: VirtAddr,
        access: Access,
        frames: &A,
    ) -> Fault {
        if self.grow_stack(mm, va.get() >> PAGE_SHIFT) {
            return self.fault(mm, va, access, frames);
        }
        Fault::Segv(Segv::MapErr)
    }
}

impl<'a, 'p, M: Machine, A: FrameAllocator<'p>> Touch<'a, 'p, M, A> {
    fn outcome(&self) -> Fault {
        match self.handle() {
            Ok(flavour) => Fault::Minor(flavour),
            Err(stop) => self.stopped(stop),
        }
    }

    #[cold]
    #[inline(never)]
    fn stopped(&self, stop: Stop) -> Fault {
        match stop {
            Stop::Again => Fault::Minor(Flavour::Spurious),
            Stop::NoMemory => Fault::Oom,
            Stop::NoPoolPage | Stop::PastEnd => Fault::Sigbus,
            Stop::Corrupt => Fault::Corrupt,
            Stop::InSwap(entry) => Fault::InSwap(entry),
            Stop::Wait(need) => self.must_wait(need),
        }
    }

    fn must_wait(&self, need: Need) -> Fault {
        let Backing::File(file) = self.vma.backing() else { return Fault::Corrupt };
        Fault::Wait(Ticket::new(file, self.vma.index_of(self.vpn), need, self.vma.flags()))
    }

    #[inline(always)]
    fn handle(&self) -> Result<Flavour, Stop> {
        if let Backing::Hugetlb(level) = self.vma.backing() {
            return self.aside().pool_page(level);
        }
        match self.tree().last_entry(self.va()) {
            Some(slot) => self.small(slot),
            None => self.aside().first_of_table(),
        }
    }

    /// There is no table of small pages: the page is huge, or could be, or the table is missing.
    #[inline(never)]
    fn first_of_table(&self) -> Result<Flavour, Stop> {
        let source = MmTables::new(self.vm, self.mm, self.frames);
        let pmd = self.tree().populate(self.va(), Level::PMD, &source)?;
        let entry = pmd.load();
        if entry.is_none() && self.fits_huge() {
            if let Some(flavour) = self.huge_page(pmd)? {
                return Ok(flavour);
            }
        } else if Codec::<M>::is_huge(entry) {
            return self.huge_touched(pmd, entry);
        }
        let slot = self.tree().populate_last(pmd, self.va(), &source)?;
        self.small(slot)
    }

    /// The tables of the context.
    #[inline(always)]
    fn tree(&self) -> PageTable<'p, M> {
        self.mm.tree()
    }

    /// The entry of a small page. Anonymous memory first: what is at hand here is the way of most faults.
    #[inline(always)]
    fn small(&self, slot: PteSlot<'p>) -> Result<Flavour, Stop> {
        let entry = slot.load();
        if entry.is_none() {
            return match self.vma.backing() {
                Backing::Anon => self.anon_page(slot),
                _ => self.aside().shown_page(slot),
            };
        }
        let wants_more = self.write && !Codec::<M>::has(entry, PteBits::WRITE);
        if Codec::<M>::is_present(entry) && wants_more && !self.vma.flags().contains(VmFlags::SHARED) {
            return self.write_protected(slot, entry);
        }
        self.aside().other_entry(slot, entry)
    }

    /// The empty entry of a page that shows something.
    #[inline(never)]
    fn shown_page(&self, slot: PteSlot<'p>) -> Result<Flavour, Stop> {
        if let Backing::File(file) = self.vma.backing() {
            return self.file_page(slot, file);
        }
        match self.vm.shmem_of(self.vma.backing()) {
            Some(object) => self.shared_page(slot, object),
            None => Err(Stop::Corrupt),
        }
    }

    /// An entry that says something, and not that the page is private and must not be written.
    #[inline(never)]
    fn other_entry(&self, slot: PteSlot<'p>, entry: Pte) -> Result<Flavour, Stop> {
        if !Codec::<M>::is_present(entry) {
            // Areas without rights were refused before; nothing else is parked yet.
            return self.swapped(slot, entry);
        }
        if self.write && !Codec::<M>::has(entry, PteBits::WRITE) {
            return match self.vma.backing() {
                Backing::File(_) => self.file_write(slot, entry),
                _ => self.share_write(slot, entry),
            };
        }
        Ok(Flavour::Spurious)
    }

    /// A copy, for what is rare and stands elsewhere: this one need not be in memory then.
    #[inline(always)]
    fn aside(&self) -> Self {
        *self
    }

    /// Locks the table that `slot` is in.
    #[inline(always)]
    fn lock(&self, slot: PteSlot<'_>) -> TableGuard<'p, M::Cpu> {
        self.vm.lock_table_in(Some(self.ground.table()), slot)
    }

    /// The address that was touched, without the offset in its page.
    fn va(&self) -> VirtAddr {
        VirtAddr::truncate(self.vpn << PAGE_SHIFT)
    }

    /// What an entry of the area says at most.
    #[inline(always)]
    fn rights(&self) -> PteBits {
        self.vma.flags().pte_bits(self.ground.user())
    }

    /// Makes the block of frames at `pfn`, which was just allocated, a folio of this area, whose anchor is `anchor`. Its
    /// first page is `vpn`.
    #[inline(always)]
    fn new_folio(&self, pfn: Pfn, vpn: u64, anchor: u64) -> Result<Folio<'p>, Stop> {
        let index = self.vma.index_of(vpn);
        let mut flags = FolioFlags::SWAPBACKED | FolioFlags::UPTODATE | FolioFlags::PENDING;
        flags.set(FolioFlags::ACTIVE, planted("vm::reclaim_replay.new_pages_are_active"));
        Folio::create(self.ground.table(), pfn, Mapping::Anon(anchor), index, flags).ok_or(Stop::Corrupt)
    }

    /// The address of the area's anchor, made if it has none (Linux `anon_vma_prepare`).
    #[inline(always)]
    fn anchor(&self) -> Result<u64, Stop> {
        match self.vma.link.anchor() {
            Some(anchor) => Ok(anchor.as_ptr().expose_provenance() as u64),
            None => self.aside().make_anchor(),
        }
    }

    #[cold]
    #[inline(never)]
    fn make_anchor(&self) -> Result<u64, Stop> {
        let objects = self.vm.objects().ok_or(Stop::Corrupt)?;
        let cpu = self.vm.machine().cpu();
        if !self.neighbour_with_anchor().is_some_and(|other| self.vma.share_anchor(cpu, other)) {
            objects.anchor(self.vma, self.frames)?;
        }
        let anchor = self.vma.link.anchor().ok_or(Stop::Corrupt)?;
        Ok(anchor.as_ptr().expose_provenance() as u64)
    }

    /// An area beside this one that has an anchor and may be joined with it later (Linux `find_mergeable_anon_vma`).
    fn neighbour_with_anchor(&self) -> Option<&Vma> {
        let after = self.areas.find(self.vma.end()).filter(|after| self.vma.continues_in(after));
        let before = self.areas.prev(self.vma.start()).filter(|before| before.continues_in(self.vma));
        [after, before].into_iter().flatten().find(|vma| vma.link.anchor().is_some())
    }

    /// An entry of `level` is about to map `folio`, which is new and of that size, where no folio was mapped: counts that,
    /// and puts it on its list. Its table is locked.
    #[inline(always)]
    fn count_mapped(&self, locked: &TableGuard<'_, M::Cpu>, folio: Folio<'_>, level: Level) {
        let cpu = self.vm.machine().cpu();
        folio.map_first();
        self.vm.lru().add_anon(cpu, locked.masked(), folio, level.pages());
        if level != Level::PTE {
            folio.add_entire();
            self.vm.stat().grow(cpu, folio.node(), NodeStat::AnonThps, level.pages());
        }
        self.mm.counters().add_rss(Rss::Anon, level.pages());
        if self.vma.flags().contains(VmFlags::LOCKED) {
            self.vm.count_mlocked(folio, level, true);
        }
    }

    /// The present entry for `pfn` at `level`, for a page that is this area's alone.
    #[inline(always)]
    fn exclusive_entry(&self, pfn: Pfn, level: Level) -> Pte {
        let mut bits = self.rights() | PteBits::EXCLUSIVE;
        bits.set(PteBits::DIRTY, self.write);
        bits.set(PteBits::HUGE, level != Level::PTE);
        if !self.write {
            bits -= PteBits::WRITE;
        }
        Codec::<M>::present(pfn.addr(), bits)
    }
}
