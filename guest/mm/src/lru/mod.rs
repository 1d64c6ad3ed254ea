//! The lists that reclaim goes by: which folios were used lately (Linux `struct lruvec`, `mm/swap.c`).
//!
//! Owns: five lists for each node, threaded through the descriptors of the folios. Stays outside: taking pages away
//! (reclaim). Invariants: a folio with [`FolioFlags::LRU`] is on the list that its flags say and counted there; a folio
//! leaves its list before it is freed; lists change under the lock of their node.

use crate::addr::NodeId;
use crate::folio::{Folio, FolioFlags};
use crate::frame::{FrameList, FrameTable};
use crate::port::Cpu;
use crate::sync::SpinLock;
use crate::vmstat::{NodeStat, VmStat};

/// The lists of a node, by Linux's names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LruList {
    /// Anonymous, not used lately.
    InactiveAnon,
    /// Anonymous.
    ActiveAnon,
    /// Of files, not used lately.
    InactiveFile,
    /// Of files.
    ActiveFile,
    /// Cannot be reclaimed.
    Unevictable,
}

impl LruList {
    const COUNT: usize = 5;

    /// The list that a folio with these flags belongs on.
    #[inline]
    fn of(flags: FolioFlags) -> Self {
        if flags.contains(FolioFlags::UNEVICTABLE) {
            return Self::Unevictable;
        }
        match (flags.contains(FolioFlags::SWAPBACKED), flags.contains(FolioFlags::ACTIVE)) {
            (true, false) => Self::InactiveAnon,
            (true, true) => Self::ActiveAnon,
            (false, false) => Self::InactiveFile,
            (false, true) => Self::ActiveFile,
        }
    }

    const fn stat(self) -> NodeStat {
        match self {
            Self::InactiveAnon => NodeStat::InactiveAnon,
            Self::ActiveAnon => NodeStat::ActiveAnon,
            Self::InactiveFile => NodeStat::InactiveFile,
            Self::ActiveFile => NodeStat::ActiveFile,
            Self::Unevictable => NodeStat::Unevictable,
        }
    }
}

struct Lists([FrameList; LruList::COUNT]);

impl Lists {
    fn list(&mut self, list: LruList) -> Option<&mut FrameList> {
        self.0.get_mut(list as usize)
    }
}

/// See the module documentation.
pub struct Lru<'p> {
    stat: &'p VmStat,
    nodes: [SpinLock<Lists>; NodeId::MAX_NODES],
}

impl<'p> Lru<'p> {
    /// Nothing is on any list; counts go to `stat`.
    #[must_use]
    pub const fn new(stat: &'p VmStat) -> Self {
        Self {
            stat,
            nodes: [const { SpinLock::new(Lists([const { FrameList::EMPTY }; LruList::COUNT])) };
                NodeId::MAX_NODES],
        }
    }

    /// What is counted.
    #[inline(always)]
    pub const fn stat(&self) -> &'p VmStat {
        self.stat
    }

    /// Puts a folio, which is on no list, at the head of the list that its flags say (Linux `folio_add_lru`).
    pub(crate) fn add<C: Cpu>(&self, cpu: &C, table: &FrameTable, folio: Folio<'_>) {
        let node = folio.node();
        let Some(lists) = self.nodes.get(node.index()) else { return };
        let mut lists = lists.lock(cpu);
        let flags = folio.set_flags(FolioFlags::LRU);
        let list = LruList::of(flags);
        if let Some(frames) = lists.list(list) {
            frames.push_front(table, folio.idx());
        }
        self.stat.grow(cpu, node, list.stat(), folio.order().pages());
    }

    /// Takes a folio off its list, if it is on one; whether it was (Linux `folio_isolate_lru`).
    pub(crate) fn remove<C: Cpu>(&self, cpu: &C, table: &FrameTable, folio: Folio<'_>) -> bool {
        let node = folio.node();
        let Some(lists) = self.nodes.get(node.index()) else { return false };
        let mut lists = lists.lock(cpu);
        let flags = folio.clear_flags(FolioFlags::LRU);
        if !flags.contains(FolioFlags::LRU) {
            return false;
        }
        let list = LruList::of(flags);
        if let Some(frames) = lists.list(list) {
            frames.remove(table, folio.idx());
        }
        self.stat.shrink(cpu, node, list.stat(), folio.order().pages());
        true
    }

    /// A folio was used (Linux `folio_mark_accessed`): the first time it is remembered, the second time it becomes
    /// active.
    pub(crate) fn mark_accessed<C: Cpu>(&self, _cpu: &C, _table: &FrameTable, folio: Folio<'_>) {
        folio.set_flags(FolioFlags::REFERENCED);
    }
}
