//! What all frames say they are: a count that owes nothing to any counter.
//!
//! Owns: the walk. While others allocate and free, its numbers are of no moment.

use super::FolioFlags;
use crate::addr::Pfn;
use crate::frame::{Kind, Owner, PageType};
use crate::phys::Phys;
use crate::port::Machine;

/// Pages by what their frames say: every page that a zone was given is one of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PageCensus {
    /// Free, on the lists of zones.
    pub free: u64,
    /// Free, on the lists of CPUs.
    pub cached: u64,
    /// Slabs.
    pub slab: u64,
    /// Objects that are too large for a slab.
    pub large: u64,
    /// Folios, but for those from pools of huge pages.
    pub folios: u64,
    /// Held by somebody whom the frame does not name.
    pub held: u64,
}

impl PageCensus {
    /// Looks at every frame that was taken in.
    pub fn take<M: Machine>(phys: &Phys<M>) -> Self {
        let mut census = Self::default();
        let Some(table) = phys.frame_table() else { return census };
        let mut at = 0;
        while at < table.end() {
            let state = table.lookup(Pfn::from_u32(at)).map(|(idx, _)| table.frame(idx).state());
            let Some(state) = state.filter(|state| state.kind() != Kind::Reserved) else {
                at += 1;
                continue;
            };
            let of_pool = FolioFlags::from_bits_retain(state.folio_flags()).contains(FolioFlags::HUGETLB);
            let kind = match (state.kind(), state.owner(), state.page_type()) {
                (Kind::Free, Owner::Zone, _) => &mut census.free,
                (Kind::Cached, ..) => &mut census.cached,
                (_, _, PageType::Slab) => &mut census.slab,
                (_, _, PageType::LargeKmalloc) => &mut census.large,
                (_, _, PageType::Folio) if !of_pool => &mut census.folios,
                _ => &mut census.held,
            };
            *kind += state.order().pages();
            at += state.order().pages() as u32;
        }
        census
    }
}
