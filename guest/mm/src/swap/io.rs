//! Writing pages to their slots and reading them (Linux `mm/page_io.c`, `swap_cluster_readahead`).
//!
//! Owns: requests of pages whose slots are in a row, which pages come with the one that is asked for, and what a failed
//! write leaves. Invariants: a page that is being written is in the cache; one whose write failed is dirty again.

use super::ahead::Beside;
use super::{Refused, Swap};
use crate::addr::{Order, PAGE_SIZE, Pfn};
use crate::folio::{Folio, FolioFlags, Mapping};
use crate::io::{End, EndIo, Gather, Job};
use crate::mutant::planted;
use crate::phys::{FrameAllocator, GfpFlags};
use crate::port::{Cpu, IoError, IoOp, Machine, PhysMem, Purpose, SwapEntry};
use crate::vmstat::{NodeStat, VmEvent, ZoneStat};
use crate::xarray::Entry;
use core::sync::atomic::Ordering;

/// Pages that go out together.
#[must_use = "pages are written when it is dropped"]
pub(crate) struct Writer<'a, 'p, M: Machine, A: FrameAllocator<'p>> {
    swap: &'p Swap<'p, M>,
    frames: &'a A,
    /// The area that is being written to.
    requests: Option<(u32, Gather<'a, 'p, M, A>)>,
}

impl<'a, 'p, M: Machine, A: FrameAllocator<'p>> Writer<'a, 'p, M, A> {
    pub(crate) fn new(swap: &'p Swap<'p, M>, frames: &'a A) -> Self {
        Self { swap, frames, requests: None }
    }

    /// Starts to write a locked, dirty page that is in the cache, that nobody maps, and that no CPU can reach any more;
    /// unlocks it (Linux `swap_writeout`). Whether it is being written: a page of zeroes need not be.
    pub(crate) fn write(&mut self, folio: Folio<'p>) -> bool {
        let swap = self.swap;
        let cpu = swap.cpu();
        let Some(entry) = swap.entry_of(folio) else {
            folio.unlock(cpu);
            return false;
        };
        let is_zero = swap.is_zero_filled(folio);
        let place = swap.with(entry, |inner, slot| {
            inner.state.set_zero(slot, is_zero);
            inner.state.place(slot).map(|(sector, _)| (inner.device, sector))
        });
        folio.clear_flags(FolioFlags::DIRTY);
        if is_zero {
            swap.stat().count(cpu, VmEvent::SwpoutZero, 1);
            folio.unlock(cpu);
            return false;
        }
        let Some((device, sector)) = place.flatten() else {
            folio.set_flags(FolioFlags::DIRTY);
            folio.unlock(cpu);
            return false;
        };
        folio.set_flags(FolioFlags::WRITEBACK);
        swap.stat().grow(cpu, folio.node(), NodeStat::Writeback, 1);
        swap.stat().grow_zone(cpu, folio.zone(), ZoneStat::WritePending, 1);
        swap.stat().count(cpu, VmEvent::PswpOut, 1);
        let pfn = folio.pfn();
        folio.unlock(cpu);
        if self.requests.as_ref().is_none_or(|(area, _)| *area != entry.area()) {
            let job = Job { op: IoOp::Write, purpose: Purpose::Swap, end: End::Tell(swap) };
            self.requests = Some((entry.area(), swap.io.gather(device, self.frames, job)));
        }
        if let Some((_, requests)) = &mut self.requests {
            // SAFETY: the page stays until it is written: it is in the cache and marked as being written.
            unsafe { requests.push(sector, pfn, PAGE_SIZE) };
        }
        true
    }
}

impl<'p, M: Machine> EndIo for Swap<'p, M> {
    fn end_io(&self, pages: &[Pfn], result: Result<(), IoError>) {
        let (cpu, Some(ground)) = (self.cpu(), self.ground()) else { return };
        for folio in pages.iter().filter_map(|&pfn| Folio::of(ground.table, pfn)) {
            if result.is_err() && !planted("vm::swap.lost_write") {
                // Its slot does not have it: it stays, and is tried again some time.
                folio.set_flags(FolioFlags::DIRTY);
                folio.clear_flags(FolioFlags::READAHEAD);
                self.write_errors.fetch_add(1, Ordering::Relaxed);
            }
            self.stat().shrink(cpu, folio.node(), NodeStat::Writeback, 1);
            self.stat().shrink_zone(cpu, folio.zone(), ZoneStat::WritePending, 1);
            self.stat().grow(cpu, folio.node(), NodeStat::Written, 1);
            if folio.clear_flags(FolioFlags::READAHEAD).contains(FolioFlags::READAHEAD) {
                // Reclaim has waited for it.
                self.lru.rotate_reclaimable(cpu, folio);
            }
            self.lru.written(cpu, folio.node(), 1);
            folio.release(cpu, FolioFlags::WRITEBACK);
        }
    }
}

