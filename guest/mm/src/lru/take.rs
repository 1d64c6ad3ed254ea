//! Folios that reclaim takes off a list to decide about them (Linux `isolate_lru_folios`, `move_folios_to_lru`).

use super::session::Session;
use super::{Lru, LruList};
use crate::addr::NodeId;
use crate::folio::{Folio, FolioFlags};
use crate::frame::{FrameList, FrameTable, Pageblock, ZoneKind};
use crate::port::Cpu;

/// How many folios at most (Linux `SWAP_CLUSTER_MAX`).
pub(crate) const TAKEN: usize = 32;

/// Folios that are on no list, each with a reference of ours.
#[derive(Default)]
pub(crate) struct Taken<'t> {
    folios: [Option<Folio<'t>>; TAKEN],
    len: usize,
    /// Their pages.
    pub(crate) pages: u64,
    /// Pages that were looked at for them.
    pub(crate) scanned: u64,
}

impl<'t> Taken<'t> {
    fn push(&mut self, folio: Folio<'t>) {
        if let Some(slot) = self.folios.get_mut(self.len) {
            *slot = Some(folio);
            self.len += 1;
            self.pages += folio.order().pages();
        }
    }

    /// The folios, from the end of the list on.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Folio<'t>> {
        self.folios.into_iter().flatten()
    }
}

impl Lru<'_> {
    /// As [`Lru::isolate`], into `taken`, of a folio that can be reclaimed; whether there is room for another.
    #[must_use = "there may be no room for another"]
    pub(crate) fn take_one<'t, C: Cpu>(&self, cpu: &C, folio: Folio<'t>, taken: &mut Taken<'t>) -> bool {
        let is_wanted = taken.len < TAKEN && !folio.flags().contains(FolioFlags::UNEVICTABLE);
        if is_wanted && self.isolate(cpu, folio) {
            folio.get(1);
            taken.push(folio);
        }
        taken.len < TAKEN
    }

    /// Takes folios of up to `pages` pages, but no more than [`TAKEN`] folios, off the end of a list: those in zones up to
    /// `highest`. Those in higher zones, and those that are just being freed, go to the head.
    pub(crate) fn take<'t, C: Cpu>(
        &self,
        cpu: &C,
        table: &'t FrameTable,
        (node, list): (NodeId, LruList),
        (pages, highest): (u64, ZoneKind),
    ) -> Taken<'t> {
        let mut taken = Taken::default();
        let mut session = Session::new(self, cpu, table);
        let mut skipped = FrameList::EMPTY;
        while taken.pages < pages && taken.len < TAKEN {
            let Some(idx) = session.last(node, list) else { break };
            let zone = table.pageblock(idx.get()).map(Pageblock::zone).unwrap_or_default();
            let order = table.frame(idx).state().order();
            taken.scanned += order.pages();
            if zone.kind > highest {
                session.pull(zone, idx, list);
                skipped.push_front(table, idx);
                continue;
            }
            let Some(folio) = Folio::try_get(table, idx.pfn()) else {
                // Who frees it waits for the lock. It would be found again at once.
                session.pull(zone, idx, list);
                skipped.push_front(table, idx);
                continue;
            };
            session.unlink_in(zone, folio, list);
            folio.flip_flags(FolioFlags::LRU);
            taken.push(folio);
        }
        while let Some(idx) = skipped.last() {
            skipped.remove(table, idx);
            session.push(idx, list);
        }
        taken
    }
}
