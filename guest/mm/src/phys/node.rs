//! A node: memory that is equally near to a set of CPUs (Linux `pg_data_t`).
//!
//! Owns: the zones of the node and the order in which its CPUs ask zones. Stays outside: distances (`topology`).

use super::ground::Run;
use super::zone::Zone;
use super::zonelist::Zonelist;
use crate::addr::{NodeId, Pfn};
use crate::frame::ZoneKind;

/// See the module documentation.
pub struct Node {
    pub(super) id: NodeId,
    pub(super) zones: [Zone; ZoneKind::COUNT],
    pub(super) zonelist: Zonelist,
    pub(super) span: Run,
    pub(super) online: bool,
}

impl Node {
    /// A node without memory.
    pub(super) const fn empty() -> Self {
        Self {
            id: NodeId::ZERO,
            zones: [const { Zone::empty() }; ZoneKind::COUNT],
            zonelist: Zonelist::EMPTY,
            span: Run { start: 0, end: 0 },
            online: false,
        }
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// One of its zones.
    #[inline(always)]
    #[must_use]
    pub fn zone(&self, kind: ZoneKind) -> &Zone {
        // SAFETY: `index` is below `ZoneKind::COUNT`, the length of the array.
        unsafe { self.zones.get_unchecked(kind.index()) }
    }

    /// All of its zones, lowest memory first, those without memory included.
    pub fn zones(&self) -> impl DoubleEndedIterator<Item = &Zone> {
        self.zones.iter()
    }

    /// The first frame of its memory.
    #[must_use]
    pub fn start_pfn(&self) -> Pfn {
        Pfn::from_u32(self.span.start)
    }

    /// Pages between its first and its last address, holes included.
    #[must_use]
    pub fn spanned_pages(&self) -> u64 {
        self.span.pages()
    }

    /// Pages of RAM.
    #[must_use]
    pub fn present_pages(&self) -> u64 {
        self.zones.iter().map(Zone::present_pages).sum()
    }

    /// Pages that the allocator was given at boot.
    #[must_use]
    pub fn managed_pages(&self) -> u64 {
        self.zones.iter().map(Zone::managed_pages).sum()
    }

    /// Free pages.
    #[must_use]
    pub fn free_pages(&self) -> u64 {
        self.zones.iter().map(Zone::free_pages).sum()
    }
}
