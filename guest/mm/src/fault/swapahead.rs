//! Pages that were read with the one that was waited for, mapped with it: for swap what `around` is for files (Linux maps
//! only the rest of a large folio so, in `do_swap_page`).
//!
//! From the page on, upwards and then downwards, to the first that is not so: its entry lies in the same table and area and
//! names a slot whose page is in the cache, was read ahead, is up to date, and is nobody's just now. As in Linux on
//! x86 they count as used once: where the monitor shadows the tables, an entry without the accessed bit costs an exit when it is
//! used, which is what this saves.

use super::swapin::Coming;
use super::{Stop, Touch};
use crate::folio::{Folio, FolioFlags};
use crate::mutant::planted;
use crate::pgtable::LastTable;
use crate::phys::FrameAllocator;
use crate::port::{Level, Machine, PteCodec, PteView, SwapEntry};
use crate::space::{Codec, Rss};
use core::ops::Range;

/// Pages that were mapped with another.
#[derive(Default)]
struct Ahead {
    pages: u64,
    /// The last of them in the direction in which there were some first, and its slot.
    last: Option<(u64, SwapEntry)>,
}

impl<'p, M: Machine, A: FrameAllocator<'p>> Touch<'_, 'p, M, A> {
    /// Maps what was read ahead beside the page, whose table is locked.
    pub(super) fn map_ahead(&self, anchor: u64) -> Result<(), Stop> {
        let most = self.vm.swap().most_ahead();
        let Some(table) = self.tree().last_table(self.va()).filter(|_| most > 1) else { return Ok(()) };
        let Range { start, end } = self.beside(most);
        let mut ahead = Ahead::default();
        let mut result = self.map_while(table, self.vpn + 1..end, anchor, &mut ahead);
        let (behind, left) = (ahead.last, (most - 1).saturating_sub(ahead.pages));
        if result.is_ok() {
            let start = start.max(self.vpn.saturating_sub(left));
            result = self.map_while(table, (start..self.vpn).rev(), anchor, &mut ahead);
        }
        if let Some(last) = behind.or(ahead.last) {
            self.vm.swap().mapped_ahead(&self.vma.swap_window, ahead.pages, last);
            self.mm.counters().add_rss(Rss::Anon, ahead.pages);
            self.mm.counters().sub_rss(Rss::Swap, ahead.pages);
        }
        result
    }

    /// Which pages of the context can be mapped with the page, if at most `most` can.
    fn beside(&self, most: u64) -> Range<u64> {
        let table = self.vpn & !(Level::ENTRIES as u64 - 1);
        let first = self.vma.start().max(table);
        let mut end = self.vma.end().min(table + Level::ENTRIES as u64);
        if planted("vm::swap_ahead.areas_do_not_matter") {
            end = table + Level::ENTRIES as u64;
        }
        first.max(self.vpn.saturating_sub(most - 1))..end.min(self.vpn + most)
    }

    /// Maps pages as they come, up to the first that was not read ahead.
    fn map_while(
        &self,
        table: LastTable<'p>,
        pages: impl Iterator<Item = u64>,
        anchor: u64,
        ahead: &mut Ahead,
    ) -> Result<(), Stop> {
        let (swap, cpu) = (self.vm.swap(), self.vm.machine().cpu());
        for vpn in pages {
            let slot = table.slot(vpn);
            let now = slot.load();
            let PteView::Swap { entry: place, .. } = Codec::<M>::view(now) else { break };
            let Some(folio) = swap.lookup(place) else { break };
            if !self.lock_ahead(folio, place) {
                swap.put(folio);
                break;
            }
            folio.clear_flags(FolioFlags::READAHEAD);
            let was = Codec::<M>::bits(now);
            let result = self.enter_swapped(Coming { slot, vpn, was, place, folio, anchor, write: false });
            folio.unlock(cpu);
            swap.put(folio);
            result?;
            ahead.pages += 1;
            ahead.last = Some((vpn, place));
        }
        Ok(())
    }

    /// Locks a page that was found at slot `place`, if it was read ahead and can be mapped as it is.
    fn lock_ahead(&self, folio: Folio<'p>, place: SwapEntry) -> bool {
        let mut wanted = FolioFlags::READAHEAD | FolioFlags::UPTODATE;
        if planted("vm::swap_ahead.unread_pages_are_mapped") {
            wanted -= FolioFlags::UPTODATE;
        }
        // A page that is being written says with the same flag that reclaim waits for it.
        let looked_at = wanted | FolioFlags::WRITEBACK | FolioFlags::LOCKED;
        let is_fit = || folio.flags_acquired() & (looked_at - FolioFlags::LOCKED) == wanted;
        if folio.flags_acquired() & looked_at != wanted || !folio.try_lock() {
            return false;
        }
        // While it was not locked it may have become another slot's, or have been sent away again.
        let is_ours = self.vm.swap().entry_of(folio) == Some(place) && is_fit();
        if !is_ours {
            folio.unlock(self.vm.machine().cpu());
        }
        is_ours
    }
}