/// Whose page an access needs from swap.
pub(crate) enum Brought<'p> {
    /// This one, with a reference; perhaps it is still being read. Whether the read was started for it.
    Folio(Folio<'p>, Started),
    /// No entry names the slot any more.
    Gone,
}

/// Whether a read was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Started {
    /// It was.
    Yes,
    /// The page was there, is on its way, or is of zeroes.
    No,
}

/// How pages are read.
const READ: Job<'static> = Job { op: IoOp::Read, purpose: Purpose::Swap, end: End::Read };
/// Nobody goes for what comes with a page (Linux lets it be so; its readahead of files does not).
const GFP_BESIDE: GfpFlags =
    GfpFlags::GFP_HIGHUSER_MOVABLE.union(GfpFlags::__GFP_NORETRY).union(GfpFlags::__GFP_NOWARN);
/// What nobody waits for does not make others wait for its memory.
const GFP_NEXT: GfpFlags =
    GfpFlags::GFP_HIGHUSER_MOVABLE.difference(GfpFlags::__GFP_DIRECT_RECLAIM).union(GfpFlags::__GFP_NOWARN);

/// Reads pages from their slots.
struct Reader<'a, 'p, M: Machine, A: FrameAllocator<'p>> {
    swap: &'p Swap<'p, M>,
    frames: &'a A,
    /// The area that is read from.
    area: u32,
    requests: Gather<'a, 'p, M, A>,
}

impl<'p, M: Machine, A: FrameAllocator<'p>> Reader<'_, 'p, M, A> {
    /// The page of `entry`, which the cache did not have, and those of `beside`, which it may be among; then those of
    /// `next`, which are read by requests of their own.
    fn bring(
        mut self,
        entry: SwapEntry,
        [beside, next]: [impl Iterator<Item = SwapEntry>; 2],
    ) -> Result<Brought<'p>, Refused> {
        let (swap, gfp) = (self.swap, GfpFlags::GFP_HIGHUSER_MOVABLE);
        let (mut brought, mut has_memory) = (None, true);
        // In order, so that slots in a row are one request.
        for beside in beside {
            if beside == entry {
                brought = Some(self.read(entry, gfp));
            } else if has_memory {
                has_memory = self.read_ahead(beside, GFP_BESIDE) != Err(Refused::Full);
            }
        }
        if let Some(Ok((_, Started::Yes))) = brought {
            self.requests.send();
            for beside in next {
                if self.read_ahead(beside, GFP_NEXT) == Err(Refused::Full) {
                    break;
                }
            }
        }
        loop {
            match brought.take().unwrap_or_else(|| self.read(entry, gfp)) {
                Ok((folio, started)) => return Ok(Brought::Folio(folio, started)),
                Err(Refused::Cached) => {
                    // Somebody is about to put it in.
                    if let Some(folio) = swap.lookup(entry) {
                        return Ok(Brought::Folio(folio, Started::No));
                    }
                    self.requests.send();
                    swap.cpu().wait_for(1_000);
                }
                Err(Refused::Free) => return Ok(Brought::Gone),
                Err(Refused::Full) => return Err(Refused::Full),
            }
        }
    }

    /// As [`Reader::read`], of a page that nobody has asked for, if an entry names its slot.
    fn read_ahead(&mut self, entry: SwapEntry, gfp: GfpFlags) -> Result<(), Refused> {
        let swap = self.swap;
        if !swap.is_named(entry) {
            return Ok(());
        }
        let (folio, started) = self.read(entry, gfp)?;
        // A page of zeroes cost no reading, so it proves nothing for or against it.
        if started == Started::Yes {
            folio.set_flags(FolioFlags::READAHEAD);
            swap.stat().count(swap.cpu(), VmEvent::SwapRa, 1);
        }
        swap.put(folio);
        Ok(())
    }

    /// Puts a new page in the cache for a slot that has none there, and starts to read it; with a reference.
    fn read(&mut self, entry: SwapEntry, gfp: GfpFlags) -> Result<(Folio<'p>, Started), Refused> {
        let (swap, frames) = (self.swap, self.frames);
        let (cpu, ground) = (swap.cpu(), swap.ground().ok_or(Refused::Free)?);
        let (pfn, _) = frames.alloc(gfp, Order::ZERO).map_err(|_| Refused::Full)?.into_raw();
        let flags = FolioFlags::LOCKED | FolioFlags::SWAPBACKED;
        let folio = Folio::create(ground.table, pfn, Mapping::None, 0, flags).ok_or(Refused::Free)?;
        let claimed = swap.with(entry, |inner, slot| inner.state.cache(slot)).unwrap_or(Err(Refused::Free));
        if let Err(error) = claimed {
            swap.put(folio);
            return Err(error);
        }
        match swap.insert(folio, entry, frames) {
            Ok(shadow) => {
                let shadow = shadow.and_then(Entry::value);
                shadow.into_iter().for_each(|shadow| swap.lru.refault(cpu, folio, shadow));
            }
            Err(error) => {
                swap.uncache(entry);
                swap.put(folio);
                return Err(error);
            }
        }
        swap.lru.add(cpu, folio);
        let place = swap.with(entry, |inner, slot| {
            if inner.state.is_zero(slot) { None } else { inner.state.place(slot).map(|(sector, _)| sector) }
        });
        match place.flatten() {
            None => {
                // SAFETY: the page is locked and was never up to date: nobody else uses its memory.
                unsafe { swap.phys.machine().physmem().zero(pfn) };
                folio.set_flags(FolioFlags::UPTODATE);
                folio.unlock(cpu);
                swap.stat().count(cpu, VmEvent::SwpinZero, 1);
                Ok((folio, Started::No))
            }
            Some(sector) => {
                swap.stat().count(cpu, VmEvent::PswpIn, 1);
                if self.area != entry.area() {
                    self.turn_to(entry);
                }
                // SAFETY: the page is locked until it was read, and in the cache.
                unsafe { self.requests.push(sector, pfn, PAGE_SIZE) };
                Ok((folio, Started::Yes))
            }
        }
    }

    /// What is read from now on lies in the area of `entry`, which stays on while the page is in the cache. What was gathered is
    /// sent.
    #[cold]
    fn turn_to(&mut self, entry: SwapEntry) {
        let (swap, frames) = (self.swap, self.frames);
        if let Some(device) = swap.with(entry, |inner, _| inner.device) {
            (self.area, self.requests) = (entry.area(), swap.io.gather(device, frames, READ));
        }
    }
}

