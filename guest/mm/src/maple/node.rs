//! Nodes: rows of keys, bounds and slots, and who owns them.
//!
//! Owns: the memory of a node while it is in a tree, and how entries move in and between nodes. Stays outside: what
//! the tree looks like above two neighbours. Invariants: a slot of a node of level 0 holds a value, one of a higher
//! level owns a node one level below; slots are in use from the first on, and what is unused holds [`NONE`]; a node
//! has exactly one [`Owned`], or one slot, that leads to it.

use super::Bag;
use crate::mutant::planted;
use core::marker::PhantomData;
use core::mem::{replace, swap};
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// Entries of a node.
pub(super) const CAPACITY: usize = 10;
/// Entries that a node has at least, unless it is the root.
pub(super) const LEAST: usize = 3;

/// Ranges, or nodes one level below. Keys are apart from the rest: a search reads two cache lines of them.
#[repr(C, align(64))]
pub(super) struct Node<'p> {
    /// How far it is from the leaves.
    level: u32,
    len: u32,
    /// In a leaf: where the range before its first one ends, which is in another leaf; 0 if there is none.
    before: u64,
    /// First pages, ascending.
    first: [u64; CAPACITY],
    /// In a leaf where each range ends, above it the largest gap before a range of each node.
    bound: [u64; CAPACITY],
    slot: [Option<NonNull<()>>; CAPACITY],
    memory: PhantomData<&'p ()>,
}

