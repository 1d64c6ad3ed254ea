//! Files that are swapped to: what they have is on the disk, and nobody changes it meanwhile (Linux `claim_swapfile`,
//! `iomap_swapfile_activate`).

use crate::addr::PAGE_SIZE;
use crate::cache::Inode;
use crate::errno::Errno;
use crate::phys::FrameAllocator;
use crate::port::Machine;
use crate::space::Vm;

impl<'p, M: Machine> Vm<'p, M> {
    /// From now on what is where in the file stays so, and all of that is on the disk, until [`Vm::release_swapfile`].
    ///
    /// # Errors
    /// `Ebusy`: it is swapped to already. What a sync says.
    pub fn claim_swapfile<A: FrameAllocator<'p>>(&self, inode: &Inode<'p>, frames: &A) -> Result<(), Errno> {
        let locked = inode.lock(self.machine().cpu());
        if inode.is_swapfile() {
            return Err(Errno::Ebusy);
        }
        inode.set_swapfile(&locked, true);
        drop(locked);
        self.pass_writers(inode);
        // Nobody writes any more, nor through a mapping: what is dirty now is all there is.
        self.sync_inode(inode, false, frames).inspect_err(|_| self.release_swapfile(inode))
    }

    /// Waits for whoever was about to make a page writable in a mapping before the file was claimed: he had it locked.
    fn pass_writers(&self, inode: &Inode<'p>) {
        let (cache, cpu) = (self.cache(), self.machine().cpu());
        let all = 0..inode.size().div_ceil(PAGE_SIZE);
        for folio in all.filter_map(|index| cache.find(inode, index)) {
            cache.io().lock_folio(inode.fs().device(), folio);
            folio.unlock(cpu);
            cache.put(folio);
        }
    }

    /// The file is one like others again.
    pub fn release_swapfile(&self, inode: &Inode<'p>) {
        inode.set_swapfile(&inode.lock(self.machine().cpu()), false);
    }
}
