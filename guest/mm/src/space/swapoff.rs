//! Bringing back what is in a swap area, so that it can be switched off (Linux `try_to_unuse`).

use super::layout::TASK_SIZE;
use super::unmap::pages_of;
use super::{Codec, Errno, Mm, Vm};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, VirtAddr};
use crate::folio::FolioFlags;
use crate::port::{Machine, PteCodec, PteView, SwapEntry};

/// The next entry from a page on that names a slot of an area: its page and the slot.
type Next = Option<(u64, SwapEntry)>;

impl<'p, M: Machine> Vm<'p, M> {
    /// The first page from `from` on whose entry names a slot of area `area`.
    pub(crate) fn next_swapped(&self, mm: &Mm<'p, M>, from: u64, area: u32) -> Result<Next, Errno> {
        let _areas = mm.areas.read(self.machine().cpu());
        let mut found = None;
        mm.tree().scan_while(pages_of(from, TASK_SIZE >> PAGE_SHIFT)?, |slot, _, part| {
            if let PteView::Swap { entry, .. } = Codec::<M>::view(slot.load())
                && entry.area() == area
            {
                found = Some((part.start().vpn().get(), entry));
            }
            found.is_none()
        })?;
        Ok(found)
    }

    /// Empties the cache of an area whose slots no entry names any more.
    pub(crate) fn empty_cache(&self, area: u32) {
        let (swap, cpu) = (self.swap(), self.machine().cpu());
        let mut from = 0;
        while let Some(entry) = swap.next_taken(area, from) {
            from = entry.offset();
            let Some(folio) = swap.lookup(entry) else {
                from += 1;
                continue;
            };
            swap.wait_unlocked(folio, FolioFlags::LOCKED);
            swap.wait_unlocked(folio, FolioFlags::WRITEBACK);
            if folio.try_lock() {
                swap.try_remove(folio);
                folio.unlock(cpu);
            }
            swap.put(folio);
            from += 1;
        }
    }

    /// Waits until what is on its way to swap from `addr` on for `len` bytes is there. Only where this code can wait.
    pub fn settle_swap(&self, mm: &Mm<'p, M>, addr: VirtAddr, len: u64) {
        let (mut at, end) = (addr.vpn().get(), addr.vpn().get() + len.div_ceil(PAGE_SIZE));
        for info in self.swap().areas() {
            while let Ok(Some((vpn, entry))) = self.next_swapped(mm, at, info.area) {
                if vpn >= end {
                    break;
                }
                at = vpn + 1;
                if let Some(folio) = self.swap().lookup(entry) {
                    self.swap().wait_unlocked(folio, FolioFlags::WRITEBACK);
                    self.swap().put(folio);
                }
            }
            at = addr.vpn().get();
        }
    }

    /// Whether there is room in memory for `pages` pages more.
    pub(crate) fn has_room_for(&self, pages: u64) -> bool {
        self.phys().total_free_pages() > pages
    }

    /// How many entries of all contexts and pages of shared memory name a slot.
    pub fn entries_naming(&self, wanted: SwapEntry) -> u32 {
        let mut count = 0;
        for mm in self.mms() {
            let _areas = mm.areas.read(self.machine().cpu());
            let Ok(all) = pages_of(0, TASK_SIZE >> PAGE_SHIFT) else { continue };
            let _ = mm.tree().scan(all, |slot, _, _| {
                if matches!(Codec::<M>::view(slot.load()), PteView::Swap { entry, .. } if entry == wanted) {
                    count += 1;
                }
            });
        }
        count + self.shared_naming(wanted)
    }
}
