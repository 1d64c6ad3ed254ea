//! Bringing pages into memory: new ones in the index, and the requests that fill them (Linux `page_cache_ra_unbounded`,
//! `mpage_readahead`).
//!
//! Owns: making pages, finding their places, pages without a place. Stays outside: which pages (`readahead`), waiting for them
//! (`read`). Invariants: a page is locked from when it is found in the index until its request has ended; pages that follow
//! each other on the disk share a request; a page without a place is filled with zeroes, and so is what the disk does not
//! reach. No lock keeps truncation out meanwhile (Linux's `invalidate_lock`): it waits for a page that stands in the index
//! before it gives its place up, and the place of a page that comes later is asked for anew.

use super::folio::{AddError, Use};
use super::inode::Places;
use super::{Inode, PageCache, Run};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE};
use crate::errno::Errno;
use crate::folio::{Folio, FolioFlags};
use crate::io::{End, Gather, Job};
use crate::phys::{FrameAllocator, GfpFlags};
use crate::port::{IoOp, Machine, PAGE_SECTORS, PhysMem, Purpose, SECTOR_BYTES};
use crate::sync::rcu;

/// Readahead does without where memory is short (Linux `readahead_gfp_mask`).
const GFP_READAHEAD: GfpFlags = GfpFlags::__GFP_NORETRY.union(GfpFlags::__GFP_NOWARN);

/// Where pages in a row are, as far as the file system was asked.
#[derive(Clone, Copy)]
struct Place {
    index: u64,
    run: Run,
    /// As of before the file system was asked.
    places: Places,
}

/// The requests for pages of one inode.
struct Fill<'a, 'p, M: Machine, A: FrameAllocator<'p>> {
    cache: &'a PageCache<'p, M>,
    inode: &'a Inode<'p>,
    requests: Gather<'a, 'p, M, A>,
    /// What the file system said last.
    place: Option<Place>,
}

impl<'p, M: Machine, A: FrameAllocator<'p>> Fill<'_, 'p, M, A> {
    /// Where page `index` is, which is locked in the index; `ahead` pages from there will be asked for. What the file system said
    /// before it stood there holds only if nothing has changed: those who did not find it may have given its place to others.
    fn locate(&mut self, index: u64, ahead: u64) -> Result<Option<u64>, Errno> {
        let places = self.inode.places();
        let holds =
            |known: &Place| known.places == places && index.wrapping_sub(known.index) < known.run.pages;
        let known = self.place.filter(holds);
        let known = match known {
            Some(known) => known,
            None => {
                let run = self.inode.fs().map(self.inode.number(), index, ahead)?;
                *self.place.insert(Place { index, run, places })
            }
        };
        Ok(known.run.sector.map(|first| first + (index - known.index) * PAGE_SECTORS))
    }

    /// Starts to fill a page that is locked and not up to date. With an error it is unlocked.
    fn start(&mut self, folio: Folio<'p>, ahead: u64) -> Result<(), Errno> {
        let (cpu, physmem) = (self.cache.machine().cpu(), self.cache.machine().physmem());
        let sector = self.locate(folio.index(), ahead).inspect_err(|_| folio.unlock(cpu))?;
        let end = self.inode.fs().device().sectors();
        let bytes = sector.map_or(0, |at| end.saturating_sub(at).min(PAGE_SECTORS) * SECTOR_BYTES);
        if bytes < PAGE_SIZE {
            // SAFETY: the page is locked and not up to date, so nobody else touches it.
            unsafe { physmem.zero(folio.pfn()) };
        }
        match sector {
            // SAFETY: as above; it stays so until the request has ended, and a locked page is not freed.
            Some(sector) if bytes != 0 => unsafe { self.requests.push(sector, folio.pfn(), bytes) },
            _ => {
                folio.set_flags(FolioFlags::UPTODATE);
                folio.unlock(cpu);
            }
        }
        Ok(())
    }
}

impl<'p, M: Machine> PageCache<'p, M> {
    fn fill<'a, A: FrameAllocator<'p>>(&'a self, inode: &'a Inode<'p>, frames: &'a A) -> Fill<'a, 'p, M, A> {
        let job = Job { op: IoOp::Read, purpose: Purpose::File, end: End::Read };
        let requests = self.io().gather(inode.fs().device(), frames, job);
        Fill { cache: self, inode, requests, place: None }
    }

