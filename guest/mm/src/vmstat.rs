//! What the memory of contexts does and how much of it there is: Linux's `vm_event_item` and `node_stat_item`.
//!
//! Owns: the counters, one set for each CPU, added up when somebody looks. Stays outside: what happens to pages of
//! zones (`phys` counts that). Invariants: a CPU's set is written by that CPU alone with interrupts masked, so counting
//! needs no locked instruction; an amount may be below zero on one CPU, the sum never is while nothing changes.
//! Source: Linux `mm/vmstat.c`, names of 6.18.

use crate::addr::NodeId;
use crate::frame::ZoneId;
use crate::phys::MAX_CPUS;
use crate::port::{Cpu, CpuId, IrqGuard};
use core::sync::atomic::{AtomicU64, Ordering};

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VmEvent {
    /// Page faults, major ones included.
    PgFault,
    /// Page faults that started input or output.
    PgMajFault,
    /// Write faults that made a page writable that its only owner keeps.
    PgReuse,
    /// Write faults that copied a page. Not one of Linux's names.
    PgCow,
    /// Huge pages that a first touch was given.
    ThpFaultAlloc,
    /// First touches that could have had a huge page and got a small one.
    ThpFaultFallback,
    /// Huge pages that were made single pages.
    ThpSplitPage,
    /// Huge pages that could not be.
    ThpSplitPageFailed,
    /// Entries for huge pages that were divided.
    ThpSplitPmd,
    /// Huge pages of zeroes that were made.
    ThpZeroPageAlloc,
    /// Huge pages of zeroes that could not be made.
    ThpZeroPageAllocFailed,
    /// Huge pages that went to swap page by page.
    ThpSwpoutFallback,
    /// Pages that were locked in memory.
    PgMlocked,
    /// Pages that were unlocked.
    PgMunlocked,
    /// Sectors that were read from disks. Linux shows half of it, in KiB.
    PgPgIn,
    /// Sectors that were written to disks.
    PgPgOut,
    /// Pages that were read from swap.
    PswpIn,
    /// Pages that were written to swap.
    PswpOut,
    /// Pages that became active.
    PgActivate,
    /// Pages that became inactive.
    PgDeactivate,
    /// Pages that may go without being written (`MADV_FREE`).
    PgLazyFree,
    /// Those of them that went.
    PgLazyFreed,
    /// Active pages that were looked at.
    PgRefill,
    /// Pages that kswapd made free.
    PgStealKswapd,
    /// Pages that those who wanted memory made free.
    PgStealDirect,
    /// Inactive pages that kswapd looked at.
    PgScanKswapd,
    /// Inactive pages that those who wanted memory looked at.
    PgScanDirect,
    /// Inactive anonymous pages that were looked at.
    PgScanAnon,
    /// Inactive pages of files that were looked at.
    PgScanFile,
    /// Anonymous pages that were made free.
    PgStealAnon,
    /// Pages of files that were made free.
    PgStealFile,
    /// Tasks that waited because too many were looking for memory.
    PgScanDirectThrottle,
    /// Inodes whose pages were taken for their memory.
    PgInodeSteal,
    /// Times that kswapd found memory below the low mark shortly after it had gone to sleep.
    KswapdLowHit,
    /// Times that kswapd found memory below the high mark shortly after it had gone to sleep.
    KswapdHighHit,
    /// Times that kswapd began to work.
    PageOutRun,
    /// Pages that were put where they go next, once they were written.
    PgRotated,
    /// Times that the page cache was dropped.
    DropPagecache,
    /// Times that shrinkable objects were dropped.
    DropSlab,
    /// Contexts that were killed for their memory.
    OomKill,
    /// Pages that were read from swap before anybody asked for them.
    SwapRa,
    /// Those of them that were mapped later: asked for, or with one that was.
    SwapRaHit,
    /// Pages of zeroes that came back from swap without being read.
    SwpinZero,
    /// Pages of zeroes that went to swap without being written.
    SwpoutZero,
    /// Pages that were found not to be reclaimable.
    UnevictableCulled,
    /// Such pages that were looked at again.
    UnevictableScanned,
    /// Such pages that had become reclaimable.
    UnevictableRescued,
}

