//! What becomes of inactive pages (Linux `shrink_inactive_list`, `shrink_folio_list`, `folio_check_references`).
//!
//! A clean page of a file that nobody maps goes, and leaves a shadow. A dirty one is marked to go as soon as it is written;
//! writing pages of files is the flushers' job. A page that is mapped stays active.

use super::{Reclaim, Scan};
use crate::cache::Inode;
use crate::folio::{Folio, FolioFlags, Mapping};
use crate::lru::{LruList, is_file};
use crate::port::Machine;
use crate::vmstat::{NodeStat, VmEvent};

/// What becomes of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// It is free.
    Gone,
    /// It is active again.
    Active,
    /// It stays where it is.
    Kept,
}

impl<'p, M: Machine> Reclaim<'p, M> {
    /// Looks at up to `pages` pages from the end of an inactive list; how many are free now.
    pub(super) fn shrink_inactive(&self, scan: &mut Scan, list: LruList, pages: u64) -> u64 {
        let (lru, cpu, stat) = (self.vm.lru(), self.vm.machine().cpu(), self.vm.stat());
        let Some(table) = self.vm.frame_table() else { return 0 };
        lru.drain(cpu, table);
        let taken = lru.take(cpu, table, (scan.node, list), (pages, scan.highest));
        let file = list.is_file();
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
        let (mut reclaimed, mut activated) = (0, 0);
        for folio in taken.iter() {
            let pages = folio.order().pages();
            match self.reclaim(folio) {
                Fate::Gone => reclaimed += pages,
                Fate::Active => {
                    folio.set_flags(FolioFlags::ACTIVE);
                    activated += pages;
                    self.give_back(cpu, folio);
                }
                Fate::Kept => self.give_back(cpu, folio),
            }
        }
        stat.shrink(cpu, scan.node, isolated, taken.pages);
        stat.count(cpu, VmEvent::PgActivate, activated);
        stat.count(cpu, pick(VmEvent::PgStealKswapd, VmEvent::PgStealDirect), reclaimed);
        stat.count(cpu, stolen, reclaimed);
        lru.note_cost(cpu, scan.node, file, 0, taken.scanned.saturating_sub(reclaimed));
        scan.scanned += taken.scanned;
        reclaimed
    }

    /// Decides about a page that is on no list and of which we have a reference, and does what is decided but for lists.
    fn reclaim(&self, folio: Folio<'p>) -> Fate {
        if !folio.try_lock() {
            return Fate::Kept;
        }
        let fate = self.decide(folio);
        if fate != Fate::Gone {
            folio.unlock(self.vm.machine().cpu());
        }
        fate
    }

    fn decide(&self, folio: Folio<'p>) -> Fate {
        let flags = folio.flags();
        let (cpu, stat) = (self.vm.machine().cpu(), self.vm.stat());
        if flags.contains(FolioFlags::UNEVICTABLE) {
            return Fate::Kept;
        }
        if folio.mapcount() != 0 || !is_file(folio) {
            return Fate::Active;
        }
        if flags.contains(FolioFlags::WRITEBACK) {
            folio.set_flags(FolioFlags::READAHEAD);
            return Fate::Active;
        }
        // Used once by a system call: that alone does not keep it.
        folio.clear_flags(FolioFlags::REFERENCED);
        if flags.contains(FolioFlags::DIRTY) {
            stat.grow(cpu, folio.node(), NodeStat::VmscanImmediate, folio.order().pages());
            folio.set_flags(FolioFlags::READAHEAD);
            return Fate::Active;
        }
        if self.evict(folio) { Fate::Gone } else { Fate::Kept }
    }

    /// Takes a locked, clean page out of its file and frees it; whether it could.
    fn evict(&self, folio: Folio<'p>) -> bool {
        let Mapping::File(inode) = folio.mapping() else { return false };
        // SAFETY: a locked page that belongs to an inode stands in its index, and an inode lives as long as a page does.
        let inode = unsafe { &*core::ptr::with_exposed_provenance::<Inode<'p>>(inode as usize) };
        let (lru, cache) = (self.vm.lru(), self.vm.cache());
        if !cache.remove(inode, folio, true) {
            return false;
        }
        if let Err(error) = lru.free(self.vm.phys(), folio) {
            self.vm.corrupt(&error);
        }
        true
    }
}
