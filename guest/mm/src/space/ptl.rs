//! The lock of one table, in the descriptor of its frame (Linux's split page-table locks).
//!
//! Owns: the lock word. Invariants: taken with interrupts masked, under a lock of the context; the lock of a table is
//! taken after that of a table above it. Frames of tables use their descriptor's word for nothing else.

use super::Vm;
use crate::frame::FrameTable;
use crate::pgtable::PteSlot;
use crate::port::{Cpu, IrqGuard, Machine, PhysMem};
use core::sync::atomic::{AtomicU32, Ordering};

/// The entries of one table are this CPU's to change.
#[must_use = "dropping the guard unlocks at once"]
pub(crate) struct TableGuard<'a, C: Cpu> {
    word: &'a AtomicU32,
    irq: IrqGuard<'a, C>,
}

impl<C: Cpu> TableGuard<'_, C> {
    /// Interrupts are masked as long as this is there.
    #[inline(always)]
    pub(crate) fn masked(&self) -> &IrqGuard<'_, C> {
        &self.irq
    }
}

impl<C: Cpu> Drop for TableGuard<'_, C> {
    #[inline(always)]
    fn drop(&mut self) {
        self.word.store(0, Ordering::Release);
    }
}

impl<'p, M: Machine> Vm<'p, M> {
    /// The lock of the table that `slot` is in.
    #[inline(always)]
    fn lock_of(&self, table: Option<&'p FrameTable>, slot: PteSlot<'_>) -> Option<&'p AtomicU32> {
        let addr = self.machine().physmem().addr_of(slot.place())?;
        let table = table?;
        table.lookup(addr.pfn()).map(|(idx, _)| table.frame(idx).held())
    }

    /// Locks the table that `slot` is in if nobody has it.
    pub(super) fn try_lock_table(&self, slot: PteSlot<'_>) -> Option<TableGuard<'p, M::Cpu>> {
        let irq = self.machine().cpu().irq_guard();
        let word = self.lock_of(self.frame_table(), slot).filter(|word| is_taken(word))?;
        Some(TableGuard { word, irq })
    }

    /// Whether `guard` is of the table that `slot` is in.
    pub(super) fn is_locked(&self, guard: &TableGuard<'p, M::Cpu>, slot: PteSlot<'_>) -> bool {
        self.lock_of(self.frame_table(), slot).is_some_and(|wanted| core::ptr::eq(guard.word, wanted))
    }

    /// Locks the table that `slot` is in.
    #[inline]
    pub(crate) fn lock_table(&self, slot: PteSlot<'_>) -> TableGuard<'p, M::Cpu> {
        self.lock_table_in(self.frame_table(), slot)
    }

    /// As [`Vm::lock_table`], by who has the descriptors at hand.
    #[inline(always)]
    pub(crate) fn lock_table_in(
        &self,
        table: Option<&'p FrameTable>,
        slot: PteSlot<'_>,
    ) -> TableGuard<'p, M::Cpu> {
        let machine = self.machine();
        let irq = machine.cpu().irq_guard();
        let Some(word) = self.lock_of(table, slot) else { return TableGuard { word: &NOBODYS, irq } };
        if !is_taken(word) {
            wait_for(word, machine.cpu());
        }
        TableGuard { word, irq }
    }
}

/// For a table before there are descriptors: then there is nobody else.
static NOBODYS: AtomicU32 = AtomicU32::new(0);

/// Whether the lock was open, and is the caller's now.
#[inline(always)]
fn is_taken(word: &AtomicU32) -> bool {
    word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

/// Takes the lock when its holder lets it go.
#[cold]
fn wait_for(word: &AtomicU32, cpu: &impl Cpu) {
    while !is_taken(word) {
        while word.load(Ordering::Relaxed) != 0 {
            cpu.relax();
        }
    }
}
