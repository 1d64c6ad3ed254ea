//! Pages of a file that nobody needs soon (Linux `generic_fadvise` with `POSIX_FADV_DONTNEED`).

use super::SyncMode;
use crate::addr::{PAGE_SHIFT, PAGE_SIZE};
use crate::cache::OpenFile;
use crate::errno::Errno;
use crate::phys::FrameAllocator;
use crate::port::Machine;
use crate::space::Vm;

impl<'p, M: Machine> Vm<'p, M> {
    /// Starts to write what is dirty of `len` bytes from `pos` on, to the end of the file without a length, and lets those
    /// pages go that lie in there as a whole, that are clean and that nobody uses; how many went.
    ///
    /// # Errors
    /// As [`Vm::write_pages`].
    pub fn dont_need<A: FrameAllocator<'p>>(
        &self,
        file: &OpenFile<'p>,
        pos: u64,
        len: u64,
        frames: &A,
    ) -> Result<u64, Errno> {
        let inode = file.inode();
        let stop = if len == 0 { u64::MAX } else { pos.saturating_add(len) };
        // The last page is whole if the file ends in it.
        let end = if stop >= inode.size() { inode.size().div_ceil(PAGE_SIZE) } else { stop >> PAGE_SHIFT };
        let Some(last) = end.checked_sub(1) else { return Ok(0) };
        self.write_pages(inode, (pos >> PAGE_SHIFT, last), SyncMode::None, u64::MAX, frames)?;
        Ok(self.invalidate_clean(inode, pos.div_ceil(PAGE_SIZE), end))
    }
}
