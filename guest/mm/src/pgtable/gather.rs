//! Batching of what must wait for a flush (Linux `mmu_gather`).
//!
//! Owns: the range whose translations may still be cached, and the tables unlinked from it. Invariants: a
//! table is freed only after the flush of the range it spanned; a gather that is dropped flushes and frees
//! all the same.
//!
//! Unlinked tables are chained through their first entry, which holds the address of the next one: the
//! present bit of an address is 0, so a CPU that still has the table cached finds nothing in it.

use super::slot::{PteSlot, Table};
use super::{Codec, Leaves, PageRange, PageTable, TableFrames};
use crate::addr::{PAGE_SHIFT, PhysAddr, VirtAddr};
use crate::mutant::planted;
use crate::port::{Level, Machine, Pte, PteBits, PteCodec, Tlb};
use core::sync::atomic::{AtomicU64, Ordering};

/// Proof that a gather was flushed: the frames that were unmapped into it may be reused now.
#[derive(Clone, Copy, Debug)]
pub struct Flushed {
    splits: Leaves,
}

impl Flushed {
    /// How many leaves of each size were split along the way (Linux `direct_map_level2_splits`, `level3`).
    #[must_use]
    pub const fn splits(&self) -> &Leaves {
        &self.splits
    }
}

/// Collects changes until one flush covers them all.
#[must_use = "dropping the gather flushes at once"]
pub struct Gather<'a, M: Machine, F: TableFrames> {
    machine: &'a M,
    frames: &'a F,
    /// The CPUs that may have translations, one bit each; without it all may.
    cpus: Option<&'a AtomicU64>,
    /// The first page that CPUs may be wrong about, and the end of such pages; the largest number and 0 for none.
    stale: (u64, u64),
    /// The chain of unlinked tables; its end is known by the count.
    tables: PhysAddr,
    count: u64,
    splits: Leaves,
}

/// No pages at all.
const NOTHING: (u64, u64) = (u64::MAX, 0);
/// Losing one of these, a CPU that has not heard of it would still do what is now forbidden or go unseen.
const LOSS: PteBits = PteBits::WRITE.union(PteBits::USER).union(PteBits::DIRTY).union(PteBits::GLOBAL);
/// Gaining one of these likewise.
const GAIN: PteBits = PteBits::NO_EXEC;
/// Any change of these.
const CHANGE: PteBits = PteBits::WRITE_THROUGH.union(PteBits::NO_CACHE).union(PteBits::HUGE);

/// Whether a CPU may have cached something of `old` that is wrong under `new`.
///
/// More rights need no flush, for a fault on the old ones is spurious and heals itself; nor does a cleared A,
/// which only means that the next use may go uncounted (as Linux on x86).
fn is_stale<C: PteCodec>(old: Pte, new: Pte) -> bool {
    if !C::is_present(old) {
        return false;
    }
    if !C::is_present(new) || C::addr(old) != C::addr(new) {
        return true;
    }
    if old == new {
        return false;
    }
    C::loses(old, new, LOSS.union(CHANGE)) || C::loses(new, old, GAIN.union(CHANGE))
}

impl<'m, M: Machine> PageTable<'m, M> {
    /// An empty gather for changes of this tree, with `frames` for tables that come and go.
    pub fn gather<'a, F: TableFrames>(&self, frames: &'a F) -> Gather<'a, M, F>
    where
        'm: 'a,
    {
        Gather::new(self.machine, frames, None)
    }

    /// As [`PageTable::gather`], for a tree that only the CPUs in `cpus` may have translations of, one bit each. A CPU
    /// sets its bit before it begins to use the tree.
    pub fn gather_on<'a, F: TableFrames>(&self, frames: &'a F, cpus: &'a AtomicU64) -> Gather<'a, M, F>
    where
        'm: 'a,
    {
        Gather::new(self.machine, frames, Some(cpus))
    }
}

impl<'a, M: Machine, F: TableFrames> Gather<'a, M, F> {
    fn new(machine: &'a M, frames: &'a F, cpus: Option<&'a AtomicU64>) -> Self {
        let (stale, tables, splits) = (NOTHING, PhysAddr::default(), Leaves::default());
        Gather { machine, frames, cpus, stale, tables, count: 0, splits }
    }

    /// Flushes, frees the unlinked tables, and gives the proof.
    pub fn finish(mut self) -> Flushed {
        self.flush();
        Flushed { splits: self.splits }
    }

    /// An entry for `range` went from `old` to `new`. For changes made through a [`PteSlot`].
    #[inline]
    pub fn changed(&mut self, range: PageRange, old: Pte, new: Pte) {
        if is_stale::<Codec<M>>(old, new) {
            self.add_range(range);
        }
    }

    /// What CPUs have cached of `range` may be wrong. For changes made through a [`PteSlot`].
    pub fn add(&mut self, range: PageRange) {
        self.add_range(range);
    }

    #[inline]
    pub(super) fn add_range(&mut self, range: PageRange) {
        let ((first, end), (from, to)) = (self.stale, range.bounds());
        self.stale = (first.min(from), end.max(to));
    }

    pub(super) fn add_split(&mut self, range: PageRange, level: Level) {
        self.add_range(range);
        self.splits.add(level, 1);
    }

    /// Takes the empty `table` at `addr`, unlinked from where it spanned `range`.
    pub(super) fn add_table(&mut self, range: PageRange, addr: PhysAddr, table: Table<'_>) {
        self.add_range(range);
        table.slot(0).set(Pte::from_raw(self.tables.get()));
        self.tables = addr;
        self.count += 1;
    }

    pub(super) fn frames(&self) -> &'a F {
        self.frames
    }

    fn flush(&mut self) {
        if planted("vm::flush.tables_go_first") {
            self.free_tables();
        }
        self.flush_stale();
        self.free_tables();
    }

    fn flush_stale(&mut self) {
        let (first, end) = core::mem::replace(&mut self.stale, NOTHING);
        if first < end {
            let (tlb, start) = (self.machine.tlb(), VirtAddr::truncate(first << PAGE_SHIFT));
            match self.cpus {
                // SeqCst: see `Mm::enter`; the changes were made by atomic operations before.
                Some(cpus) => tlb.flush_range_on(cpus.load(Ordering::SeqCst), start, end - first),
                None => tlb.flush_range(start, end - first),
            }
        }
    }

    fn free_tables(&mut self) {
        while self.count > 0 {
            self.count -= 1;
            // SAFETY: `add_table` was given a table at this address, which nobody has freed since.
            let Some(table) = (unsafe { Table::at(self.machine.physmem(), self.tables) }) else { return };
            let link: PteSlot<'_> = table.slot(0);
            let pfn = self.tables.pfn();
            self.tables = PhysAddr::truncate(link.take().raw());
            // SAFETY: the table came from these frames, was unlinked, is empty, and has just been flushed.
            unsafe { self.frames.free_table(pfn) };
        }
    }
}

impl<M: Machine, F: TableFrames> Drop for Gather<'_, M, F> {
    fn drop(&mut self) {
        self.flush();
    }
}
