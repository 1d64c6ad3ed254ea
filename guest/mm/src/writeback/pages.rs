//! Sending the dirty pages of a file (Linux `write_cache_pages`, `mpage_writepages`).
//!
//! Pages that are dirty now are marked first, and only those are sent: who writes on and on does not keep this busy for ever.

use crate::addr::{PAGE_SHIFT, PAGE_SIZE};
use crate::cache::Inode;
use crate::errno::Errno;
use crate::folio::{Folio, FolioFlags};
use crate::io::{End, Gather, Job};
use crate::mutant::planted;
use crate::phys::FrameAllocator;
use crate::port::{IoOp, Machine, PAGE_SECTORS, Purpose, SECTOR_BYTES};
use crate::space::Vm;
use crate::sync::rcu;
use crate::xarray::{Cursor, Mark};

/// Marks that are moved in one go, with the lock of the index held (Linux `WRITEBACK_TAG_BATCH`).
const TAG_BATCH: u64 = 4096;

/// Whether pages that are being written are waited for and sent again if they are dirty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncMode {
    /// They are left for later (`WB_SYNC_NONE`).
    None,
    /// All that is dirty now must be sent (`WB_SYNC_ALL`).
    All,
}

impl<'p, M: Machine> Vm<'p, M> {
    /// Starts to write the dirty pages from `first` to `last`, but not many more than `limit`; how many. Only where this code
    /// can wait.
    ///
    /// # Errors
    /// `Ecorrupt`; what the file system says of places. Errors of the disk are recorded for those who have the file open.
    pub fn write_pages<A: FrameAllocator<'p>>(
        &self,
        inode: &Inode<'p>,
        (first, last): (u64, u64),
        mode: SyncMode,
        limit: u64,
        frames: &A,
    ) -> Result<u64, Errno> {
        let (cpu, device) = (self.machine().cpu(), inode.fs().device());
        let index = &inode.mapping().pages;
        if !index.is_marked(Mark::Dirty) {
            return Ok(0);
        }
        let mut from = Some(first);
        while let Some(at) = from {
            (_, from) = index.lock(cpu).tag_range(at, last, Mark::Dirty, Mark::Towrite, TAG_BATCH);
        }
        let job = Job { op: IoOp::Write, purpose: Purpose::File, end: End::Tell(self.cache()) };
        let mut requests = self.cache().io().gather(device, frames, job);
        let mut cursor = Cursor::marked(first, last, Mark::Towrite);
        let mut sent = 0;
        loop {
            let next = cursor.next(index, &rcu::read_lock(cpu));
            let Some(found) = next.filter(|_| sent < limit) else { break };
            let Some(folio) = self.cache().find(inode, found.index) else { continue };
            let result = self.write_folio(inode, folio, mode, &mut requests, frames);
            self.cache().put(folio);
            sent += u64::from(result?);
        }
        Ok(sent)
    }

    /// Adds a page to the requests if it is dirty; whether it was. The caller has a reference.
    fn write_folio<A: FrameAllocator<'p>>(
        &self,
        inode: &Inode<'p>,
        folio: Folio<'p>,
        mode: SyncMode,
        requests: &mut Gather<'_, 'p, M, A>,
        frames: &A,
    ) -> Result<bool, Errno> {
        let (cache, cpu, device) = (self.cache(), self.machine().cpu(), inode.fs().device());
        if !folio.try_lock() {
            // Its holder may be waiting for a page that is still being gathered.
            requests.send();
            cache.io().lock_folio(device, folio);
        }
        if folio.flags().contains(FolioFlags::WRITEBACK) {
            if mode == SyncMode::None {
                folio.unlock(cpu);
                return Ok(false);
            }
            requests.send();
            cache.io().wait_folio(device, folio, FolioFlags::WRITEBACK);
        }
        if !cache.start_writeback(inode, folio) {
            folio.unlock(cpu);
            return Ok(false);
        }
        // Whoever writes through a mapping after this faults, and makes the page dirty again.
        let cleaned = if folio.mapcount() == 0 || planted("vm::write.while_writable") {
            Ok(false)
        } else {
            self.mkclean(inode, folio.index(), folio.pfn(), frames)
        };
        // The size is asked for when nobody can write through a mapping without the lock of the page: what was written there
        // behind the end is not of the file (Linux `iomap_writeback_handle_eof`).
        let size = inode.size();
        if folio.index() == size >> PAGE_SHIFT && !planted("vm::write_gap.the_rest_is_sent") {
            self.zero_from(folio, size % PAGE_SIZE);
        }
        let place = cleaned.and_then(|_| place_of(inode, folio.index()));
        folio.unlock(cpu);
        match place {
            Ok((sector, bytes)) => {
                // SAFETY: the page has a reference until its writing ends, so nobody frees it.
                unsafe { requests.push(sector, folio.pfn(), bytes) };
                Ok(true)
            }
            Err(error) => {
                cache.end_writeback(inode, folio, Err(error));
                if error == Errno::Ecorrupt { Err(error) } else { Ok(true) }
            }
        }
    }

    /// Waits until none of the pages from `first` to `last` is being written (Linux `__filemap_fdatawait_range`).
    pub fn wait_pages(&self, inode: &Inode<'p>, (first, last): (u64, u64)) {
        let (cpu, device) = (self.machine().cpu(), inode.fs().device());
        let index = &inode.mapping().pages;
        let mut cursor = Cursor::marked(first, last, Mark::Writeback);
        loop {
            let next = cursor.next(index, &rcu::read_lock(cpu));
            let Some(found) = next else { return };
            if let Some(folio) = self.cache().find(inode, found.index) {
                self.cache().io().wait_folio(device, folio, FolioFlags::WRITEBACK);
                self.cache().put(folio);
            }
        }
    }
}

/// Where a page goes, and how much of it there is on the disk.
fn place_of(inode: &Inode<'_>, index: u64) -> Result<(u64, u64), Errno> {
    // It had a place before it became dirty.
    let sector = inode.fs().place(inode.number(), index)?.ok_or(Errno::Eio)?;
    let bytes = inode.fs().device().sectors().saturating_sub(sector).min(PAGE_SECTORS) * SECTOR_BYTES;
    if bytes == 0 { Err(Errno::Eio) } else { Ok((sector, bytes.min(PAGE_SIZE))) }
}
