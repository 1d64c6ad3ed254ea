//! The tree: its head, its levels, and how an index is looked up.
//!
//! Owns: the arithmetic of indices, and the ways down. Stays outside: changes. Invariants: see `mod.rs`.

use super::Entry;
use super::node::{BITS, Mark, Node, SLOTS};
use crate::sync::SeqCount;
use crate::sync::atomic::{AtomicPtr, AtomicU8, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use crate::sync::rcu::Section;
use core::cell::Cell;
use core::marker::PhantomData;
use core::ptr::null_mut;

/// The last slot of a node.
pub(super) const LAST: u64 = SLOTS as u64 - 1;

/// What the lock of an array protects: the right to change its tree. Whoever has a reference holds the lock.
pub(super) struct Held(PhantomData<Cell<()>>);

impl Held {
    pub(super) const NEW: Self = Self(PhantomData);
}

// SAFETY: interrupts are masked while the lock is held, and `Cell` keeps references to this on the CPU that holds it.
unsafe impl Section for Held {}

/// See the module documentation.
pub(super) struct Tree {
    /// Nothing, the entry at index 0 if there is no other, or the way to the top node.
    head: AtomicPtr<()>,
    /// Marks that some entry has.
    marks: AtomicU8,
    /// Odd while the slots that entries cover are being changed.
    pub(super) shape: SeqCount,
    /// The array whose tree this is, if nodes with nothing but values are listed.
    pub(super) home: AtomicPtr<()>,
}

/// What covers a slot.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    /// The first slot that the entry covers.
    pub(super) offset: usize,
    /// How many it covers: 1 but for entries of several slots.
    pub(super) width: usize,
    pub(super) entry: Entry,
}

/// What stands at an index, and all the indices it stands for.
#[derive(Clone, Copy)]
pub(super) struct Cover {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) entry: Entry,
}

/// An entry that was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// The first index it stands for.
    pub index: u64,
    /// It stands for two to this power.
    pub order: u32,
    /// The entry.
    pub entry: Entry,
}

impl Found {
    /// The last index it stands for.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.index | low_bits(self.order)
    }
}

/// Where a search goes on.
enum Next {
    Found(Found),
    /// Nothing before this index.
    From(u64),
    /// Nothing to the end.
    End,
}

/// The node that an entry leads to.
#[inline(always)]
pub(super) fn node_of<S: Section>(entry: Entry, _section: &S) -> Option<&Node> {
    let node = entry.as_node()?;
    // SAFETY: callers pass an entry that they have read from a tree in this section. A node stays until a grace
    // period after it was taken out of its tree, so until the section ends. Every field of a node is atomic, or never
    // read.
    Some(unsafe { node.as_ref() })
}

/// The lowest `bits` bits set; all for 64 and more.
pub(super) const fn low_bits(bits: u32) -> u64 {
    if bits >= u64::BITS { u64::MAX } else { (1 << bits) - 1 }
}

/// The level at which entries of an order stand.
pub(super) const fn level_of(order: u32) -> u32 {
    order / BITS * BITS
}

/// The slot on the way to an index; larger than any if the index is outside of the node.
#[inline(always)]
pub(super) const fn offset_at(index: u64, shift: u32) -> usize {
    (index >> shift & LAST) as usize
}

/// Whether a top node at this level reaches as far as an index.
#[inline(always)]
pub(super) const fn reaches(shift: u32, index: u64) -> bool {
    index >> shift <= LAST
}

/// The indices of a slot that covers `width` slots from `offset` on, on the way to `index`.
const fn covered(index: u64, shift: u32, offset: usize, width: usize) -> (u64, u64) {
    let first = (index & !low_bits(shift + BITS)) + ((offset as u64) << shift);
    (first, first + (((width as u64) << shift) - 1))
}

