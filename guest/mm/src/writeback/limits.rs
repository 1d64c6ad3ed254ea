//! How much may be dirty now (Linux `global_dirtyable_memory`).

use crate::dirty::DirtyLimits;
use crate::port::Machine;
use crate::space::Vm;
use crate::vmstat::NodeStat;

impl<'p, M: Machine> Vm<'p, M> {
    /// The limits now.
    pub fn dirty_limits(&self) -> DirtyLimits {
        self.cache().dirty().settings.limits(self.dirtyable())
    }

    /// Pages that could be dirty: free ones above the reserves, and those of files that could go.
    fn dirtyable(&self) -> u64 {
        let (free, stat) = (self.phys().total_free_pages(), self.stat());
        let reserved = self.phys().reserved_pages();
        let files = stat.total(NodeStat::InactiveFile) + stat.total(NodeStat::ActiveFile);
        free.saturating_sub(reserved) + files + 1
    }

    /// Pages that are dirty or being written.
    pub(super) fn dirty_pages(&self) -> u64 {
        self.stat().total(NodeStat::Dirty) + self.stat().total(NodeStat::Writeback)
    }
}