const _: () = assert!(size_of::<Node<'_>>() == 256);

/// One entry of a node. It owns what its slot owned.
struct Item {
    first: u64,
    bound: u64,
    slot: Option<NonNull<()>>,
}

/// What unused entries hold: above every key, so that a search need not know how many there are.
const NONE: Item = Item { first: u64::MAX, bound: 0, slot: None };

/// Puts `item` at `at`; what was there and behind moves on by one, and the last falls off.
fn shift_in<X>(row: &mut [X; CAPACITY], at: usize, mut item: X) {
    row.iter_mut().skip(at).for_each(|place| swap(place, &mut item));
}

/// Takes the item at `at` out; what is behind it moves up, and `last` becomes the last.
fn shift_out<X>(row: &mut [X; CAPACITY], at: usize, last: X) -> X {
    let mut item = last;
    row.iter_mut().skip(at).rev().for_each(|place| swap(place, &mut item));
    item
}

/// Moves what stands from `at` on to `to_at` and behind in another row.
fn move_tail<X: Copy>(from: &mut [X; CAPACITY], at: usize, to: &mut [X; CAPACITY], to_at: usize, unused: X) {
    for (place, target) in from.iter_mut().skip(at).zip(to.iter_mut().skip(to_at)) {
        *target = replace(place, unused);
    }
}

impl<'p> Node<'p> {
    pub const fn new(level: u32) -> Self {
        Self {
            level,
            len: 0,
            before: 0,
            first: [NONE.first; CAPACITY],
            bound: [NONE.bound; CAPACITY],
            slot: [NONE.slot; CAPACITY],
            memory: PhantomData,
        }
    }

    #[inline(always)]
    pub const fn level(&self) -> u32 {
        self.level
    }

    #[inline(always)]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    #[inline(always)]
    pub const fn is_full(&self) -> bool {
        self.len() == CAPACITY
    }

    /// Where the range before the first one of this leaf ends.
    #[inline(always)]
    pub const fn before(&self) -> u64 {
        self.before
    }

    pub const fn set_before(&mut self, end: u64) {
        self.before = end;
    }

    /// The place of the last entry that does not start above `page`, or else of the first entry.
    #[inline(always)]
    pub fn place(&self, page: u64) -> usize {
        let mut at = 0;
        // Ten places are five, then two or three; every step is a conditional move.
        for step in [5, 2, 1, 1] {
            if self.first.get(at + step).is_some_and(|first| *first <= page) {
                at += step;
            }
        }
        at
    }

    /// First page of an entry, above all pages if there is none.
    #[inline(always)]
    pub fn first(&self, at: usize) -> u64 {
        self.first.get(at).copied().unwrap_or(NONE.first)
    }

    /// The bound of an entry.
    #[inline(always)]
    pub fn bound(&self, at: usize) -> u64 {
        self.bound.get(at).copied().unwrap_or(NONE.bound)
    }

    /// Whether nothing is in a slot.
    pub fn is_empty_at(&self, at: usize) -> bool {
        self.slot.get(at).is_none_or(Option::is_none)
    }

    /// The value of an entry of a leaf.
    #[inline(always)]
    pub fn value(&self, at: usize) -> Option<NonNull<()>> {
        if self.level == 0 { self.slot.get(at).copied().flatten() } else { None }
    }

    /// The node that an entry leads to; a leaf has none.
    #[inline(always)]
    pub fn child(&self, at: usize) -> Option<&Self> {
        if self.level == 0 {
            return None;
        }
        let child = self.slot.get(at).copied().flatten()?;
        // SAFETY: a slot of a node above the leaves owns a node, and `self` is borrowed for as long.
        Some(unsafe { child.cast().as_ref() })
    }

    pub fn child_mut(&mut self, at: usize) -> Option<&mut Self> {
        if self.level == 0 {
            return None;
        }
        let child = self.slot.get(at).copied().flatten()?;
        // SAFETY: a slot of a node above the leaves owns a node, and `self` is borrowed mutably for as long.
        Some(unsafe { child.cast().as_mut() })
    }

    /// Where the gap before the range at `at` of a leaf starts.
    #[inline]
    pub fn gap_start(&self, at: usize) -> u64 {
        match at.checked_sub(1) {
            Some(below) => self.bound(below),
            None => self.before,
        }
    }

    /// The largest gap before one of its ranges.
    pub fn largest_gap(&self) -> u64 {
        if self.level != 0 {
            return self.bound.iter().copied().max().unwrap_or(0);
        }
        let (mut end, mut largest) = (self.before, 0);
        for (first, bound) in self.first.iter().zip(&self.bound).take(self.len()) {
            largest = largest.max(first.saturating_sub(end));
            end = *bound;
        }
        largest
    }

    fn set(&mut self, at: usize, first: u64, bound: u64) {
        if let (Some(key), Some(place)) = (self.first.get_mut(at), self.bound.get_mut(at)) {
            (*key, *place) = (first, bound);
        }
    }

    /// Changes the bounds of a range of this leaf.
    pub fn set_range(&mut self, at: usize, first: u64, end: u64) {
        if self.level == 0 && at < self.len() {
            self.set(at, first, end);
        }
    }

    /// Brings up to date what it says about a node below it.
    pub fn refresh(&mut self, at: usize) {
        if let Some(child) = self.child(at) {
            let (first, gap) = (child.first(0), child.largest_gap());
            self.set(at, first, gap);
        }
    }

    /// Puts a range into this leaf; gives the new node to its right if it was full.
    #[must_use = "the new node belongs into the tree"]
    pub fn add_range(
        &mut self,
        at: usize,
        first: u64,
        end: u64,
        value: NonNull<()>,
        bag: &mut Bag<'p>,
    ) -> Option<Owned<'p>> {
        // Above the leaves it would be taken for a node.
        if self.level != 0 {
            return None;
        }
        self.add(at, Item { first, bound: end, slot: Some(value) }, bag)
    }

    /// Puts a node below this one; gives the new node to its right if it was full.
    #[must_use = "the new node belongs into the tree"]
    pub fn add_child(&mut self, at: usize, child: Owned<'p>, bag: &mut Bag<'p>) -> Option<Owned<'p>> {
        let (first, bound) = (child.first(0), child.largest_gap());
        self.add(at, Item { first, bound, slot: Some(child.into_slot()) }, bag)
    }

    fn add(&mut self, at: usize, item: Item, bag: &mut Bag<'p>) -> Option<Owned<'p>> {
        if !self.is_full() {
            self.put(at, item);
            return None;
        }
        // At the ends more are likely to follow there: nearly all stay together, and the other node has room.
        let left = match at {
            0 => LEAST,
            CAPACITY => CAPACITY + 1 - LEAST,
            _ => CAPACITY.div_ceil(2),
        };
        let goes_left = at < left;
        let stay = left - usize::from(goes_left);
        // Every change counts the nodes it needs before it begins.
        let mut right = bag.take(self.level)?;
        self.move_tail_to(stay, &mut right);
        if goes_left {
            self.put(at, item);
        } else {
            right.put(at - stay + usize::from(planted("maple.a_split_is_off_by_one")), item);
        }
        self.join_ends(&mut right);
        Some(right)
    }

    fn put(&mut self, at: usize, item: Item) {
        shift_in(&mut self.first, at, item.first);
        shift_in(&mut self.bound, at, item.bound);
        shift_in(&mut self.slot, at, item.slot);
        self.len += 1;
    }

    fn pull(&mut self, at: usize) -> Item {
        self.len = self.len.saturating_sub(1);
        Item {
            first: shift_out(&mut self.first, at, NONE.first),
            bound: shift_out(&mut self.bound, at, NONE.bound),
            slot: shift_out(&mut self.slot, at, NONE.slot),
        }
    }

    /// Appends what stands from `at` on to a node of the same level that has room for it.
    fn move_tail_to(&mut self, at: usize, to: &mut Self) {
        let end = to.len();
        move_tail(&mut self.first, at, &mut to.first, end, NONE.first);
        move_tail(&mut self.bound, at, &mut to.bound, end, NONE.bound);
        move_tail(&mut self.slot, at, &mut to.slot, end, NONE.slot);
        to.len += self.len - at as u32;
        self.len = at as u32;
    }

    /// Tells the leaf to the right where this one ends.
    fn join_ends(&self, right: &mut Self) {
        if self.level == 0 && !planted("maple.a_split_forgets_the_end") {
            right.before = self.gap_start(self.len());
        }
    }

    /// Takes a range out of this leaf.
    pub fn remove_range(&mut self, at: usize) {
        if self.value(at).is_some() {
            self.pull(at);
        }
    }

    /// Takes the last node below this one out.
    pub fn take_last_child(&mut self) -> Option<Owned<'p>> {
        let last = self.len().checked_sub(1)?;
        self.child(last)?;
        self.take_child(last)
    }

    fn take_child(&mut self, at: usize) -> Option<Owned<'p>> {
        // The callers have seen a node there.
        self.pull(at).slot.map(|slot| Owned(slot.cast(), PhantomData))
    }

    /// Gives the node at `at`, which has too few entries, some of a neighbour, or makes them one.
    pub fn feed(&mut self, at: usize, bag: &mut Bag<'p>) {
        // The node and its right neighbour; the last node and its left one.
        let left = at.min(self.len().saturating_sub(2));
        let sum = [left, left + 1].map(|at| self.child(at).map_or(0, Self::len)).iter().sum::<usize>();
        if self.child(left + 1).is_none() {
            return;
        }
        let Some(mut right) = self.take_child(left + 1) else { return };
        let Some(node) = self.child_mut(left) else { return };
        if sum <= CAPACITY {
            right.move_tail_to(0, node);
            bag.put(right);
            self.refresh(left);
            return;
        }
        while node.len() < sum / 2 {
            let item = right.pull(0);
            node.put(node.len(), item);
        }
        while node.len() > sum / 2 {
            let item = node.pull(node.len() - 1);
            right.put(0, item);
        }
        node.join_ends(&mut right);
        self.refresh(left);
        // There is room: the neighbour was taken out just now.
        let _ = self.add_child(left + 1, right, bag);
    }
}

