//! A cache in memory (Linux `struct kmem_cache`): its constants, then a part for each CPU, then one for each node.
//!
//! Owns: the layout, and what may be touched by whom. Invariants: the constants never change after the cache was
//! published; the part of a CPU is touched by that CPU alone, with interrupts masked, but for its counters and its
//! object at hand, which anybody may read; what is behind the lock of a node is touched under it.
//! Source: Linux `struct kmem_cache_cpu` and `struct kmem_cache_node` (`mm/slub.c`).

use super::frame::{LocalList, SlabFrame};
use super::{Geometry, SlabFlags};
use crate::frame::{Frame, FrameIdx, FrameList, FrameTable, NO_FRAME};
use crate::port::{Cpu, CpuId, IrqGuard};
use crate::sync::{Place, SpinGuard, SpinLock};
use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};

/// The longest name of a cache in bytes.
const NAME_BYTES: usize = 31;

/// The name of a cache.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; NAME_BYTES],
    len: u8,
}

impl Name {
    /// `text` as a name; `None` if it is empty or longer than 31 bytes.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; NAME_BYTES];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        (!text.is_empty()).then_some(Self { bytes, len: text.len() as u8 })
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.bytes.get(..usize::from(self.len)).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or("")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A cache of objects of one size. Where it says nothing else, sizes are in bytes.
#[repr(C, align(64))]
pub struct Cache {
    // What the fast paths read comes first.
    pub(super) cpus: NonNull<CpuSlab>,
    /// Links are stored combined with it, if they are.
    pub(super) key: usize,
    /// Where the link of a free object lies.
    pub(super) link: usize,
    /// Bits that are 0 in the offset of every object in its slab. All bits if frees need more than this quick look: they are
    /// checked or zeroed, or the size is no power of two.
    pub(super) misaligned: usize,
    /// 2^64 divided by the size, rounded up: tells whether an object starts at an offset.
    pub(super) inverse: u64,
    /// Links are not stored in the clear.
    pub(super) hardened: bool,
    /// Objects lie at multiples of a power of two all over a slab, with their links, in the clear, at their start; and
    /// they need no care when they are freed.
    pub(super) is_plain: bool,
    /// Objects are zeroed when they are allocated.
    pub(super) zero_on_alloc: bool,
    pub(super) zero_on_free: bool,
    /// Frees are checked or zeroed, or free places are not used again.
    pub(super) is_unusual: bool,
    /// Free places are used again.
    pub(super) reuses: bool,
    /// What the frame of a slab says if it is one of this cache.
    pub(super) mark: u32,
    /// Bytes of a slab, less one.
    pub(super) slab_mask: usize,
    /// What the objects of a slab take.
    pub(super) used_bytes: usize,
    pub(super) table: FrameTable,
    /// 2^32 divided by the size, rounded up: turns an offset into a number of objects.
    pub(super) reciprocal: u64,
    pub(super) geometry: Geometry,
    pub(super) flags: SlabFlags,
    pub(super) ctor: Option<fn(NonNull<u8>)>,
    pub(super) id: u32,
    pub(super) cpu_count: u32,
    pub(super) node_count: u32,
    pub(super) nodes: NonNull<NodeSlabs>,
    /// Slabs with free objects that a CPU keeps.
    pub(super) cpu_partial_max: u32,
    /// Slabs that a CPU keeps even if they are empty.
    pub(super) cpu_empty_max: u32,
    /// Empty slabs that a node keeps (Linux `min_partial`).
    pub(super) min_partial: u32,
    pub(super) name: Name,
}

// SAFETY: the constants are only read; `cpus` and `nodes` follow the rules of the module documentation.
unsafe impl Sync for Cache {}

/// The part of one CPU.
#[repr(C, align(64))]
pub(super) struct CpuSlab {
    /// The head of the active slab, or [`NO_FRAME`].
    active: Cell<NonNull<Frame>>,
    /// The first object of the active slab.
    pub(super) base: Cell<*mut u8>,
    /// Bytes that the objects of the active slab take; 0 without one.
    pub(super) bytes: Cell<u32>,
    /// What the word of a slab says that the CPU owns.
    pub(super) tag: u32,
    /// The object of the active slab that this CPU has freed last, until it is allocated again or the next one is freed;
    /// null for none. The slab counts it as in use. Whoever frees one and takes one touches no list.
    hand: AtomicPtr<u8>,
    pub(super) slab: Cell<Option<FrameIdx>>,
    pub(super) partial_count: Cell<u32>,
    /// Slabs of this CPU with something on their local list.
    pub(super) partial: UnsafeCell<FrameList>,
    pub(super) allocs: AtomicU64,
    pub(super) frees: AtomicU64,
    /// Allocations that took the long way.
    pub(super) slow: AtomicU64,
}

impl CpuSlab {
    pub(super) const fn new(cpu: u32) -> Self {
        Self {
            active: Cell::new(NonNull::from_ref(&NO_FRAME)),
            base: Cell::new(core::ptr::null_mut()),
            bytes: Cell::new(0),
            tag: Place::Owned(cpu).tag(),
            hand: AtomicPtr::new(core::ptr::null_mut()),
            slab: Cell::new(None),
            partial_count: Cell::new(0),
            partial: UnsafeCell::new(FrameList::EMPTY),
            allocs: AtomicU64::new(0),
            frees: AtomicU64::new(0),
            slow: AtomicU64::new(0),
        }
    }

