//! Pages that go while the file stays as it is (Linux `invalidate_mapping_pages`, `invalidate_inode_pages2_range`,
//! `drop_pagecache_sb`).

use super::{MAX_PAGES, each_page, pages_of};
use crate::cache::Inode;
use crate::errno::Errno;
use crate::folio::FolioFlags;
use crate::mutant::planted;
use crate::phys::FrameAllocator;
use crate::port::Machine;
use crate::space::{Copies, Vm};
use crate::vmstat::VmEvent;

impl<'p, M: Machine> Vm<'p, M> {
    /// Lets pages `first..end` of a file go that are clean, that nothing maps, and that nobody uses; how many went.
    pub fn invalidate_clean(&self, inode: &Inode<'p>, first: u64, end: u64) -> u64 {
        let (cache, cpu) = (self.cache(), self.machine().cpu());
        let mut gone = 0;
        each_page(cache, inode, first, end.min(MAX_PAGES), |folio| {
            if !folio.try_lock() {
                return true;
            }
            let is_used = folio.flags().intersects(FolioFlags::DIRTY | FolioFlags::WRITEBACK);
            if !is_used && folio.mapcount() == 0 && cache.remove(inode, folio, false) {
                gone += 1;
                // The reference of the visit, the last one.
                folio.thaw(1);
            }
            folio.unlock(cpu);
            true
        });
        gone
    }

    /// Takes pages `first..end` of a file away, because what is on the disk there has changed; they are unmapped, and the
    /// next access reads them again. How many went.
    ///
    /// # Errors
    /// `Ebusy` if one is dirty, or somebody holds on to one: those stay as they are, all others go.
    pub fn invalidate<A: FrameAllocator<'p>>(
        &self,
        inode: &Inode<'p>,
        first: u64,
        end: u64,
        frames: &A,
    ) -> Result<u64, Errno> {
        let (cache, cpu) = (self.cache(), self.machine().cpu());
        let (mut gone, mut result) = (0, Ok(()));
        each_page(cache, inode, first, end.min(MAX_PAGES), |folio| {
            self.lock_quiet(inode, folio);
            if folio.mapping() == inode.of_pages() {
                let unmapped = if folio.mapcount() == 0 || planted("vm::file.invalid_pages_stay_mapped") {
                    Ok(())
                } else {
                    self.unmap_file(inode, folio.index(), 1, Copies::Keep, frames)
                };
                if unmapped.is_ok() && cache.remove(inode, folio, false) {
                    gone += 1;
                    folio.thaw(1);
                } else {
                    result = result.and(unmapped).and(Err(Errno::Ebusy));
                }
            }
            folio.unlock(cpu);
            true
        });
        result.map(|()| gone)
    }

    /// The disk under `inode` was changed by somebody else, and has `size` bytes now (`blk rescan`): nothing that is in
    /// memory of it holds any more. How many pages went.
    ///
    /// # Errors
    /// As [`Vm::invalidate`].
    pub fn rescan<A: FrameAllocator<'p>>(
        &self,
        inode: &Inode<'p>,
        size: u64,
        frames: &A,
    ) -> Result<u64, Errno> {
        if size < inode.size() {
            inode.set_size(self.machine().cpu(), size);
            self.truncate_pages(inode, pages_of(size), frames)?;
        }
        inode.set_size(self.machine().cpu(), size);
        self.invalidate(inode, 0, MAX_PAGES, frames)
    }

    /// Lets all clean pages of all files go that nothing maps (`drop_caches`); how many went.
    pub fn drop_pagecache(&self) -> u64 {
        self.stat().count(self.machine().cpu(), VmEvent::DropPagecache, 1);
        let mut gone = 0;
        self.cache().for_each_inode(|inode| gone += self.invalidate_clean(inode, 0, MAX_PAGES));
        gone
    }
}
