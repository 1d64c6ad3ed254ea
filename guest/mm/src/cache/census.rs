//! What of a file is in memory (Linux `cachestat(2)`).

use super::{Inode, PageCache};
use crate::port::Machine;
use crate::sync::rcu;
use crate::xarray::{Cursor, Mark};

/// Pages of a file by what they are. One that is in two states counts for both.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct CacheStat {
    /// In memory.
    pub cached: u64,
    /// Not yet on the disk.
    pub dirty: u64,
    /// On their way there.
    pub writeback: u64,
    /// Evicted, and remembered.
    pub evicted: u64,
}

impl<'p, M: Machine> PageCache<'p, M> {
    /// What pages `first..=last` of a file are, as far as that can be said while others change it.
    pub fn cachestat(&self, inode: &Inode<'p>, first: u64, last: u64) -> CacheStat {
        let pages = &inode.mapping().pages;
        let mut stat = CacheStat::default();
        let mut cursor = Cursor::new(first, last);
        loop {
            let section = rcu::read_lock(self.machine().cpu());
            let Some(found) = cursor.next(pages, &section) else { return stat };
            if !found.entry.is_pointer() {
                stat.evicted += 1;
                continue;
            }
            stat.cached += 1;
            let marked = |mark| u64::from(pages.has_mark(&section, found.index, mark));
            stat.dirty += marked(Mark::Dirty);
            stat.writeback += marked(Mark::Writeback);
        }
    }
}