impl Node {
    fn slot_now(&self, offset: usize) -> Slot {
        let first = self.entry(offset).as_sibling().unwrap_or(offset);
        let (entry, sibling) = (self.entry(first), Entry::sibling_of(first));
        let mut width = 1;
        while first + width < SLOTS && self.entry(first + width) == sibling {
            width *= 2;
        }
        Slot { offset: first, width, entry }
    }
}

impl Tree {
    #[cfg(not(all(loom, test)))]
    pub(super) const fn new() -> Self {
        Self {
            head: AtomicPtr::new(null_mut()),
            marks: AtomicU8::new(0),
            shape: SeqCount::new(),
            home: AtomicPtr::new(null_mut()),
        }
    }

    #[cfg(all(loom, test))]
    pub(super) fn new() -> Self {
        Self {
            head: AtomicPtr::new(null_mut()),
            marks: AtomicU8::new(0),
            shape: SeqCount::new(),
            home: AtomicPtr::new(null_mut()),
        }
    }

    #[inline(always)]
    pub(super) fn head(&self) -> Entry {
        Entry::from_word(self.head.load(Acquire))
    }

    #[inline(always)]
    pub(super) fn set_head(&self, _held: &Held, entry: Entry) {
        self.head.store(entry.word(), Release);
    }

    /// Whether some entry has the mark.
    #[inline]
    pub(super) fn is_marked(&self, mark: Mark) -> bool {
        self.marks.load(Relaxed) & mark.bit() != 0
    }

    pub(super) fn set_marked(&self, _held: &Held, mark: Mark, is_marked: bool) {
        let others = self.marks.load(Relaxed) & !mark.bit();
        self.marks.store(if is_marked { others | mark.bit() } else { others }, Relaxed);
    }

    /// What covers a slot of `node`.
    #[inline]
    pub(super) fn slot(&self, node: &Node, offset: usize) -> Slot {
        let entry = node.entry(offset);
        if entry.as_sibling().is_none()
            && (offset == SLOTS - 1 || node.entry(offset + 1).as_sibling().is_none())
        {
            return Slot { offset, width: 1, entry };
        }
        self.shape.read(|| node.slot_now(offset))
    }

    /// The entry at `index`.
    #[inline(always)]
    pub(super) fn load<S: Section>(&self, section: &S, index: u64) -> Entry {
        let head = self.head();
        let Some(mut node) = node_of(head, section) else {
            return if index == 0 { head } else { Entry::NULL };
        };
        let mut shift = node.shift();
        if !reaches(shift, index) {
            return Entry::NULL;
        }
        loop {
            let offset = offset_at(index, shift);
            let mut entry = node.entry(offset);
            if !entry.is_internal() {
                return entry;
            }
            if entry.as_sibling().is_some() {
                entry = self.slot(node, offset).entry;
            }
            let Some(child) = node_of(entry, section) else { return entry };
            (node, shift) = (child, shift.wrapping_sub(BITS));
        }
    }