impl VmEvent {
    const COUNT: usize = Self::UnevictableRescued as usize + 1;
}

/// What there is of something, in pages unless it says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeStat {
    /// Anonymous pages that are mapped (`nr_anon_pages`).
    AnonMapped,
    /// Huge anonymous pages that are mapped as such (`nr_anon_transparent_hugepages`).
    AnonThps,
    /// Pages of files and of shared memory that are mapped (`nr_mapped`).
    FileMapped,
    /// Pages of shared memory (`nr_shmem`).
    Shmem,
    /// Pages of the page cache, shared memory included (`nr_file_pages`).
    FilePages,
    /// Page tables of contexts (`nr_page_table_pages`).
    PageTables,
    /// Pages locked in memory (`nr_mlock`).
    Mlocked,
    /// Anonymous pages on the inactive list.
    InactiveAnon,
    /// Anonymous pages on the active list.
    ActiveAnon,
    /// Pages of files on the inactive list.
    InactiveFile,
    /// Pages of files on the active list.
    ActiveFile,
    /// Pages that cannot be reclaimed.
    Unevictable,
    /// Anonymous pages that reclaim has taken off their list.
    IsolatedAnon,
    /// Pages of files that reclaim has taken off their list.
    IsolatedFile,
    /// Nodes of indexes that hold shadows alone (`workingset_nodes`).
    WorkingsetNodes,
    /// Anonymous pages that came back, as all counts from here to `WorkingsetNodereclaim` never falling.
    RefaultAnon,
    /// Pages of files that came back.
    RefaultFile,
    /// Anonymous pages that came back soon enough to be active.
    ActivateAnon,
    /// Pages of files that came back soon enough to be active.
    ActivateFile,
    /// Those of them that had been in use again and again before.
    RestoreAnon,
    /// The same for pages of files.
    RestoreFile,
    /// Nodes of shadows that were given back.
    WorkingsetNodereclaim,
    /// Pages of files that their disks do not have yet (`nr_dirty`).
    Dirty,
    /// Pages that are being written (`nr_writeback`).
    Writeback,
    /// Pages that reclaim wrote, never falling.
    VmscanWrite,
    /// Pages that reclaim gave to be freed as soon as they are written, never falling.
    VmscanImmediate,
    /// Pages that became dirty, never falling (`nr_dirtied`).
    Dirtied,
    /// Pages that were written, never falling (`nr_written`).
    Written,
    /// Pages that were written while somebody waited for that, never falling.
    ThrottledWritten,
    /// Pages in memory that have a slot of a swap area, too (`nr_swapcached`).
    SwapCached,
}

impl NodeStat {
    const COUNT: usize = Self::SwapCached as usize + 1;
}

/// How much there is of something in a zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ZoneStat {
    /// Pages locked in memory (`nr_mlock`).
    Mlocked,
    /// Pages that are dirty or being written (`nr_zone_write_pending`).
    WritePending,
}

impl ZoneStat {
    const COUNT: usize = Self::WritePending as usize + 1;
}

/// The counters of one CPU, on cache lines of its own.
#[repr(align(64))]
struct CpuStat {
    events: [AtomicU64; VmEvent::COUNT],
    zones: [[AtomicU64; ZoneStat::COUNT]; ZoneId::SLOTS],
    nodes: [[AtomicU64; NodeStat::COUNT]; NodeId::MAX_NODES],
}

impl CpuStat {
    const fn new() -> Self {
        Self {
            events: [const { AtomicU64::new(0) }; VmEvent::COUNT],
            zones: [const { [const { AtomicU64::new(0) }; ZoneStat::COUNT] }; ZoneId::SLOTS],
            nodes: [const { [const { AtomicU64::new(0) }; NodeStat::COUNT] }; NodeId::MAX_NODES],
        }
    }
}

/// See the module documentation.
pub struct VmStat {
    cpus: [CpuStat; MAX_CPUS],
}

/// Adds to a counter that only the caller writes.
#[inline(always)]
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

/// What the counters of all CPUs come to, and not less than nothing.
fn sum<'a>(counters: impl Iterator<Item = &'a AtomicU64>) -> u64 {
    let sum = counters.fold(0_u64, |sum, counter| sum.wrapping_add(counter.load(Ordering::Relaxed)));
    (sum as i64).max(0) as u64
}

