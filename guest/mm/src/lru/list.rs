//! The lists of a node, and which of them a folio belongs on.

use crate::folio::FolioFlags;
use crate::frame::FrameList;
use crate::vmstat::NodeStat;

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
    /// How many there are.
    pub const COUNT: usize = 5;
    /// All of them, in Linux's order.
    pub const ALL: [Self; Self::COUNT] =
        [Self::InactiveAnon, Self::ActiveAnon, Self::InactiveFile, Self::ActiveFile, Self::Unevictable];

    /// The list that a folio with these flags belongs on.
    #[inline]
    pub(super) fn of(flags: FolioFlags) -> Self {
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

    /// What counts its pages.
    #[must_use]
    pub const fn stat(self) -> NodeStat {
        match self {
            Self::InactiveAnon => NodeStat::InactiveAnon,
            Self::ActiveAnon => NodeStat::ActiveAnon,
            Self::InactiveFile => NodeStat::InactiveFile,
            Self::ActiveFile => NodeStat::ActiveFile,
            Self::Unevictable => NodeStat::Unevictable,
        }
    }

    /// Whether pages of files are on it.
    #[must_use]
    pub const fn is_file(self) -> bool {
        matches!(self, Self::InactiveFile | Self::ActiveFile)
    }
}

/// What the lock of a node guards.
pub(super) struct Lists {
    lists: [FrameList; LruList::COUNT],
    /// What reclaiming pages has cost lately, and pages that had to come back: of files, and anonymous ones.
    pub(super) file_cost: u64,
    pub(super) anon_cost: u64,
}

impl Lists {
    pub(super) const fn new() -> Self {
        Self { lists: [const { FrameList::EMPTY }; LruList::COUNT], file_cost: 0, anon_cost: 0 }
    }

    #[inline(always)]
    pub(super) fn list(&mut self, list: LruList) -> &mut FrameList {
        let [inactive_anon, active_anon, inactive_file, active_file, unevictable] = &mut self.lists;
        match list {
            LruList::InactiveAnon => inactive_anon,
            LruList::ActiveAnon => active_anon,
            LruList::InactiveFile => inactive_file,
            LruList::ActiveFile => active_file,
            LruList::Unevictable => unevictable,
        }
    }
}
