//! What a fault waits for: pages that are read, pages that somebody else has, places on the disk for what will be written
//! (Linux `FAULT_FLAG_RETRY_NOWAIT` and its kin, `filemap_fault`, `do_page_mkwrite`).
//!
//! A fault that finds out that it has to wait gives a [`Ticket`]. Whoever handles it lets go of everything and calls
//! [`Vm::wait`], which does the I/O and sleeps, and then tries again with what that gives him: it keeps the page where it is
//! until then. The fault was counted when it came; it becomes a major one when a page had to be read.

use super::{Fault, Flavour, Vm};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, VirtAddr};
use crate::cache::{FileRef, MmapHint, OpenFile};
use crate::errno::Errno;
use crate::folio::{Folio, FolioFlags};
use crate::mutant::planted;
use crate::phys::FrameAllocator;
use crate::port::{Access, Machine};
use crate::space::Mm;
use crate::vma::VmFlags;
use crate::vmstat::VmEvent;

/// What there is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Need {
    /// The page is not in memory, is being read, or is locked.
    Page,
    /// It will be written, and its file does not know yet.
    Write,
}

/// See the module documentation. Has a reference to a file.
#[derive(PartialEq, Eq, Debug)]
#[must_use = "who loses it keeps the file open for ever"]
pub struct Ticket {
    file: FileRef,
    index: u64,
    need: Need,
    hint: MmapHint,
}

impl Ticket {
    /// Something has to be done for page `index` of `file`, which an area with `flags` shows.
    pub(super) fn new(file: FileRef, index: u64, need: Need, flags: VmFlags) -> Self {
        file.hold();
        let hint = if flags.contains(VmFlags::RAND_READ) {
            MmapHint::Random
        } else if flags.contains(VmFlags::SEQ_READ) {
            MmapHint::Sequential
        } else {
            MmapHint::Normal
        };
        Self { file, index, need, hint }
    }
}

