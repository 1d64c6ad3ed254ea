//! Sending a range to swap because its owner says that it is not needed soon (Linux `MADV_PAGEOUT`,
//! `reclaim_folio_list`).

use super::evict::Forgotten;
use super::unmap::{checked, pages_of};
use super::{Codec, Errno, Mm, Vm};
use crate::addr::{Order, VirtAddr};
use crate::folio::{Folio, FolioFlags, Mapping};
use crate::phys::FrameAllocator;
use crate::port::{Machine, PteCodec, PteView};
use crate::swap::Writer;
use crate::vmstat::VmEvent;

/// Pages that are unmapped before CPUs are made to forget them (Linux `SWAP_CLUSTER_MAX`).
const BATCH: usize = 32;

/// Folios with a reference each.
struct Pages<'p> {
    list: [Option<Folio<'p>>; BATCH],
    len: usize,
}

impl<'p> Pages<'p> {
    fn push(&mut self, folio: Folio<'p>) -> bool {
        if let Some(slot) = self.list.get_mut(self.len) {
            *slot = Some(folio);
            self.len += 1;
        }
        self.len < BATCH
    }

    fn take(&mut self) -> impl Iterator<Item = Folio<'p>> {
        self.len = 0;
        core::mem::replace(&mut self.list, [None; BATCH]).into_iter().flatten()
    }
}

impl<'p, M: Machine> Vm<'p, M> {
    /// Sends the anonymous pages from `addr` on for `len` bytes to swap, so far as nobody is busy with them; those that were sent
    /// before and were written by now are freed. How many pages are free or on their way.
    ///
    /// # Errors
    /// `Einval` for a bad range; `Ecorrupt`.
    pub fn page_out<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        addr: VirtAddr,
        len: u64,
        frames: &A,
    ) -> Result<u64, Errno> {
        let (mut at, end) = checked(addr, len)?;
        self.split_range(mm, at, end, frames)?;
        let mut writer = Writer::new(self.swap(), frames);
        let mut pages = Pages { list: [None; BATCH], len: 0 };
        let mut sent = 0;
        while at < end {
            at += self.collect(mm, at, end, &mut pages)?;
            sent += self.send(&mut pages, &mut writer, frames);
        }
        Ok(sent)
    }

    /// Makes single pages of the huge pages of a range, so far as nobody is busy with them.
    fn split_range<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        mut from: u64,
        end: u64,
        frames: &A,
    ) -> Result<(), Errno> {
        while from < end {
            let mut huge = None;
            let areas = mm.areas.read(self.machine().cpu());
            from += mm.tree().scan_while(pages_of(from, end)?, |slot, _, _| {
                let _locked = self.lock_table(slot);
                huge = self.folio_of(slot.load()).filter(|folio| folio.order() != Order::ZERO);
                huge.is_none_or(|folio| {
                    folio.get(1);
                    false
                })
            })?;
            drop(areas);
            let Some(folio) = huge else { break };
            if folio.try_lock() {
                if self.split_listed(folio, frames) {
                    self.stat().count(self.machine().cpu(), VmEvent::ThpSwpoutFallback, 1);
                }
                folio.unlock(self.machine().cpu());
            }
            self.swap().put(folio);
        }
        Ok(())
    }

    /// Takes references to the pages of the next entries; how far it came.
    fn collect(&self, mm: &Mm<'p, M>, from: u64, end: u64, pages: &mut Pages<'p>) -> Result<u64, Errno> {
        let _areas = mm.areas.read(self.machine().cpu());
        let done = mm.tree().scan_while(pages_of(from, end)?, |slot, _, _| {
            let _locked = self.lock_table(slot);
            let entry = slot.load();
            let folio = match Codec::<M>::view(entry) {
                PteView::Swap { entry, .. } => self.swap().lookup(entry),
                _ => self.folio_of(entry).inspect(|folio| folio.get(1)),
            };
            folio.is_none_or(|folio| pages.push(folio))
        });
        Ok(done?)
    }

    /// Sends a batch; how many went.
    fn send<A: FrameAllocator<'p>>(
        &self,
        pages: &mut Pages<'p>,
        writer: &mut Writer<'_, 'p, M, A>,
        frames: &A,
    ) -> u64 {
        let (swap, cpu) = (self.swap(), self.machine().cpu());
        let mut forgotten = Forgotten::new();
        let mut unmapped = Pages { list: [None; BATCH], len: 0 };
        for folio in pages.take() {
            if !folio.try_lock() {
                swap.put(folio);
            } else if self.unmap_for_swap(folio, &mut forgotten, frames) {
                let _ = unmapped.push(folio);
            } else {
                folio.unlock(cpu);
                swap.put(folio);
            }
        }
        forgotten.flush(self.machine());
        let mut sent = 0;
        for folio in unmapped.take() {
            sent += 1;
            let is_written =
                folio.flags().contains(FolioFlags::DIRTY) && (writer.write(folio) || !folio.try_lock());
            if is_written {
                swap.put(folio);
            } else if swap.evict(folio, 1, None) {
                folio.clear_flags(FolioFlags::LOCKED | FolioFlags::WAITERS);
                self.free_folio(folio);
            } else {
                folio.unlock(cpu);
                swap.put(folio);
            }
        }
        sent
    }

    /// Gives a locked page a slot, and takes its entries away; whether it can be written or freed now.
    fn unmap_for_swap<A: FrameAllocator<'p>>(
        &self,
        folio: Folio<'p>,
        forgotten: &mut Forgotten,
        frames: &A,
    ) -> bool {
        let flags = folio.flags();
        if folio.order() != Order::ZERO || flags.contains(FolioFlags::WRITEBACK) {
            return false;
        }
        if !flags.contains(FolioFlags::SWAPCACHE) {
            let is_anon = matches!(folio.mapping(), Mapping::Anon(_)) && folio.mapcount() != 0;
            if !is_anon || !self.swap().add(folio, frames) {
                return false;
            }
        }
        folio.is_uptodate() && self.try_to_unmap(folio, forgotten)
    }
}
