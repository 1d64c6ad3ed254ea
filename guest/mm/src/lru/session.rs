//! Changing lists: one lock after the other, as folios come, and one count for folios of a kind.
//!
//! Owns: linking and unlinking. Invariants: LRU and PENDING of a folio, and the flags that say which list it is on, change
//! under the lock of its node; pages of zones are counted under that lock.

use super::list::Lists;
use super::{Lru, LruList};
use crate::addr::{NodeId, Pfn};
use crate::folio::{Folio, FolioFlags};
use crate::frame::{FrameIdx, FrameTable, ZoneId};
use crate::port::Cpu;
use crate::sync::SpinGuard;
use core::sync::atomic::{AtomicU32, Ordering};

/// Which end of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// Where folios that were used last are.
    Head,
    /// Where reclaim takes from.
    Tail,
}

/// See the module documentation. Counts are right when it is dropped.
pub(super) struct Session<'a, 'p, C: Cpu> {
    lru: &'a Lru<'p>,
    cpu: &'a C,
    table: &'a FrameTable,
    held: Option<(ZoneId, SpinGuard<'a, Lists, C>)>,
    list: LruList,
    /// Pages that came to `list` of the zone that is held and are not counted yet; below zero if they went.
    pages: u64,
}

impl<'a, 'p, C: Cpu> Session<'a, 'p, C> {
    pub(super) fn new(lru: &'a Lru<'p>, cpu: &'a C, table: &'a FrameTable) -> Self {
        Self { lru, cpu, table, held: None, list: LruList::InactiveAnon, pages: 0 }
    }

    /// From now on the lists of `zone`'s node are held.
    #[inline]
    fn hold(&mut self, zone: ZoneId) -> Option<&mut Lists> {
        if self.held.as_ref().is_none_or(|(held, _)| *held != zone) {
            self.change_zone(zone);
        }
        self.held.as_mut().map(|(_, lists)| &mut **lists)
    }

    fn change_zone(&mut self, zone: ZoneId) {
        self.settle();
        let same_node = self.held.take().filter(|(held, _)| held.node == zone.node);
        let lists = same_node.map(|(_, lists)| lists);
        let lists = lists.or_else(|| Some(self.lru.node(zone.node)?.lists.lock(self.cpu)));
        self.held = lists.map(|lists| (zone, lists));
    }

    /// Counts what is not counted yet.
    fn settle(&mut self) {
        let pages = core::mem::take(&mut self.pages);
        let Some((zone, _)) = &self.held else { return };
        if pages == 0 {
            return;
        }
        self.lru.stat().grow(self.cpu, zone.node, self.list.stat(), pages);
        if let Some(counter) = self.lru.zone_counter(*zone, self.list) {
            // Only the holder of the lock changes it.
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(pages), Ordering::Relaxed);
        }
    }

    #[inline]
    fn count(&mut self, list: LruList, pages: u64) {
        if list != self.list {
            self.settle();
            self.list = list;
        }
        self.pages = self.pages.wrapping_add(pages);
    }

    /// What the flags of `folio` say, with the lists of its node held.
    #[inline]
    pub(super) fn look(&mut self, folio: Folio<'_>) -> FolioFlags {
        let (_, block) = self.table.lookup(folio.pfn()).unzip();
        if let Some(block) = block {
            self.hold(block.zone());
        }
        folio.flags()
    }

    /// Puts the folios that start at the first of `frames` on their list, if they wait for that and as long as they are
    /// alike; how many frames need no other look.
    #[inline]
    pub(super) fn take_in(&mut self, frames: &[AtomicU32]) -> usize {
        let table = self.table;
        let pfn = frames.first().map(|first| Pfn::from_u32(first.load(Ordering::Relaxed)));
        let Some((idx, block)) = pfn.and_then(|pfn| table.lookup(pfn)) else { return 1 };
        let Some(lists) = self.hold(block.zone()) else { return 1 };
        let state = table.frame(idx).published_state();
        let flags = FolioFlags::from_bits_retain(state.folio_flags());
        if !state.is_folio() || !flags.contains(FolioFlags::PENDING) {
            return 1;
        }
        let list = LruList::of(flags);
        let target = lists.list(list);
        let mut done = 0;
        for next in
            frames.iter().map_while(|pfn| idx.in_pageblock(Pfn::from_u32(pfn.load(Ordering::Relaxed))))
        {
            let frame = table.frame(next);
            if frame.published_state() != state {
                break;
            }
            frame.flip_folio_flags((FolioFlags::PENDING | FolioFlags::LRU).bits());
            target.push_front(table, next);
            done += 1;
        }
        self.count(list, state.order().pages() * done as u64);
        done
    }