impl VmStat {
    /// Nothing has happened and there is nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { cpus: [const { CpuStat::new() }; MAX_CPUS] }
    }

    /// Counts `n` events on the running CPU.
    #[inline]
    pub fn count(&self, cpu: &impl Cpu, event: VmEvent, n: u64) {
        let masked = cpu.irq_guard();
        self.count_masked(cpu, &masked, event, n);
    }

    /// As [`VmStat::count`], for who has masked interrupts anyway.
    #[inline(always)]
    pub(crate) fn count_masked<C: Cpu>(&self, cpu: &C, _masked: &IrqGuard<'_, C>, event: VmEvent, n: u64) {
        let set = self.cpus.get(cpu.id().0 as usize).and_then(|set| set.events.get(event as usize));
        set.into_iter().for_each(|counter| add(counter, n));
    }

    /// There are `n` more of `stat` on `node`.
    #[inline]
    pub fn grow(&self, cpu: &impl Cpu, node: NodeId, stat: NodeStat, n: u64) {
        let masked = cpu.irq_guard();
        self.grow_on(cpu.id(), &masked, node, stat, n);
    }

    /// As [`VmStat::grow`], for who has masked interrupts anyway and knows that this is CPU `id`.
    #[inline(always)]
    pub(crate) fn grow_on<C: Cpu>(
        &self,
        id: CpuId,
        _masked: &IrqGuard<'_, C>,
        node: NodeId,
        stat: NodeStat,
        n: u64,
    ) {
        let set = self.cpus.get(id.0 as usize).and_then(|set| set.nodes.get(node.index()));
        let counter = set.and_then(|set| set.get(stat as usize));
        counter.into_iter().for_each(|counter| add(counter, n));
    }

    /// There are `n` fewer of `stat` on `node`.
    #[inline]
    pub fn shrink(&self, cpu: &impl Cpu, node: NodeId, stat: NodeStat, n: u64) {
        self.grow(cpu, node, stat, n.wrapping_neg());
    }

    /// There are `n` more of `stat` in `zone`.
    #[inline]
    pub fn grow_zone(&self, cpu: &impl Cpu, zone: ZoneId, stat: ZoneStat, n: u64) {
        let _masked = cpu.irq_guard();
        let set = self.cpus.get(cpu.id().0 as usize).and_then(|set| set.zones.get(zone.slot()));
        let counter = set.and_then(|set| set.get(stat as usize));
        counter.into_iter().for_each(|counter| add(counter, n));
    }

    /// There are `n` fewer of `stat` in `zone`.
    #[inline]
    pub fn shrink_zone(&self, cpu: &impl Cpu, zone: ZoneId, stat: ZoneStat, n: u64) {
        self.grow_zone(cpu, zone, stat, n.wrapping_neg());
    }

    /// How much there is of `stat` in `zone`, as [`VmStat::on_node`].
    pub fn in_zone(&self, zone: ZoneId, stat: ZoneStat) -> u64 {
        sum(self.cpus.iter().filter_map(|set| set.zones.get(zone.slot())?.get(stat as usize)))
    }

    /// How often `event` has happened.
    pub fn event(&self, event: VmEvent) -> u64 {
        let sets = self.cpus.iter().filter_map(|set| set.events.get(event as usize));
        sets.fold(0, |sum, counter| sum.wrapping_add(counter.load(Ordering::Relaxed)))
    }

    /// How much there is of `stat` on `node`. While CPUs change it the sum may be a little off, but not below 0.
    pub fn on_node(&self, node: NodeId, stat: NodeStat) -> u64 {
        sum(self.cpus.iter().filter_map(|set| set.nodes.get(node.index())?.get(stat as usize)))
    }

    /// How much there is of `stat` on all nodes.
    pub fn total(&self, stat: NodeStat) -> u64 {
        (0..NodeId::MAX_NODES as u32).filter_map(NodeId::new).map(|node| self.on_node(node, stat)).sum()
    }
}

impl Default for VmStat {
    fn default() -> Self {
        Self::new()
    }
}