    /// The lowest node on the way to `index` and the slot there; `None` if there is no node on it.
    #[inline(always)]
    pub(super) fn lowest<'s, S: Section>(&self, section: &'s S, index: u64) -> Option<(&'s Node, u32, Slot)> {
        let mut node = node_of(self.head(), section)?;
        let mut shift = node.shift();
        if !reaches(shift, index) {
            return None;
        }
        loop {
            let slot = self.slot(node, offset_at(index, shift));
            let Some(child) = node_of(slot.entry, section) else { return Some((node, shift, slot)) };
            (node, shift) = (child, shift.wrapping_sub(BITS));
        }
    }

    /// What stands at `index`, and how far.
    pub(super) fn cover<S: Section>(&self, section: &S, index: u64) -> Cover {
        let head = self.head();
        let Some(top) = node_of(head, section) else {
            return match index {
                0 => Cover { first: 0, last: 0, entry: head },
                _ => Cover { first: 1, last: u64::MAX, entry: Entry::NULL },
            };
        };
        match self.lowest(section, index) {
            Some((_, shift, slot)) => {
                let (first, last) = covered(index, shift, slot.offset, slot.width);
                Cover { first, last, entry: slot.entry }
            }
            // Beyond the top; if that has changed since, then to be looked at in small steps.
            None if reaches(top.shift(), index) => Cover { first: index, last: index, entry: Entry::NULL },
            None => Cover { first: low_bits(top.shift() + BITS) + 1, last: u64::MAX, entry: Entry::NULL },
        }
    }

    /// The first entry that stands for an index in `first..=last`, and has the mark if one is asked for.
    pub(super) fn find<S: Section>(
        &self,
        section: &S,
        first: u64,
        last: u64,
        mark: Option<Mark>,
    ) -> Option<Found> {
        let mut index = first;
        while index <= last {
            match self.find_on_the_way(section, index, mark) {
                Next::Found(found) => return (found.index <= last).then_some(found),
                Next::From(next) => index = next,
                Next::End => return None,
            }
        }
        None
    }

    /// Goes down once, from `index` on to what comes first.
    fn find_on_the_way<S: Section>(&self, section: &S, mut index: u64, mark: Option<Mark>) -> Next {
        let head = self.head();
        let Some(mut node) = node_of(head, section) else {
            let fits = index == 0 && !head.is_null() && mark.is_none_or(|mark| self.is_marked(mark));
            return if fits { Next::Found(Found { index: 0, order: 0, entry: head }) } else { Next::End };
        };
        let mut shift = node.shift();
        if !reaches(shift, index) {
            return Next::End;
        }
        loop {
            let Some(slot) = self.next_slot(node, offset_at(index, shift), mark) else {
                return (index | low_bits(shift + BITS)).checked_add(1).map_or(Next::End, Next::From);
            };
            let (first, last) = covered(index, shift, slot.offset, slot.width);
            if slot.entry.is_null() {
                // It went while we looked.
                return last.checked_add(1).map_or(Next::End, Next::From);
            }
            index = index.max(first);
            let Some(child) = node_of(slot.entry, section) else {
                let order = shift + slot.width.trailing_zeros();
                return Next::Found(Found { index: first, order, entry: slot.entry });
            };
            (node, shift) = (child, shift.wrapping_sub(BITS));
        }
    }

    /// The slot that covers `offset` or the next after it that is in use and has the mark, if one is asked for.
    fn next_slot(&self, node: &Node, offset: usize, mark: Option<Mark>) -> Option<Slot> {
        let marked = mark.map_or(u64::MAX, |mark| node.marks(mark));
        let here = self.slot(node, offset);
        if !here.entry.is_null() && marked >> here.offset & 1 != 0 {
            return Some(here);
        }
        let from = here.offset + here.width;
        let next = if mark.is_some() {
            (from < SLOTS).then(|| marked >> from << from).filter(|&bits| bits != 0)?.trailing_zeros()
                as usize
        } else {
            (from..SLOTS).find(|&at| !node.entry(at).is_null())?
        };
        Some(self.slot(node, next))
    }

    /// The first index in `first..=last` where `is_gap` holds of what stands there.
    pub(super) fn next_gap<S: Section>(
        &self,
        section: &S,
        first: u64,
        last: u64,
        is_gap: impl Fn(Entry) -> bool,
    ) -> Option<u64> {
        let mut index = first;
        while index <= last {
            let cover = self.cover(section, index);
            if is_gap(cover.entry) {
                return Some(index);
            }
            index = cover.last.checked_add(1)?;
        }
        None
    }

    /// The last index in `first..=last` where `is_gap` holds of what stands there.
    pub(super) fn prev_gap<S: Section>(
        &self,
        section: &S,
        first: u64,
        last: u64,
        is_gap: impl Fn(Entry) -> bool,
    ) -> Option<u64> {
        let mut index = last;
        while index >= first {
            let cover = self.cover(section, index);
            if is_gap(cover.entry) {
                return Some(index);
            }
            index = cover.first.checked_sub(1)?;
        }
        None
    }
}
