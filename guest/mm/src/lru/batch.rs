//! New folios on their way to a list (Linux `struct folio_batch`, `folio_add_lru`, `lru_add_drain`).
//!
//! A CPU collects the numbers of new folios and puts all on their lists at once. Unlike Linux's, a batch has no
//! references, so that a folio which is freed meanwhile is free at once, and nobody has to tell the batch's reference
//! from a user's. A number is a hint: a folio goes on a list if it is [`FolioFlags::PENDING`] when the lock of its node is
//! held, and who frees one takes that flag away under the same lock. What has become of the frame since does not matter: if
//! it is another folio that waits for its list, it goes there a little early.

use super::Lru;
use super::session::Session;
use crate::folio::{Folio, FolioFlags};
use crate::frame::FrameTable;
use crate::port::{Cpu, CpuId, IrqGuard};
use crate::vmstat::NodeStat;
use core::sync::atomic::{AtomicU32, Ordering};

/// Folios in a batch (Linux `PAGEVEC_SIZE`).
pub(super) const BATCH: usize = 31;

/// The batch of one CPU: only that CPU touches it, with interrupts masked.
#[repr(align(64))]
pub(super) struct Batch {
    len: AtomicU32,
    frames: [AtomicU32; BATCH],
}

impl Batch {
    pub(super) const fn new() -> Self {
        Self { len: AtomicU32::new(0), frames: [const { AtomicU32::new(0) }; BATCH] }
    }
}

impl Lru<'_> {
    /// Puts a folio, which is on no list, at the head of the list that its flags say, together with others (Linux
    /// `folio_add_lru`).
    #[inline]
    pub(crate) fn add<C: Cpu>(&self, cpu: &C, folio: Folio<'_>) {
        if !folio.flags().contains(FolioFlags::PENDING) {
            folio.set_flags(FolioFlags::PENDING);
        }
        let _masked = cpu.irq_guard();
        self.collect(cpu, cpu.id(), folio);
    }

    /// As [`Lru::add`], of an anonymous folio that waits for its list from the start, `pages` pages of which are mapped now.
    #[inline(always)]
    pub(crate) fn add_anon<C: Cpu>(&self, cpu: &C, masked: &IrqGuard<'_, C>, folio: Folio<'_>, pages: u64) {
        let id = cpu.id();
        self.stat.grow_on(id, masked, folio.node(), NodeStat::AnonMapped, pages);
        self.collect(cpu, id, folio);
    }

    /// With interrupts masked, on CPU `id`.
    #[inline(always)]
    fn collect<C: Cpu>(&self, cpu: &C, id: CpuId, folio: Folio<'_>) {
        let Some(batch) = self.batches.get(id.0 as usize) else { return };
        let len = batch.len.load(Ordering::Relaxed);
        let Some(slot) = batch.frames.get(len as usize) else { return };
        slot.store(folio.idx().get(), Ordering::Relaxed);
        batch.len.store(len + 1, Ordering::Relaxed);
        if len as usize + 1 == BATCH {
            self.drain(cpu, folio.table());
        }
    }

    /// Puts what the running CPU has collected on its lists (Linux `lru_add_drain`).
    #[inline(never)]
    pub(crate) fn drain<C: Cpu>(&self, cpu: &C, table: &FrameTable) {
        let _masked = cpu.irq_guard();
        let Some(batch) = self.batches.get(cpu.id().0 as usize) else { return };
        let len = batch.len.load(Ordering::Relaxed) as usize;
        let mut session = Session::new(self, cpu, table);
        let mut rest = batch.frames.get(..len).unwrap_or(&[]);
        while !rest.is_empty() {
            let done = session.take_in(rest);
            rest = rest.get(done..).unwrap_or(&[]);
        }
        batch.len.store(0, Ordering::Relaxed);
    }
}
