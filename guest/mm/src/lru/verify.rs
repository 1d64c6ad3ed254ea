//! Checking the lists against the folios on them, and against their counts.

use super::list::Lists;
use super::{Lru, LruList};
use crate::addr::{NodeId, Order};
use crate::folio::FolioFlags;
use crate::frame::{FrameTable, Kind, Pageblock, State, ZoneId, ZoneKind};
use crate::phys::Phys;
use crate::port::{Cpu, Machine};

/// Pages on the lists of a node, by zone.
type Sums = [[u64; LruList::COUNT]; ZoneKind::COUNT];

/// What was found on the lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LruCensus {
    /// Folios on lists.
    pub folios: u64,
    /// Their pages, by list.
    pub pages: [u64; LruList::COUNT],
    /// Folios that wait in a batch.
    pub pending: u64,
}

/// The flags of a folio that starts at a frame with this state; `None` if none does.
fn flags_of(state: State) -> Option<FolioFlags> {
    state.is_folio().then(|| FolioFlags::from_bits_retain(state.folio_flags()))
}

impl Lru<'_> {
    /// Checks all lists while nobody else changes them, and gives what is on them.
    ///
    /// # Errors
    /// What does not hold, in words.
    pub fn verify<M: Machine>(&self, phys: &Phys<M>) -> Result<LruCensus, &'static str> {
        let (Some(table), cpu) = (phys.frame_table(), phys.machine().cpu()) else {
            return Ok(LruCensus::default());
        };
        let mut census = LruCensus::default();
        for node in NodeId::all() {
            self.verify_node(cpu, table, node, &mut census)?;
        }
        let (mut listed, mut at) = (0, 0);
        while at < table.end() {
            for (_, state) in table.heads(at, Order::MAX.pages() as u32) {
                let Some(flags) = flags_of(state).filter(|_| state.kind() == Kind::Allocated) else {
                    continue;
                };
                listed += u64::from(flags.contains(FolioFlags::LRU));
                census.pending += u64::from(flags.contains(FolioFlags::PENDING));
                if flags.contains(FolioFlags::LRU | FolioFlags::PENDING) {
                    return Err("a folio is on a list and on its way to one");
                }
            }
            at += Order::MAX.pages() as u32;
        }
        if listed != census.folios {
            return Err("a folio says that it is on a list and is on none");
        }
        Ok(census)
    }

    fn verify_node<C: Cpu>(
        &self,
        cpu: &C,
        table: &FrameTable,
        node: NodeId,
        census: &mut LruCensus,
    ) -> Result<(), &'static str> {
        let Some(held) = self.node(node) else { return Ok(()) };
        let mut lists = held.lists.lock(cpu);
        let mut sums = Sums::default();
        for list in LruList::ALL {
            verify_list(&mut lists, table, (node, list), &mut sums, census)?;
        }
        for (kind, sums) in ZoneKind::ALL.into_iter().zip(sums) {
            for (list, sum) in LruList::ALL.into_iter().zip(sums) {
                if self.in_zone(ZoneId { node, kind }, list) != sum {
                    return Err("a zone counts other pages than are on a list");
                }
            }
        }
        for list in LruList::ALL {
            let sum: u64 = sums.iter().filter_map(|zone| zone.get(list as usize)).sum();
            if self.stat().on_node(node, list.stat()) != sum {
                return Err("a node counts other pages than are on a list");
            }
        }
        Ok(())
    }
}

fn verify_list(
    lists: &mut Lists,
    table: &FrameTable,
    (node, list): (NodeId, LruList),
    sums: &mut Sums,
    census: &mut LruCensus,
) -> Result<(), &'static str> {
    if lists.list(list).broken_link(table, table.end().into()).is_some() {
        return Err("a link of a list is broken");
    }
    for idx in lists.list(list).iter(table) {
        let state = table.frame(idx).state();
        let flags = flags_of(state).ok_or("what is on a list is no folio")?;
        if !flags.contains(FolioFlags::LRU) || LruList::of(flags) != list {
            return Err("a folio is on another list than its flags say");
        }
        let zone = table.pageblock(idx.get()).map(Pageblock::zone).filter(|zone| zone.node == node);
        let zone = zone.ok_or("a folio is on a list of another node")?;
        let pages = state.order().pages();
        census.folios += 1;
        let of_zone = sums.get_mut(zone.kind.index()).and_then(|zone| zone.get_mut(list as usize));
        let of_list = census.pages.get_mut(list as usize);
        of_zone.into_iter().chain(of_list).for_each(|sum| *sum += pages);
    }
    Ok(())
}
