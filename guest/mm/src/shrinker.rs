//! Shrinkers: whoever keeps memory that others could use says how much, and gives it back when asked (Linux
//! `mm/shrinker.c`, 6.18).
//!
//! Owns: who can be asked, and how much of its objects each is asked for: by how hard memory is to find (`priority`,
//! 12 at first and 0 at last), by what an object costs to make again (`seeks`), in batches, and with what was too
//! little for a batch carried over to the next time. Stays outside: the objects, and when shrinkers are asked.
//! Invariants: no lock is held while a shrinker runs; what is carried over is never more than twice what there is.

use crate::addr::NodeId;
use crate::mutant::planted;
use crate::phys::GfpFlags;
use crate::port::Cpu;
use crate::sync::SpinLock;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What objects cost to make again where nobody knows better (Linux `DEFAULT_SEEKS`).
pub const DEFAULT_SEEKS: u64 = 2;
/// Objects looked at in one call (Linux `SHRINK_BATCH`).
pub const SHRINK_BATCH: u64 = 128;
/// How many shrinkers there can be.
const SLOTS: usize = 16;

/// What a shrinker is asked (Linux `struct shrink_control`).
#[derive(Clone, Copy, Debug)]
pub struct ShrinkControl {
    /// What the allocation may do that memory is sought for.
    pub gfp: GfpFlags,
    /// Where memory is sought.
    pub node: NodeId,
    /// Objects to look at.
    pub nr_to_scan: u64,
    /// Objects that were looked at: `nr_to_scan`, unless the shrinker says otherwise.
    pub nr_scanned: u64,
}

/// Objects that can be freed: what Linux's `count_objects` and `scan_objects` do.
pub trait Shrink: Sync {
    /// How many there are.
    fn count_objects(&self, control: &ShrinkControl) -> u64;
    /// Looks at some and frees what nobody uses; how many. `None` if it can do nothing now, for example because of
    /// `control.gfp` (Linux `SHRINK_STOP`).
    fn scan_objects(&self, control: &mut ShrinkControl) -> Option<u64>;
}

/// One who can be asked.
pub struct Shrinker<'s> {
    name: &'s str,
    objects: &'s dyn Shrink,
    seeks: u64,
    batch: u64,
    numa_aware: bool,
    /// Objects that should have been looked at and were not, for each node (Linux `nr_deferred`).
    deferred: [AtomicU64; NodeId::MAX_NODES],
}

impl<'s> Shrinker<'s> {
    /// With Linux's defaults.
    #[must_use]
    pub const fn new(name: &'s str, objects: &'s dyn Shrink) -> Self {
        Self {
            name,
            objects,
            seeks: DEFAULT_SEEKS,
            batch: SHRINK_BATCH,
            numa_aware: false,
            deferred: [const { AtomicU64::new(0) }; NodeId::MAX_NODES],
        }
    }

    /// What an object costs to make again; 0 for nothing: half of them are looked at each time.
    #[must_use]
    pub const fn seeks(mut self, seeks: u64) -> Self {
        self.seeks = seeks;
        self
    }

    /// Objects looked at in one call; 0 for [`SHRINK_BATCH`].
    #[must_use]
    pub const fn batch(mut self, batch: u64) -> Self {
        self.batch = if batch == 0 { SHRINK_BATCH } else { batch };
        self
    }

    /// The objects of each node are counted by themselves (Linux `SHRINKER_NUMA_AWARE`).
    #[must_use]
    pub const fn numa_aware(mut self) -> Self {
        self.numa_aware = true;
        self
    }

