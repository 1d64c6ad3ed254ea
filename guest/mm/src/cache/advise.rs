//! What readers say that they will do (Linux `mm/fadvise.c`).

use super::fill::page_of;
use super::{OpenFile, PageCache};
use crate::addr::PAGE_SIZE;
use crate::phys::FrameAllocator;
use crate::port::Machine;

/// What is expected of a file, all of it or a part (`POSIX_FADV_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileAdvice {
    /// Nothing special.
    Normal,
    /// Reads from the beginning to the end: windows are twice as large.
    Sequential,
    /// Reads anywhere: nothing is read ahead.
    Random,
    /// This part will be read soon.
    WillNeed,
}

impl<'p, M: Machine> PageCache<'p, M> {
    /// Takes advice for `len` bytes from `pos` (0: to the end); all but [`FileAdvice::WillNeed`] is for the whole open file.
    pub fn fadvise(
        &self,
        file: &OpenFile<'p>,
        pos: u64,
        len: u64,
        advice: FileAdvice,
        frames: &impl FrameAllocator<'p>,
    ) {
        match advice {
            FileAdvice::Normal => {
                file.ra.set_pages(self.ra_pages());
                file.expect_random(false);
            }
            FileAdvice::Sequential => {
                file.ra.set_pages(self.ra_pages().saturating_mul(2));
                file.expect_random(false);
            }
            FileAdvice::Random => file.expect_random(true),
            FileAdvice::WillNeed => {
                let end = if len == 0 { u64::MAX } else { pos.saturating_add(len) };
                let (first, end) = (page_of(pos), end.div_ceil(PAGE_SIZE));
                self.force_readahead(file, first, end.saturating_sub(first), frames);
            }
        }
    }
}
