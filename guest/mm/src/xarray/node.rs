//! Nodes: 64 slots, the marks of what is in them, and where the node hangs (Linux `struct xa_node`).
//!
//! Owns: the layout, the memory orderings of slots, and nodes that are in no tree. Invariants: a word that a lookup
//! may read is atomic, and slots are published with Release and read with Acquire. `shift` never changes while a
//! lookup can reach the node. All else is read and written under the lock of the array alone; it is atomic as well,
//! because lookups hold references to the whole node, but costs no more than a plain access.

use super::Entry;
use crate::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};
use core::ptr::{NonNull, null_mut};

/// Bits of an index that one level takes. The model checker looks at small trees.
pub(super) const BITS: u32 = if cfg!(all(loom, test)) { 2 } else { 6 };
/// Slots of a node.
pub(super) const SLOTS: usize = 1 << BITS;
const SLOT_MASK: usize = SLOTS - 1;
/// Marks that an entry can have.
const MARKS: usize = 3;

/// Something that is true of an entry and quick to search for (Linux `PAGECACHE_TAG_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// Not yet written.
    Dirty,
    /// Being written.
    Writeback,
    /// To be written by who marked it.
    Towrite,
}

impl Mark {
    /// All of them.
    pub const ALL: [Self; MARKS] = [Self::Dirty, Self::Writeback, Self::Towrite];

