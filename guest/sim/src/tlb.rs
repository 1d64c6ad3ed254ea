//! Simulated TLBs, as unhelpful as the architecture allows.
//!
//! Owns: per CPU, cached translations and cached tables (paging-structure caches), both kept until a flush
//! names them; a change of root drops all but global translations. Nothing is ever evicted for want of room,
//! so a forgotten flush shows at the next access. An access that cached rights forbid faults without a new
//! walk, although the entry in memory may allow it by now (a spurious fault), and drops what it faulted on.
//! Invariants: a CPU's cache is locked during a whole access, so a flush waits for accesses under way.
//! Source: Intel SDM vol. 3 ch. 4.10.

use crate::walker::{Leaf, Paging, Request, Table, span_shift};
use crate::{Cpus, Fault, FaultCode, Ram};
use mm::addr::{PAGE_SIZE, Pfn, PhysAddr, VirtAddr};
use mm::port::{Access, Cpu, CpuId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The TLBs of one machine.
pub struct Tlb {
    cpus: Box<[Mutex<Cache>]>,
    /// Who is asking, for a flush of one CPU only.
    players: Arc<Cpus>,
    flushes: AtomicU64,
    full_flushes: AtomicU64,
    broken: AtomicBool,
}

/// What was counted since the machine was built, over all CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TlbStats {
    /// Accesses served from a cached translation.
    pub hits: u64,
    /// Accesses that walked.
    pub walks: u64,
    /// Entries that walks read.
    pub table_reads: u64,
    /// Flushes of a range.
    pub flushes: u64,
    /// Flushes of everything.
    pub full_flushes: u64,
}

/// What one CPU has cached. Keys are a level and an address without the bits below that level.
#[derive(Default)]
pub(crate) struct Cache {
    leaves: HashMap<(u32, u64), Leaf>,
    /// By the level of the entry that leads to the table.
    tables: HashMap<(u32, u64), Table>,
    hits: u64,
    walks: u64,
    table_reads: u64,
}

fn key(level: u32, va: VirtAddr) -> (u32, u64) {
    (level, va.get() >> span_shift(level))
}

impl Cache {
    /// Translates `request` under `root`, from the cache if possible.
    pub fn translate(
        &mut self,
        paging: Paging,
        ram: &Ram,
        root: PhysAddr,
        request: Request,
    ) -> Result<PhysAddr, Fault> {
        let result = self.lookup(request).unwrap_or_else(|| self.walk(paging, ram, root, request));
        match result {
            Ok(leaf) => Ok(leaf.translate(request.va)),
            Err(fault) => {
                self.flush(request.va.get(), PAGE_SIZE);
                Err(fault)
            }
        }
    }

    /// Caches what a speculative load of `request` would find, tables on the way included, whether or not it
    /// arrives. It raises nothing, so it also drops nothing.
    pub fn speculate(&mut self, paging: Paging, ram: &Ram, root: PhysAddr, request: Request) {
        if self.lookup(request).is_none() {
            let _ = self.walk(paging, ram, root, request);
        }
    }

    /// The cached translation or the fault it causes; `None` if a walk is needed.
    fn lookup(&mut self, request: Request) -> Option<Result<Leaf, Fault>> {
        let leaf = *(1..=3).find_map(|level| self.leaves.get(&key(level, request.va)))?;
        if !leaf.rights.allow(request) {
            return Some(Err(request.fault(FaultCode::PRESENT)));
        }
        if request.access == Access::Write && !leaf.dirty {
            // D is to be set in memory, so memory has to be looked at.
            self.leaves.remove(&key(leaf.level, request.va));
            return None;
        }
        self.hits += 1;
        Some(Ok(leaf))
    }

    fn walk(&mut self, paging: Paging, ram: &Ram, root: PhysAddr, request: Request) -> Result<Leaf, Fault> {
        let deepest = (2..=paging.levels).find_map(|level| self.tables.get(&key(level, request.va)));
        let start = deepest.copied().unwrap_or_else(|| paging.root(root));
        self.walks += 1;
        self.table_reads += 1;
        let leaf = paging.walk(ram, start, request, |table| {
            self.table_reads += 1;
            self.tables.insert(key(table.level + 1, request.va), table);
        })?;
        self.leaves.insert(key(leaf.level, request.va), leaf);
        Ok(leaf)
    }

