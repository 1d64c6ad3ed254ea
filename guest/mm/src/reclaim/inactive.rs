//! What becomes of inactive pages (Linux `shrink_inactive_list`, `shrink_folio_list`).
//!
//! A clean page of a file is unmapped and goes, and leaves a shadow. A dirty one is marked to go as soon as it is written;
//! writing pages of files is the flushers' job. An anonymous page gets a slot of swap, is unmapped and written, and goes
//! the next time; one that is not needed goes at once. Shared memory gets its slot when it is unmapped. CPUs forget what was
//! unmapped once for all pages, before any of them is written or freed. Huge pages are divided, or stay active.

use super::pace::Seen;
use super::references::Used;
use super::{Reclaim, Scan};
use crate::addr::Order;
use crate::folio::{Folio, FolioFlags, Mapping};
use crate::lru::{LruList, TAKEN, Taken, is_file};
use crate::mutant::planted;
use crate::phys::GfpFlags;
use crate::port::Machine;
use crate::space::Forgotten;
use crate::swap::Writer;
use crate::vmstat::{NodeStat, VmEvent};
use crate::xarray::Entry;

/// What becomes of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// It is free.
    Gone,
    /// It is active again.
    Active,
    /// It stays where it is.
    Kept,
    /// Nobody maps it any more, but CPUs may not have forgotten it; it is locked.
    Unmapped,
}

/// What came of a look at some pages.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) reclaimed: u64,
    pub(super) activated: u64,
    pub(super) written: u64,
    /// Pages whose writing was asked for, those of zeroes among them, which cost no less to bring back (Linux
    /// `nr_pageout`).
    asked: u64,
    seen: Seen,
}

impl<'p, M: Machine> Reclaim<'p, M> {
    /// Looks at up to `pages` pages from the end of an inactive list; how many are free now.
    pub(super) fn shrink_inactive(&self, scan: &mut Scan, list: LruList, pages: u64) -> u64 {
        let (lru, cpu, stat) = (self.vm.lru(), self.vm.machine().cpu(), self.vm.stat());
        let Some(table) = self.vm.frame_table() else { return 0 };
        let file = list.is_file();
        if !self.await_isolated(scan, file) {
            return 0;
        }
        lru.drain(cpu, table);
        let taken = lru.take(cpu, table, (scan.node, list), (pages, scan.highest));
        let isolated = if file { NodeStat::IsolatedFile } else { NodeStat::IsolatedAnon };
        let pick = |kswapd, direct| if scan.by_kswapd { kswapd } else { direct };
        let (scanned, stolen) = if file {
            (VmEvent::PgScanFile, VmEvent::PgStealFile)
        } else {
            (VmEvent::PgScanAnon, VmEvent::PgStealAnon)
        };
        stat.grow(cpu, scan.node, isolated, taken.pages);
        stat.count(cpu, pick(VmEvent::PgScanKswapd, VmEvent::PgScanDirect), taken.scanned);
        stat.count(cpu, scanned, taken.scanned);
        let done = self.reclaim_all(scan, &taken);
        let reclaimed = done.reclaimed;
        stat.shrink(cpu, scan.node, isolated, taken.pages);
        if !planted("vm::reclaim_replay.active_is_no_age") {
            lru.age(scan.node, done.activated);
        }
        stat.count(cpu, VmEvent::PgActivate, done.activated);
        stat.count(cpu, pick(VmEvent::PgStealKswapd, VmEvent::PgStealDirect), reclaimed);
        stat.count(cpu, stolen, reclaimed);
        lru.note_cost(cpu, scan.node, file, done.asked, taken.scanned.saturating_sub(reclaimed));
        scan.scanned += taken.scanned;
        if taken.pages != 0 && done.seen.unqueued == taken.pages {
            self.vm.wake_all_flushers();
        }
        scan.seen.add(&Seen { taken: taken.pages, ..done.seen });
        reclaimed
    }