    /// Takes a folio with these flags, which says that it is on a list, off it. The flag stays.
    #[inline]
    pub(super) fn unlink(&mut self, folio: Folio<'_>, flags: FolioFlags) {
        let list = LruList::of(flags);
        let table = self.table;
        if let Some((_, lists)) = &mut self.held {
            lists.list(list).remove(table, folio.idx());
        }
        self.count(list, folio.order().pages().wrapping_neg());
    }

    /// Takes the folios of one page at the first of `heads`, whose last references are gone, off their list, as long as
    /// they are alike, and makes them folios no more; how many places need no other look.
    #[inline]
    pub(super) fn dissolve(&mut self, heads: &[Option<FrameIdx>]) -> usize {
        let table = self.table;
        let Some(&Some(first)) = heads.first() else { return 1 };
        let Some(lists) = self.hold(table.around(first).zone()) else { return 1 };
        // With the lock: from now on nobody puts them on a list.
        let state = table.frame(first).state();
        let flags = FolioFlags::from_bits_retain(state.folio_flags());
        let list = LruList::of(flags);
        let mut listed = flags.contains(FolioFlags::LRU).then(|| lists.list(list));
        let mut done = 0;
        for idx in heads.iter().map_while(|&head| first.in_pageblock(head.into())) {
            if table.frame(idx).state() != state {
                break;
            }
            if let Some(listed) = &mut listed {
                listed.remove(table, idx);
            }
            Folio::at(table, idx).dissolve_first(state);
            done += 1;
        }
        if listed.is_some() {
            self.count(list, (done as u64).wrapping_neg());
        }
        done
    }

    /// The last folio of a list of `node`, with its lock held.
    pub(super) fn last(&mut self, node: NodeId, list: LruList) -> Option<FrameIdx> {
        if self.held.as_ref().is_none_or(|(held, _)| held.node != node) {
            self.hold(ZoneId { node, ..ZoneId::default() });
        }
        self.held.as_mut().and_then(|(_, lists)| lists.list(list).last())
    }

    /// Takes a folio of `zone` off the list that it is on, for good.
    pub(super) fn unlink_in(&mut self, zone: ZoneId, folio: Folio<'_>, list: LruList) {
        self.pull(zone, folio.idx(), list);
        self.count(list, folio.order().pages().wrapping_neg());
    }

    /// Takes what starts at `idx` of `zone` off the list that it is on, to put it back with [`Session::push`] before
    /// the lock is given back: it counts as being there.
    pub(super) fn pull(&mut self, zone: ZoneId, idx: FrameIdx, list: LruList) {
        let table = self.table;
        if let Some(lists) = self.hold(zone) {
            lists.list(list).remove(table, idx);
        }
    }

    /// Puts what [`Session::pull`] took at the head of its list.
    pub(super) fn push(&mut self, idx: FrameIdx, list: LruList) {
        let table = self.table;
        if let Some((_, lists)) = &mut self.held {
            lists.list(list).push_front(table, idx);
        }
    }

    /// Puts a folio with these flags, which is on no list, on one. The flag is the caller's to set.
    #[inline]
    pub(super) fn link(&mut self, folio: Folio<'_>, flags: FolioFlags, end: End) {
        let list = LruList::of(flags);
        let table = self.table;
        if let Some((_, lists)) = &mut self.held {
            match end {
                End::Head => lists.list(list).push_front(table, folio.idx()),
                End::Tail => lists.list(list).push_back(table, folio.idx()),
            }
        }
        self.count(list, folio.order().pages());
    }

    /// Takes a folio whose last reference is gone off its list, or lets no list have it.
    #[inline]
    pub(super) fn forget(&mut self, folio: Folio<'_>) {
        const EITHER: FolioFlags = FolioFlags::LRU.union(FolioFlags::PENDING);
        if !folio.flags().intersects(EITHER) {
            return;
        }
        let flags = self.look(folio);
        if flags.contains(FolioFlags::LRU) {
            self.unlink(folio, flags);
        }
        folio.clear_flags_of_dead(EITHER);
    }

    /// Changes flags of a folio and moves it to the list that they say then, if it is on one.
    pub(super) fn change(&mut self, folio: Folio<'_>, set: FolioFlags, clear: FolioFlags, end: End) {
        let flags = self.look(folio);
        let is_listed = flags.contains(FolioFlags::LRU);
        if is_listed {
            self.unlink(folio, flags);
        }
        folio.clear_flags(clear - set);
        let flags = folio.set_flags(set) | set;
        if is_listed {
            self.link(folio, flags, end);
        }
    }
}

impl<C: Cpu> Drop for Session<'_, '_, C> {
    fn drop(&mut self) {
        self.settle();
    }
}