    /// A mask with the bit of this mark.
    #[inline(always)]
    pub(super) const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// See the module documentation.
#[repr(C)]
pub(super) struct Node {
    /// Bits of an index below those that choose the slot.
    shift: AtomicU8,
    /// The slot of the parent that leads here.
    offset: AtomicU8,
    /// Slots that are not empty, siblings and ways to nodes included.
    count: AtomicU8,
    /// Slots with values, their siblings included.
    nr_values: AtomicU8,
    /// Whether it is on a list of nodes with nothing but values.
    is_listed: AtomicBool,
    parent: AtomicPtr<Node>,
    /// The next on a list: of nodes that are in no tree, or of those with nothing but values.
    pub(super) link: AtomicPtr<Node>,
    /// The one before on the latter.
    pub(super) before: AtomicPtr<Node>,
    /// The array it is in, while it is on the latter.
    pub(super) home: AtomicPtr<()>,
    slots: [AtomicPtr<()>; SLOTS],
    marks: [AtomicU64; MARKS],
}

#[cfg(not(all(loom, test)))]
const _: () = assert!(size_of::<Node>() == 576 && align_of::<Node>() == 8);

impl Node {
    /// A node with nothing in it, as the slab cache keeps it.
    pub(super) fn empty() -> Self {
        Self {
            shift: AtomicU8::new(0),
            offset: AtomicU8::new(0),
            count: AtomicU8::new(0),
            nr_values: AtomicU8::new(0),
            is_listed: AtomicBool::new(false),
            parent: AtomicPtr::new(null_mut()),
            link: AtomicPtr::new(null_mut()),
            before: AtomicPtr::new(null_mut()),
            home: AtomicPtr::new(null_mut()),
            slots: core::array::from_fn(|_| AtomicPtr::new(null_mut())),
            marks: core::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    #[inline(always)]
    fn slot(&self, offset: usize) -> &AtomicPtr<()> {
        let [first, ..] = &self.slots;
        self.slots.get(offset & SLOT_MASK).unwrap_or(first)
    }

    #[inline(always)]
    pub(super) fn entry(&self, offset: usize) -> Entry {
        Entry::from_word(self.slot(offset).load(Acquire))
    }

    #[inline(always)]
    pub(super) fn set(&self, offset: usize, entry: Entry) {
        self.slot(offset).store(entry.word(), Release);
    }

    #[inline(always)]
    pub(super) fn shift(&self) -> u32 {
        u32::from(self.shift.load(Relaxed))
    }

    pub(super) fn offset(&self) -> usize {
        usize::from(self.offset.load(Relaxed))
    }

    #[inline(always)]
    pub(super) fn count(&self) -> usize {
        usize::from(self.count.load(Relaxed))
    }

    pub(super) fn nr_values(&self) -> usize {
        usize::from(self.nr_values.load(Relaxed))
    }

    /// Corrects the counts of slots in use and of values. Only [`Tree::adjust`](super::tree::Tree::adjust) sees to lists.
    #[inline(always)]
    pub(super) fn adjust(&self, slots: isize, values: isize) {
        self.count.store(self.count.load(Relaxed).wrapping_add(slots as u8), Relaxed);
        if values != 0 {
            self.nr_values.store(self.nr_values.load(Relaxed).wrapping_add(values as u8), Relaxed);
        }
    }

    /// Whether it is on a list of nodes with nothing but values.
    #[inline(always)]
    pub(super) fn is_listed(&self) -> bool {
        self.is_listed.load(Relaxed)
    }

    pub(super) fn set_listed(&self, is_listed: bool) {
        self.is_listed.store(is_listed, Relaxed);
    }

    pub(super) fn parent(&self) -> Option<NonNull<Self>> {
        NonNull::new(self.parent.load(Relaxed))
    }

    pub(super) fn set_parent(&self, parent: Option<NonNull<Self>>) {
        self.parent.store(parent.map_or(null_mut(), NonNull::as_ptr), Relaxed);
    }

    /// Which slots have the mark.
    #[inline(always)]
    pub(super) fn marks(&self, mark: Mark) -> u64 {
        let [dirty, writeback, towrite] = &self.marks;
        match mark {
            Mark::Dirty => dirty,
            Mark::Writeback => writeback,
            Mark::Towrite => towrite,
        }
        .load(Relaxed)
    }

    pub(super) fn set_marks(&self, mark: Mark, bits: u64) {
        if let Some(word) = self.marks.get(mark as usize) {
            word.store(bits, Relaxed);
        }
    }
}

/// What a node starts with.
pub(super) struct Hang {
    pub(super) shift: u32,
    pub(super) offset: usize,
    pub(super) parent: Option<NonNull<Node>>,
}

/// A node that no tree leads to. Until a grace period is over lookups may still be in it.
pub(super) struct Detached(NonNull<Node>);

impl Detached {
    /// # Safety
    /// `node` is a whole node, and no tree, list or other `Detached` leads to it.
    pub(super) const unsafe fn new(node: NonNull<Node>) -> Self {
        Self(node)
    }

    pub(super) const fn as_ptr(&self) -> NonNull<Node> {
        self.0
    }

    pub(super) const fn node(&self) -> &Node {
        // SAFETY: `new` was promised a whole node; those go back only by way of `as_ptr` of the last owner.
        unsafe { self.0.as_ref() }
    }

    /// Makes it ready to hang in a tree.
    pub(super) fn prepare(&self, hang: &Hang) {
        let node = self.node();
        node.shift.store(hang.shift as u8, Relaxed);
        node.offset.store(hang.offset as u8, Relaxed);
        node.set_parent(hang.parent);
    }

    /// Empties it. No lookup is in it any more.
    pub(super) fn reset(&self) {
        let node = self.node();
        if node.count() != 0 {
            (0..SLOTS).for_each(|offset| node.set(offset, Entry::NULL));
            Mark::ALL.into_iter().for_each(|mark| node.set_marks(mark, 0));
            node.count.store(0, Relaxed);
            node.nr_values.store(0, Relaxed);
        }
    }
}

/// Nodes in no tree, linked through themselves.
pub(super) struct NodeList {
    pub(super) first: *mut Node,
    pub(super) last: *mut Node,
    pub(super) len: usize,
}

impl NodeList {
    pub(super) const EMPTY: Self = Self { first: null_mut(), last: null_mut(), len: 0 };

    #[inline(always)]
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push(&mut self, node: Detached) {
        node.node().link.store(self.first, Relaxed);
        self.first = node.as_ptr().as_ptr();
        if self.last.is_null() {
            self.last = self.first;
        }
        self.len += 1;
    }

    pub(super) fn pop(&mut self) -> Option<Detached> {
        let node = Detached(NonNull::new(self.first)?);
        self.first = node.node().link.load(Relaxed);
        if self.first.is_null() {
            self.last = null_mut();
        }
        self.len -= 1;
        Some(node)
    }
}