    /// Forgets what overlaps the `bytes` from `start`.
    fn flush(&mut self, start: u64, bytes: u64) {
        let last = start.saturating_add(bytes - 1);
        let apart = |&(level, prefix): &(u32, u64)| {
            let shift = span_shift(level);
            prefix < start >> shift || prefix > last >> shift
        };
        self.leaves.retain(|k, _| apart(k));
        self.tables.retain(|k, _| apart(k));
    }

    fn flush_all(&mut self) {
        self.leaves.clear();
        self.tables.clear();
    }

    fn flush_not_global(&mut self) {
        self.leaves.retain(|_, leaf| leaf.global);
        self.tables.clear();
    }
}

impl Tlb {
    pub(crate) fn new(cpus: &Arc<Cpus>) -> Self {
        Self {
            players: Arc::clone(cpus),
            cpus: cpus.ids().map(|_| Mutex::default()).collect(),
            flushes: AtomicU64::new(0),
            full_flushes: AtomicU64::new(0),
            broken: AtomicBool::new(false),
        }
    }

    /// The cache of CPU `id`, for the time of one access.
    pub(crate) fn cache(&self, id: CpuId) -> MutexGuard<'_, Cache> {
        lock(&self.cpus[id.0 as usize])
    }

    /// What a change of root does to CPU `id`.
    pub(crate) fn change_root(&self, id: CpuId) {
        self.cache(id).flush_not_global();
    }

    /// From now on flushes are counted but do nothing: a machine on which every flush was forgotten.
    pub fn break_flushes(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// Whether a CPU still goes by an entry that names one of the frames from `first` on, for `pages` frames.
    #[must_use]
    pub fn names(&self, first: Pfn, pages: u64) -> bool {
        let frames = first.get()..first.get() + pages;
        let meets = |addr: u64, level: u32| {
            let start = addr / PAGE_SIZE;
            start < frames.end && frames.start < start + (1 << (span_shift(level) - 12))
        };
        self.cpus.iter().map(lock).any(|cache| {
            cache.leaves.values().any(|leaf| meets(leaf.addr, leaf.level))
                || cache.tables.values().any(|table| meets(table.addr, 1))
        })
    }

    /// What has been counted.
    #[must_use]
    pub fn stats(&self) -> TlbStats {
        let counted = TlbStats {
            flushes: self.flushes.load(Ordering::Relaxed),
            full_flushes: self.full_flushes.load(Ordering::Relaxed),
            ..TlbStats::default()
        };
        self.cpus.iter().map(lock).fold(counted, |sum, cache| TlbStats {
            hits: sum.hits + cache.hits,
            walks: sum.walks + cache.walks,
            table_reads: sum.table_reads + cache.table_reads,
            ..sum
        })
    }

    fn each(&self, flush: impl Fn(&mut Cache)) {
        if !self.broken.load(Ordering::Relaxed) {
            self.cpus.iter().for_each(|cache| flush(&mut lock(cache)));
        }
    }
}

/// A test that panicked during an access has left the cache whole.
fn lock(cache: &Mutex<Cache>) -> MutexGuard<'_, Cache> {
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}

impl mm::port::Tlb for Tlb {
    fn flush_range(&self, start: VirtAddr, pages: u64) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        if pages > 0 {
            self.each(|cache| cache.flush(start.get(), pages * PAGE_SIZE));
        }
    }

    fn flush_range_on(&self, cpus: u64, start: VirtAddr, pages: u64) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        let named = self.players.ids().filter(|cpu| cpus >> cpu.0 & 1 != 0);
        if pages > 0 && !self.broken.load(Ordering::Relaxed) {
            named.for_each(|cpu| self.cache(cpu).flush(start.get(), pages * PAGE_SIZE));
        }
    }

    fn flush_all(&self) {
        self.full_flushes.fetch_add(1, Ordering::Relaxed);
        self.each(Cache::flush_all);
    }

    fn flush_local(&self, va: VirtAddr) {
        if !self.broken.load(Ordering::Relaxed) {
            self.cache(self.players.id()).flush(va.get(), PAGE_SIZE);
        }
    }
}