impl<'p, M: Machine> Vm<'p, M> {
    /// Makes the page at `va` what the access needs, however long that takes. Only where this code can wait, with no lock
    /// held. Never gives [`Fault::Wait`] or [`Fault::InSwap`].
    pub fn touch<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        va: VirtAddr,
        access: Access,
        frames: &A,
    ) -> Fault {
        self.touch_then(mm, va, access, frames, Fault::Minor, |fault| fault)
    }

    /// As [`Vm::touch`], for a trap: at the place of the call, which goes on with `done` where nothing had to be waited
    /// for, and else with `other`.
    #[inline(always)]
    pub fn touch_then<A: FrameAllocator<'p>, T>(
        &self,
        mm: &Mm<'p, M>,
        va: VirtAddr,
        access: Access,
        frames: &A,
        done: impl FnOnce(Flavour) -> T,
        other: impl FnOnce(Fault) -> T,
    ) -> T {
        let wait = |fault| other(self.touch_waiting(mm, va, access, fault, frames));
        self.fault_then(mm, va, access, frames, done, wait)
    }

    /// The rest of [`Vm::touch`], of a fault that may have to wait.
    #[cold]
    #[inline(never)]
    fn touch_waiting<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        va: VirtAddr,
        access: Access,
        mut fault: Fault,
        frames: &A,
    ) -> Fault {
        loop {
            // What was waited for is kept until the page was tried again.
            fault = match fault {
                Fault::Wait(ticket) => match self.wait(mm, ticket, frames) {
                    Ok(folio) => {
                        let again = self.fault_again(mm, va, access, frames);
                        folio.into_iter().for_each(|folio| self.cache().put(folio));
                        again
                    }
                    Err(error) => failed(error),
                },
                Fault::InSwap(entry) => match self.wait_for_swap(mm, va.get() >> PAGE_SHIFT, entry, frames) {
                    Ok(_held) => self.fault_again(mm, va, access, frames),
                    Err(error) => failed(error),
                },
                fault => return fault,
            };
        }
    }

    /// Does what a fault waits for; the page, with a reference, if there is one.
    fn wait<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        ticket: Ticket,
        frames: &A,
    ) -> Result<Option<Folio<'p>>, Errno> {
        let file = self.cache().file_of(ticket.file);
        let result = match ticket.need {
            Need::Page => self.wait_for_page(mm, file, &ticket, frames),
            Need::Write => self.make_writable(file, ticket.index),
        };
        // SAFETY: the reference of the ticket, which is used up.
        unsafe { self.cache().close(file) };
        result
    }

    /// Reads the page if it has to be, and waits until nobody has it locked.
    fn wait_for_page<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        file: &'p OpenFile<'p>,
        ticket: &Ticket,
        frames: &A,
    ) -> Result<Option<Folio<'p>>, Errno> {
        let (cache, inode, index) = (self.cache(), file.inode(), ticket.index);
        let Some(folio) = cache.find(inode, index) else {
            self.stat().count(self.machine().cpu(), VmEvent::PgMajFault, 1);
            mm.counters().count_major();
            return self.read_page(file, ticket, frames);
        };
        if folio.flags().contains(FolioFlags::READAHEAD) {
            cache.async_mmap_readahead(file, folio, ticket.hint, frames);
        }
        self.settled(file, folio, frames)
    }

    /// Reads a page that is not in memory, and pages around it.
    fn read_page<A: FrameAllocator<'p>>(
        &self,
        file: &'p OpenFile<'p>,
        ticket: &Ticket,
        frames: &A,
    ) -> Result<Option<Folio<'p>>, Errno> {
        let (cache, inode, index) = (self.cache(), file.inode(), ticket.index);
        if index >= inode.size().div_ceil(PAGE_SIZE) {
            // The next look says so.
            return Ok(None);
        }
        cache.sync_mmap_readahead(file, index, ticket.hint, frames);
        if let Some(folio) = cache.find(inode, index) {
            return self.settled(file, folio, frames);
        }
        match cache.create_folio(inode, index, frames)? {
            Some(folio) => self.settled(file, folio, frames),
            None => Ok(None),
        }
    }

    /// Waits until `folio` is nobody's, and reads it if it could not be read before. Takes the reference.
    fn settled<A: FrameAllocator<'p>>(
        &self,
        file: &'p OpenFile<'p>,
        folio: Folio<'p>,
        frames: &A,
    ) -> Result<Option<Folio<'p>>, Errno> {
        let (cache, inode) = (self.cache(), file.inode());
        cache.io().lock_folio(inode.fs().device(), folio);
        let result = if folio.is_uptodate() || folio.mapping() != inode.of_pages() {
            folio.unlock(self.machine().cpu());
            Ok(())
        } else {
            cache.read_folio(inode, folio, frames)
        };
        match result {
            Ok(()) => Ok(Some(folio)),
            Err(error) => {
                cache.put(folio);
                Err(error)
            }
        }
    }

    /// Gives a page of a file a place on the disk, and makes it dirty, so that its entry may become writable.
    fn make_writable(&self, file: &'p OpenFile<'p>, index: u64) -> Result<Option<Folio<'p>>, Errno> {
        let (cache, inode) = (self.cache(), file.inode());
        let Some(folio) = cache.find(inode, index) else { return Ok(None) };
        cache.io().lock_folio(inode.fs().device(), folio);
        let is_there = folio.mapping() == inode.of_pages() && index < inode.size().div_ceil(PAGE_SIZE);
        let result = match is_there {
            // What is there is the slots' now.
            true if inode.is_swapfile() && !planted("vm::swap.written_while_swapped_to") => {
                Err(Errno::Etxtbsy)
            }
            true => cache.make_dirty(inode, folio),
            false => Ok(()),
        };
        folio.unlock(self.machine().cpu());
        if let Err(error) = result {
            cache.put(folio);
            return Err(error);
        }
        Ok(Some(folio))
    }
}

/// What becomes of a fault when what it waits for cannot be had.
fn failed(error: Errno) -> Fault {
    match error {
        Errno::Enomem => Fault::Oom,
        Errno::Ecorrupt => Fault::Corrupt,
        _ => Fault::Sigbus,
    }
}