impl<'p, M: Machine> Swap<'p, M> {
    /// Whether all of a page that nobody writes is zeroes.
    fn is_zero_filled(&self, folio: Folio<'_>) -> bool {
        let Some(at) = self.phys.machine().physmem().ptr(folio.pfn().addr()) else { return false };
        let words = PAGE_SIZE as usize / 8;
        // SAFETY: the page is RAM in the direct map, aligned, and no CPU can reach it otherwise.
        let word = |n: usize| unsafe { at.cast::<u64>().add(n).read_volatile() };
        // Most pages that hold something do so at one of their ends.
        word(words - 1) == 0 && (0..words).all(|n| word(n) == 0)
    }

    /// The page of `entry`: from the cache, else it is brought, and others with it (Linux `swapin_readahead`): those that
    /// `beside` says, and without it those beside it on the disk. Only where this code can wait.
    ///
    /// # Errors
    /// [`Refused::Full`]: there was no memory.
    pub(crate) fn bring(
        &'p self,
        entry: SwapEntry,
        beside: impl FnOnce() -> Option<Beside>,
        frames: &impl FrameAllocator<'p>,
    ) -> Result<Brought<'p>, Refused> {
        if let Some(folio) = self.lookup(entry) {
            return Ok(Brought::Folio(folio, Started::No));
        }
        let Some((device, slots)) = self.with(entry, |inner, _| (inner.device, inner.state.slots())) else {
            return Ok(Brought::Gone);
        };
        let requests = self.io.gather(device, frames, READ);
        let reader = Reader { swap: self, frames, area: entry.area(), requests };
        if self.goes_by_area()
            && let Some(beside) = beside()
        {
            return reader.bring(entry, beside.windows());
        }
        reader.bring(entry, self.cluster(entry, slots))
    }

    /// Waits until a page that the caller has a reference to is not locked.
    pub(crate) fn wait_unlocked(&self, folio: Folio<'_>, flag: FolioFlags) {
        let device = self.entry_of(folio).and_then(|entry| self.with(entry, |inner, _| inner.device));
        match device {
            Some(device) => self.io.wait_folio(device, folio, flag),
            None => folio.wait_while(self.cpu(), flag, || {}),
        }
    }
}