/// A node that has no place in a tree yet, the root, or one that is on its way out.
pub(super) struct Owned<'p>(NonNull<Node<'p>>, PhantomData<Node<'p>>);

// SAFETY: it is the only way to its node. Values are carried, never followed.
unsafe impl Send for Owned<'_> {}
// SAFETY: a shared node is only read.
unsafe impl Sync for Owned<'_> {}

impl<'p> Owned<'p> {
    /// Makes an empty node of `memory`.
    ///
    /// # Safety
    /// `memory` has the size and the alignment of a node, is mapped for `'p`, and nobody else uses it.
    pub unsafe fn new(memory: NonNull<u8>, level: u32) -> Self {
        let node = memory.cast::<Node<'p>>();
        // SAFETY: promised by the caller.
        unsafe { node.write(Node::new(level)) };
        Self(node, PhantomData)
    }

    /// The memory of a node that nothing is below.
    pub fn into_memory(self) -> NonNull<u8> {
        self.0.cast()
    }

    fn into_slot(self) -> NonNull<()> {
        self.0.cast()
    }
}

impl<'p> Deref for Owned<'p> {
    type Target = Node<'p>;

    #[inline(always)]
    fn deref(&self) -> &Node<'p> {
        // SAFETY: made of memory for a node, and nobody else leads to it.
        unsafe { self.0.as_ref() }
    }
}

impl<'p> DerefMut for Owned<'p> {
    fn deref_mut(&mut self) -> &mut Node<'p> {
        // SAFETY: as in `deref`.
        unsafe { self.0.as_mut() }
    }
}