    /// The CPU.
    pub(super) const fn cpu(&self) -> u32 {
        Place::cpu_of(self.tag)
    }

    /// The local list of the active slab; without one a list without objects, which nobody may write.
    #[inline(always)]
    pub(super) fn local(&self) -> LocalList<'_> {
        // SAFETY: `set_active` stored the address of a descriptor; those stay as long as the allocator.
        LocalList::of(unsafe { self.active.get().as_ref() })
    }

    /// The object at hand.
    #[inline(always)]
    pub(super) fn hand(&self) -> Option<NonNull<u8>> {
        NonNull::new(self.hand.load(Relaxed))
    }

    /// Takes the object at hand.
    #[inline(always)]
    pub(super) fn take_hand(&self) -> Option<NonNull<u8>> {
        let object = self.hand()?;
        self.hand.store(core::ptr::null_mut(), Relaxed);
        Some(object)
    }

    /// Keeps a free object of the active slab at hand.
    #[inline(always)]
    pub(super) fn set_hand(&self, object: NonNull<u8>) {
        self.hand.store(object.as_ptr(), Relaxed);
    }

    /// Whether the slab with this head is the active one.
    #[inline(always)]
    pub(super) fn is_active(&self, slab: SlabFrame<'_>) -> bool {
        core::ptr::eq(self.active.get().as_ptr(), slab.frame())
    }

    /// Makes a slab that this CPU owns the active one, with objects from `base` on in `bytes` bytes.
    pub(super) fn set_active(&self, slab: SlabFrame<'_>, base: NonNull<u8>, bytes: u32) {
        slab.set_active(true);
        self.active.set(NonNull::from_ref(slab.frame()));
        self.slab.set(Some(slab.idx()));
        self.base.set(base.as_ptr());
        self.bytes.set(bytes);
    }

    /// Takes the active slab out of use, if there is one.
    pub(super) fn take_active<'t>(&self, table: &'t FrameTable) -> Option<SlabFrame<'t>> {
        let slab = SlabFrame::at(table, self.slab.take()?);
        slab.set_active(false);
        self.active.set(NonNull::from_ref(&NO_FRAME));
        self.bytes.set(0);
        Some(slab)
    }
}

/// Adds one to a counter that only the running CPU writes.
#[inline(always)]
pub(super) fn count(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
}

/// The part of one node.
pub(super) struct NodeSlabs {
    /// Slabs that no CPU owns and that have free objects.
    partial: SpinLock<FrameList>,
    /// How many those are; changes under the lock.
    partial_count: AtomicU64,
    /// Slabs there are, on whatever list or on none.
    pub(super) slabs: AtomicU64,
    /// How often the lock was taken.
    pub(super) locked: AtomicU64,
}

/// The slabs of a node, locked.
pub(super) struct Partial<'a, C: Cpu> {
    list: SpinGuard<'a, FrameList, C>,
    count: &'a AtomicU64,
}

impl NodeSlabs {
    pub(super) const fn empty() -> Self {
        Self {
            partial: SpinLock::new(FrameList::EMPTY),
            partial_count: AtomicU64::new(0),
            slabs: AtomicU64::new(0),
            locked: AtomicU64::new(0),
        }
    }