    /// Decides about pages that are on no list and of which we have a reference each, and puts those that stay back.
    pub(super) fn reclaim_all(&self, scan: &Scan, taken: &Taken<'p>) -> Outcome {
        let (mut forgotten, mut done) = (Forgotten::new(), Outcome::default());
        let mut fates = [(Fate::Kept, 0); TAKEN];
        for (folio, (fate, pages)) in taken.iter().zip(&mut fates) {
            // Of a folio that is gone nothing can be asked.
            *pages = folio.order().pages();
            *fate = self.decide(scan, folio, &mut forgotten, &mut done.seen);
            if *fate != Fate::Gone {
                // It may be a part of what it was.
                *pages = folio.order().pages();
            }
        }
        forgotten.flush(self.vm.machine());
        let cpu = self.vm.machine().cpu();
        let mut writer = Writer::new(self.swap, &self.reserve);
        for (folio, (mut fate, pages)) in taken.iter().zip(fates) {
            if fate == Fate::Unmapped {
                fate = match (is_file(folio), folio.mapping()) {
                    (true, Mapping::Anon(_)) => self.drop_lazily_freed(folio),
                    (true, _) => self.drop_page(folio),
                    (false, _) => self.swap_out(folio, &mut writer, &mut done),
                };
            }
            match fate {
                Fate::Gone => done.reclaimed += pages,
                Fate::Active => {
                    folio.set_flags(FolioFlags::ACTIVE);
                    done.activated += pages;
                    self.give_back(cpu, folio);
                }
                Fate::Kept | Fate::Unmapped => self.give_back(cpu, folio),
            }
        }
        self.vm.end_left();
        done
    }

    fn decide(&self, scan: &Scan, folio: Folio<'p>, forgotten: &mut Forgotten, seen: &mut Seen) -> Fate {
        if !folio.try_lock() {
            return Fate::Kept;
        }
        let fate = self.decide_locked(scan, folio, forgotten, seen);
        if fate == Fate::Active && self.swap.is_half_full() && !planted("vm::reclaim_replay.slots_are_kept") {
            // It does not go soon, and others need the slot.
            self.swap.try_remove(folio);
        }
        if fate != Fate::Unmapped {
            folio.unlock(self.vm.machine().cpu());
        }
        fate
    }

    fn decide_locked(
        &self,
        scan: &Scan,
        folio: Folio<'p>,
        forgotten: &mut Forgotten,
        seen: &mut Seen,
    ) -> Fate {
        let (flags, pages) = (folio.flags(), folio.order().pages());
        if flags.contains(FolioFlags::UNEVICTABLE) {
            return Fate::Kept;
        }
        let is_writing = flags.contains(FolioFlags::WRITEBACK);
        let is_seen_again = is_writing && flags.contains(FolioFlags::READAHEAD);
        if is_file(folio) && flags.intersects(FolioFlags::DIRTY | FolioFlags::WRITEBACK) {
            seen.dirty += pages;
            seen.unqueued += if is_writing { 0 } else { pages };
            seen.congested += if is_seen_again { pages } else { 0 };
        }
        if is_writing {
            if is_seen_again && scan.by_kswapd && self.is_writing(scan.node) {
                seen.immediate += pages;
            } else {
                folio.set_flags(FolioFlags::READAHEAD);
                seen.writeback += pages;
            }
            return Fate::Active;
        }
        let used = if scan.ignore_references { Used::No } else { self.check_references(folio) };
        match used {
            Used::Locked => {
                self.vm.lru().set_unevictable(self.vm.machine().cpu(), folio, true);
                return Fate::Kept;
            }
            Used::Much => return Fate::Active,
            Used::Once | Used::Unknown => return Fate::Kept,
            Used::No => {}
        }
        match (is_file(folio), folio.mapping()) {
            (true, Mapping::Anon(_)) => self.discard(folio, forgotten),
            (true, _) => self.unmap_file_page(folio, forgotten),
            (false, _) => self.unmap_page(scan, folio, forgotten),
        }
    }

    /// A page of a file that was not used.
    fn unmap_file_page(&self, folio: Folio<'p>, forgotten: &mut Forgotten) -> Fate {
        if folio.flags().contains(FolioFlags::DIRTY) {
            let (cpu, pages) = (self.vm.machine().cpu(), folio.order().pages());
            self.vm.stat().grow(cpu, folio.node(), NodeStat::VmscanImmediate, pages);
            folio.set_flags(FolioFlags::READAHEAD);
            return Fate::Active;
        }
        if folio.mapcount() != 0 && !self.vm.try_to_unmap_page(folio, forgotten) {
            return Fate::Active;
        }
        Fate::Unmapped
    }

