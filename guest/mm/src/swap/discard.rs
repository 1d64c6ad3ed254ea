//! Telling a disk that what was in slots is not needed (Linux `discard_swap`, `swap_do_scheduled_discard`).
//!
//! Owns: giving back a whole area before it is used, and clusters when none of their slots is in use any more. Stays
//! outside: which clusters those are (`area`). Invariants: nobody gives slots of a cluster out between the time when its
//! last one is free and that when the disk has it; requests that a disk refuses change nothing.

use super::cluster::SLOTS;
use super::{Area, Extent, Inner, Swap};
use crate::addr::PAGE_SIZE;
use crate::io::Batch;
use crate::mutant::planted;
use crate::phys::FrameAllocator;
use crate::port::{BlockDevice, Cpu, IoError, IoOp, Machine, PAGE_SECTORS, Purpose, SwapEntry};

/// How long switching off waits before it looks again.
const PAUSE_NS: u64 = 100_000;

/// Asks for `pages` pages from `sector` on to be given back.
fn ask<'p, M: Machine, A: FrameAllocator<'p>>(
    batch: &Batch<'_, 'p, M, A>,
    device: &dyn BlockDevice,
    (mut sector, pages): (u64, u64),
) {
    let most = (device.max_discard() / PAGE_SECTORS).max(1);
    let mut left = pages;
    while left != 0 {
        let now = left.min(most);
        batch.command(IoOp::Discard, Purpose::Swap, sector, now * PAGE_SIZE);
        (sector, left) = (sector + now * PAGE_SECTORS, left - now);
    }
}

impl<'p, M: Machine> Swap<'p, M> {
    /// Gives everything back that is in an area at `extents`, but for its header. Before it is switched on; only where
    /// this code can wait.
    ///
    /// # Errors
    /// What the disk says; the area can be used all the same.
    pub fn discard_area(
        &self,
        device: &'p dyn BlockDevice,
        extents: &[Extent],
        frames: &impl FrameAllocator<'p>,
    ) -> Result<(), IoError> {
        self.io.batch(device, frames, |batch| {
            for extent in extents {
                let header = u64::from(extent.slot == 0);
                ask(batch, device, (extent.sector + header * PAGE_SECTORS, extent.pages - header));
            }
        })
    }

    /// Gives the clusters back that nothing is in; how many. Only where this code can wait.
    pub fn discard_freed(&self, frames: &impl FrameAllocator<'p>) -> u64 {
        let mut count = 0;
        for area in &self.areas {
            loop {
                let begin = |inner: &mut Inner<'p>| Some((inner.state.begin_discard()?, inner.device));
                let begun = area.inner.lock(self.cpu()).as_mut().and_then(begin);
                let Some((first, device)) = begun else { break };
                // What it ends with makes no difference.
                let _ = self.io.batch(device, frames, |batch| {
                    let mut slot = first;
                    while slot < first + SLOTS {
                        let place = |inner: &mut Inner<'p>| inner.state.place(slot);
                        let placed = area.inner.lock(self.cpu()).as_mut().and_then(place);
                        let Some((sector, run)) = placed else { break };
                        let pages = run.min(first + SLOTS - slot);
                        let before =
                            if planted("vm::swap.discards_what_is_before") { PAGE_SECTORS } else { 0 };
                        ask(batch, device, (sector.saturating_sub(before), pages));
                        slot += pages;
                    }
                });
                if let Some(inner) = area.inner.lock(self.cpu()).as_mut() {
                    inner.state.end_discard(first);
                }
                count += 1;
            }
        }
        count
    }

    /// Sleeps until there is something for [`Swap::discard_freed`].
    pub fn wait_for_freed(&self) {
        self.cpu().wait_on(self.discard_key(), &mut || {
            self.areas
                .iter()
                .any(|area| area.inner.lock(self.cpu()).as_ref().is_some_and(|inner| inner.state.any_freed()))
        });
    }

    /// The last slot of a cluster may be free now: whoever gives clusters back looks.
    pub(super) fn wake_discarder(&self, entry: SwapEntry) {
        if self.with(entry, |inner, _| inner.state.any_freed()) == Some(true) {
            self.cpu().wake(self.discard_key());
        }
    }

    /// Waits until nothing of a closed area is being given back: its sectors may be somebody else's then.
    pub(super) fn wait_for_discards(&self, area: &Area<'p>) {
        while area.inner.lock(self.cpu()).as_ref().is_some_and(|inner| inner.state.discarding != 0) {
            self.cpu().wait_for(PAUSE_NS);
        }
    }

    fn discard_key(&self) -> u64 {
        core::ptr::from_ref(&self.order).addr() as u64
    }
}