    /// Starts to read those of `count` pages from `index` that are in the file and not in memory; the next window begins
    /// where the last `ahead` of them do (Linux `do_page_cache_ra`). Errors are for those who need the pages.
    pub(super) fn read_pages(
        &self,
        inode: &Inode<'p>,
        index: u64,
        count: u64,
        ahead: u64,
        frames: &impl FrameAllocator<'p>,
    ) {
        let end = inode.size().div_ceil(PAGE_SIZE);
        let count = count.min(end.saturating_sub(index));
        let marked = (ahead != 0).then(|| count.checked_sub(ahead)).flatten();
        let mut fill = self.fill(inode, frames);
        for n in 0..count {
            let at = index + n;
            if inode.mapping().pages.load(&rcu::read_lock(self.machine().cpu()), at).is_pointer() {
                continue;
            }
            match self.add_page(inode, at, Use::Read, GFP_READAHEAD, frames) {
                Ok(folio) => {
                    if marked == Some(n) {
                        folio.set_flags(FolioFlags::READAHEAD);
                    }
                    let started = fill.start(folio, count - n);
                    self.put(folio);
                    if started.is_err() {
                        return;
                    }
                }
                Err(AddError::Exists) => {}
                Err(AddError::PastEnd | AddError::NoMemory) => return,
            }
        }
    }

    /// Reads one page that is locked and not up to date, and waits for it (Linux `filemap_read_folio`). It is unlocked then;
    /// the caller has a reference.
    ///
    /// # Errors
    /// `Eio`, or what the file system says; it is not up to date then.
    pub(crate) fn read_folio(
        &self,
        inode: &Inode<'p>,
        folio: Folio<'p>,
        frames: &impl FrameAllocator<'p>,
    ) -> Result<(), Errno> {
        self.start_folio(inode, folio, frames)?;
        self.io().wait_folio(inode.fs().device(), folio, FolioFlags::LOCKED);
        if folio.is_uptodate() { Ok(()) } else { Err(Errno::Eio) }
    }

    /// As [`PageCache::read_folio`] without waiting.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn start_folio(
        &self,
        inode: &Inode<'p>,
        folio: Folio<'p>,
        frames: &impl FrameAllocator<'p>,
    ) -> Result<(), Errno> {
        self.fill(inode, frames).start(folio, 1)
    }

    /// Page `index` of a file, locked, with a reference for the caller: what is in memory, or a new page that holds nothing yet
    /// (Linux `__filemap_get_folio` with `FGP_LOCK` and `FGP_CREAT`). Only where this code can wait, and others cannot change the
    /// size.
    ///
    /// # Errors
    /// `Enomem`.
    pub(crate) fn locked_page(
        &self,
        inode: &Inode<'p>,
        index: u64,
        frames: &impl FrameAllocator<'p>,
    ) -> Result<Folio<'p>, Errno> {
        loop {
            let folio = match self.find(inode, index) {
                Some(folio) => {
                    self.io().lock_folio(inode.fs().device(), folio);
                    folio
                }
                None => match self.add_page(inode, index, Use::Write, GfpFlags::empty(), frames) {
                    Ok(folio) => folio,
                    Err(AddError::Exists) => continue,
                    Err(AddError::PastEnd | AddError::NoMemory) => return Err(Errno::Enomem),
                },
            };
            if folio.mapping() == inode.of_pages() {
                return Ok(folio);
            }
            // It was taken out while we waited for its lock.
            folio.unlock(self.machine().cpu());
            self.put(folio);
        }
    }

    /// Page `index` of a file, new in memory and being read, with a reference for the caller (Linux `filemap_create_folio`).
    /// For whoever needs it: readahead has not brought it. `None` if it has come meanwhile, or the file ends before it.
    ///
    /// # Errors
    /// `Enomem`; what the file system says.
    pub(crate) fn create_folio(
        &self,
        inode: &Inode<'p>,
        index: u64,
        frames: &impl FrameAllocator<'p>,
    ) -> Result<Option<Folio<'p>>, Errno> {
        let folio = match self.add_page(inode, index, Use::Read, GfpFlags::empty(), frames) {
            Ok(folio) => folio,
            Err(AddError::Exists | AddError::PastEnd) => return Ok(None),
            Err(AddError::NoMemory) => return Err(Errno::Enomem),
        };
        self.start_folio(inode, folio, frames).inspect_err(|_| self.put(folio))?;
        Ok(Some(folio))
    }
}

/// The page that byte `pos` of a file is in.
#[inline(always)]
pub(super) const fn page_of(pos: u64) -> u64 {
    pos >> PAGE_SHIFT
}