    /// What it is called.
    #[must_use]
    pub const fn name(&self) -> &'s str {
        self.name
    }

    /// How many objects there are on a node.
    #[must_use]
    pub fn count(&self, gfp: GfpFlags, node: NodeId) -> u64 {
        self.objects.count_objects(&ShrinkControl { gfp, node, nr_to_scan: 0, nr_scanned: 0 })
    }

    /// What was put off on a node.
    #[must_use]
    pub fn deferred(&self, node: NodeId) -> u64 {
        self.deferred_on(node).map_or(0, |deferred| deferred.load(Relaxed))
    }

    fn deferred_on(&self, node: NodeId) -> Option<&AtomicU64> {
        self.deferred.get(if self.numa_aware { node.index() } else { 0 })
    }

    /// How many of `freeable` objects are to be looked at for this priority.
    fn share(&self, freeable: u64, priority: u32) -> u64 {
        let wanted = freeable.checked_shr(priority).unwrap_or(0).saturating_mul(4);
        wanted.checked_div(self.seeks).unwrap_or(freeable / 2)
    }

    /// Asks for a share of the objects (Linux `do_shrink_slab`).
    fn shrink(&self, gfp: GfpFlags, node: NodeId, priority: u32) -> Shrunk {
        let mut done = Shrunk::default();
        let freeable = self.count(gfp, node);
        let Some(deferred) = self.deferred_on(node).filter(|_| freeable > 0) else { return done };
        // Taken by one CPU at a time: others find nothing put off meanwhile.
        let before = deferred.swap(0, Relaxed);
        let delta = self.share(freeable, priority);
        let most = freeable.saturating_mul(2);
        let mut left = before.checked_shr(priority).unwrap_or(0).saturating_add(delta).min(most);
        // Less than a batch is not worth a call, unless it is all there is.
        while left >= self.batch || left >= freeable {
            let nr_to_scan = left.min(self.batch);
            let mut control = ShrinkControl { gfp, node, nr_to_scan, nr_scanned: nr_to_scan };
            let Some(freed) = self.objects.scan_objects(&mut control) else { break };
            done.freed += freed;
            done.scanned += control.nr_scanned;
            left = left.saturating_sub(control.nr_scanned);
            if control.nr_scanned == 0 {
                break;
            }
        }
        if !planted("shrinker.forgets_the_rest") {
            let next = before.saturating_add(delta).saturating_sub(done.scanned).min(most);
            deferred.fetch_add(next, Relaxed);
        }
        done
    }
}

/// What asking has brought.
#[derive(Clone, Copy, Default)]
struct Shrunk {
    freed: u64,
    scanned: u64,
}

/// There are too many shrinkers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// All that can be asked, in the order in which they came.
pub struct Shrinkers<'s> {
    list: SpinLock<[Option<&'s Shrinker<'s>>; SLOTS]>,
    /// Objects looked at (`slabs_scanned` of `/proc/vmstat`).
    scanned: AtomicU64,
}

impl<'s> Shrinkers<'s> {
    /// Nobody.
    #[must_use]
    pub const fn new() -> Self {
        Self { list: SpinLock::new([None; SLOTS]), scanned: AtomicU64::new(0) }
    }

    /// From now on `shrinker` is asked too (Linux `shrinker_register`).
    ///
    /// # Errors
    /// [`Full`].
    pub fn register(&self, cpu: &impl Cpu, shrinker: &'s Shrinker<'s>) -> Result<(), Full> {
        let mut list = self.list.lock(cpu);
        let slot = list.iter_mut().find(|slot| slot.is_none()).ok_or(Full)?;
        *slot = Some(shrinker);
        Ok(())
    }

    /// All of them.
    pub fn all<C: Cpu>(&self, cpu: &C) -> impl Iterator<Item = &'s Shrinker<'s>> + use<'s, C> {
        let list = *self.list.lock(cpu);
        list.into_iter().flatten()
    }

    /// Asks everybody for a share of what is kept on a node; how many objects were freed.
    pub fn shrink_slab(&self, cpu: &impl Cpu, gfp: GfpFlags, node: NodeId, priority: u32) -> u64 {
        let mut freed = 0;
        for shrinker in self.all(cpu) {
            let done = shrinker.shrink(gfp, node, priority);
            self.scanned.fetch_add(done.scanned, Relaxed);
            freed += done.freed;
        }
        freed
    }

    /// Asks everybody for everything, again and again while that brings much (Linux `drop_slab`); how many objects were
    /// freed.
    pub fn drop_slab<N: Iterator<Item = NodeId>>(&self, cpu: &impl Cpu, nodes: impl Fn() -> N) -> u64 {
        let mut all = 0;
        for round in 0..u64::BITS {
            let freed: u64 = nodes().map(|node| self.shrink_slab(cpu, GfpFlags::GFP_KERNEL, node, 0)).sum();
            all += freed;
            if freed >> round <= 1 {
                break;
            }
        }
        all
    }

    /// Objects looked at since boot.
    #[must_use]
    pub fn scanned(&self) -> u64 {
        self.scanned.load(Relaxed)
    }
}

impl Default for Shrinkers<'_> {
    fn default() -> Self {
        Self::new()
    }
}