    /// Takes a locked, clean page that nobody can reach out of its file and frees it; unlocks it if it stays.
    fn drop_page(&self, folio: Folio<'p>) -> Fate {
        let index = folio.index();
        if let Some(inode) = self.vm.cache().inode_of(folio)
            && self.vm.cache().remove(inode, folio, true)
        {
            self.note(Some(inode.number()), index);
            self.free(folio);
            return Fate::Gone;
        }
        folio.unlock(self.vm.machine().cpu());
        Fate::Kept
    }

    /// A page that is not needed, and goes unless somebody has written to it since.
    fn discard(&self, folio: Folio<'p>, forgotten: &mut Forgotten) -> Fate {
        let is_small = folio.order() == Order::ZERO;
        if is_small && self.vm.try_to_discard(folio, forgotten) { Fate::Unmapped } else { Fate::Active }
    }

    /// Frees a locked page that nobody can reach and whose owner does not need it; unlocks it if it stays.
    fn drop_lazily_freed(&self, folio: Folio<'p>) -> Fate {
        let cpu = self.vm.machine().cpu();
        if folio.freeze(1) {
            self.vm.stat().count(cpu, VmEvent::PgLazyFreed, 1);
            self.note(None, folio.index());
            self.free(folio);
            return Fate::Gone;
        }
        folio.unlock(cpu);
        Fate::Kept
    }

    /// A page that goes to swap, and was not used.
    fn unmap_page(&self, scan: &Scan, folio: Folio<'p>, forgotten: &mut Forgotten) -> Fate {
        let may_write = scan.gfp.contains(GfpFlags::__GFP_IO);
        if folio.order() != Order::ZERO {
            let may_go = matches!(folio.mapping(), Mapping::Anon(_)) && may_write && self.can_swap();
            if !may_go || !self.vm.split_folio(folio, &self.reserve) {
                return Fate::Active;
            }
            self.vm.stat().count(self.vm.machine().cpu(), VmEvent::ThpSwpoutFallback, 1);
            if folio.mapcount() == 0 {
                return Fate::Kept;
            }
        }
        let is_cached = folio.flags().contains(FolioFlags::SWAPCACHE);
        if !is_cached && !may_write {
            return Fate::Kept;
        }
        let is_unmapped = match folio.mapping() {
            // It gets its slot when no CPU can reach it.
            Mapping::Space(_) => {
                self.can_swap() && (folio.mapcount() == 0 || self.vm.try_to_unmap_page(folio, forgotten))
            }
            Mapping::Anon(_) => {
                (is_cached || self.swap.add(folio, &self.reserve))
                    && (folio.mapcount() == 0 || self.vm.try_to_unmap(folio, forgotten, &self.reserve))
            }
            // It was brought back, and nobody has used it since.
            Mapping::None => is_cached,
            Mapping::File(_) => false,
        };
        if is_unmapped { Fate::Unmapped } else { Fate::Active }
    }

    /// Writes a locked page that nobody can reach, or frees it if its slot has what it holds; unlocks it.
    fn swap_out(
        &self,
        folio: Folio<'p>,
        writer: &mut Writer<'_, 'p, M, super::Reserve<'p, M>>,
        done: &mut Outcome,
    ) -> Fate {
        if matches!(folio.mapping(), Mapping::Space(_)) && !self.vm.swap_out_shared(folio, &self.reserve) {
            folio.unlock(self.vm.machine().cpu());
            return Fate::Kept;
        }
        if folio.flags().contains(FolioFlags::DIRTY) {
            folio.set_flags(FolioFlags::READAHEAD);
            self.vm.stat().grow(self.vm.machine().cpu(), folio.node(), NodeStat::VmscanWrite, 1);
            done.asked += 1;
            if writer.write(folio) {
                done.written += 1;
                return Fate::Kept;
            }
            // It need not be written, or cannot be.
            if !folio.try_lock() {
                return Fate::Kept;
            }
        }
        if self.swap.evict(folio, 1, self.vm.lru().eviction(folio).and_then(Entry::as_value)) {
            self.note(None, folio.index());
            self.free(folio);
            return Fate::Gone;
        }
        folio.unlock(self.vm.machine().cpu());
        Fate::Kept
    }

    fn free(&self, folio: Folio<'p>) {
        if let Err(error) = self.vm.lru().free(self.vm.phys(), folio) {
            self.vm.corrupt(&error);
        }
    }
}