    /// The list, locked.
    pub(super) fn lock<'a, C: Cpu>(&'a self, cpu: &'a C) -> Partial<'a, C> {
        let list = self.partial.lock(cpu);
        count(&self.locked);
        Partial { list, count: &self.partial_count }
    }

    /// How many slabs are on the list, as seen without the lock.
    pub(super) fn partial_count(&self) -> u64 {
        self.partial_count.load(Relaxed)
    }
}

impl<C: Cpu> Partial<'_, C> {
    pub(super) fn first(&self) -> Option<FrameIdx> {
        self.list.first()
    }

    pub(super) fn iter<'t>(&self, table: &'t FrameTable) -> impl Iterator<Item = FrameIdx> + use<'t, C> {
        self.list.iter(table)
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    pub(super) fn push(&mut self, table: &FrameTable, idx: FrameIdx) {
        self.list.push_back(table, idx);
        self.count.store(self.count() + 1, Relaxed);
    }

    pub(super) fn remove(&mut self, table: &FrameTable, idx: FrameIdx) {
        self.list.remove(table, idx);
        self.count.store(self.count().saturating_sub(1), Relaxed);
    }
}

/// This CPU's part while its interrupts are masked.
pub(super) struct Here<'a, C: Cpu> {
    pub(super) part: &'a CpuSlab,
    _irq: IrqGuard<'a, C>,
}

impl Cache {
    /// Bytes that a cache takes on a machine of that size.
    pub(super) const fn bytes(cpus: u32, nodes: u32) -> usize {
        size_of::<Self>() + cpus as usize * size_of::<CpuSlab>() + nodes as usize * size_of::<NodeSlabs>()
    }

    /// This CPU's part. Interrupts stay masked until the result is dropped.
    #[inline(always)]
    pub(super) fn here<'a, C: Cpu>(&'a self, cpu: &'a C) -> Here<'a, C> {
        let irq = cpu.irq_guard_short();
        let CpuId(cpu) = cpu.id();
        // SAFETY: boot was promised that CPU numbers are below `cpu_count`, and `cpus` has that many parts.
        Here { part: unsafe { self.cpus.add(cpu as usize).as_ref() }, _irq: irq }
    }

    /// The part of each CPU: for its counters, and what it has at hand.
    pub(super) fn all_cpus(&self) -> impl Iterator<Item = &CpuSlab> {
        // SAFETY: as in `here`; of another CPU's part only what is atomic may be read.
        (0..self.cpu_count as usize).map(|cpu| unsafe { self.cpus.add(cpu).as_ref() })
    }

    /// The part of a node; of the last one for numbers that no node has.
    pub(super) fn node(&self, node: usize) -> &NodeSlabs {
        let node = node.min(self.node_count as usize - 1);
        // SAFETY: there is at least one node, and `nodes` has `node_count` parts.
        unsafe { self.nodes.add(node).as_ref() }
    }

    /// The part of each node.
    pub(super) fn all_nodes(&self) -> impl Iterator<Item = &NodeSlabs> {
        (0..self.node_count as usize).map(|node| self.node(node))
    }

    /// Whether every call must take the long way, for its checks.
    #[inline(always)]
    pub(super) fn is_checked(&self) -> bool {
        self.flags.intersects(SlabFlags::DEBUG)
    }

    /// Bytes of an object that its user may use (Linux `slab_ksize`).
    pub(super) fn usable(&self) -> usize {
        let bytes = if self.flags.intersects(SlabFlags::RED_ZONE | SlabFlags::POISON) {
            self.geometry.object_size
        } else if self.flags.intersects(SlabFlags::TYPESAFE_BY_RCU | SlabFlags::STORE_USER)
            || self.ctor.is_some()
        {
            self.geometry.inuse
        } else {
            self.geometry.size
        };
        bytes as usize
    }

    /// One more than the largest number of a CPU.
    #[must_use]
    pub fn cpus(&self) -> u32 {
        self.cpu_count
    }

    /// The name it was made under.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The layout of its objects and slabs.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// What it is for and how it is checked.
    #[must_use]
    pub fn flags(&self) -> SlabFlags {
        self.flags
    }

    /// Whether there is a constructor.
    #[must_use]
    pub fn has_ctor(&self) -> bool {
        self.ctor.is_some()
    }
}
