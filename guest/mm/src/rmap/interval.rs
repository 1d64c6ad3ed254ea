//! The areas that show the same file or shared memory, found by page (Linux `i_mmap`, `mm/interval_tree.c`).
//!
//! Owns: a tree threaded through the links. Invariants: links stand in the order of their first pages; each knows how far
//! the areas below it reach, so that a search leaves out every part of the tree where it can find nothing; the tree and the
//! range of a link in it change under the lock of the tree only.
//!
//! The shape is that of a treap: what is higher has the greater weight, and the weight is the address of the link, well
//! mixed. So the tree is as flat as one that was filled in random order, whatever order it was filled in, and nothing has to
//! be kept for that.

use crate::mutant::planted;
use crate::port::Cpu;
use crate::sync::SpinLock;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// Where a part of the tree hangs: a link of this tree, or nothing.
type Place = AtomicPtr<AreaLink>;

/// See the module documentation.
pub struct AreaTree(SpinLock<Tree>);

struct Tree {
    root: Place,
    len: u32,
}

/// An area's place in the tree, and what of it the tree shows.
pub struct AreaLink {
    of: AtomicPtr<AreaTree>,
    left: Place,
    right: Place,
    parent: Place,
    /// The greatest end of all areas that hang here, this one included.
    most: AtomicU64,
    mm: u32,
    /// Its first page in its context.
    start: AtomicU64,
    /// The same page in the memory behind it.
    pgoff: AtomicU64,
    /// The page after its last, in the memory behind it.
    end: AtomicU64,
}

fn get(number: &AtomicU64) -> u64 {
    number.load(Ordering::Relaxed)
}

fn hang(place: &Place, link: Option<&AreaLink>) {
    let to = link.map_or(ptr::null_mut(), |link| ptr::from_ref(link).cast_mut());
    place.store(to, Ordering::Relaxed);
}

impl Tree {
    /// What hangs at a place of this tree.
    #[inline]
    fn at<'t>(&'t self, place: &Place) -> Option<&'t AreaLink> {
        // SAFETY: places of the tree lead to links in it; those stay where they are until they are taken out, under the lock
        // that whoever has the tree holds.
        unsafe { place.load(Ordering::Relaxed).as_ref() }
    }

    /// Where `link` hangs.
    fn place_of<'t>(&'t self, link: &AreaLink) -> &'t Place {
        match self.at(&link.parent) {
            None => &self.root,
            Some(parent) if link.is_at(&parent.left) => &parent.left,
            Some(parent) => &parent.right,
        }
    }

    /// Finds out how far the areas at `link` reach.
    fn measure(&self, link: &AreaLink) {
        let below = [&link.left, &link.right].map(|place| self.at(place).map_or(0, |below| get(&below.most)));
        link.most.store(below.into_iter().fold(get(&link.end), u64::max), Ordering::Relaxed);
    }

    /// As [`Tree::measure`], of `link` and all above it.
    fn measure_up(&self, link: Option<&AreaLink>) {
        let mut next = link;
        while let Some(link) = next {
            self.measure(link);
            next = self.at(&link.parent);
        }
    }

    /// Puts `link` in the place of the one that it hangs on, which hangs on it then. The order stays.
    fn lift(&self, link: &AreaLink) {
        let Some(parent) = self.at(&link.parent) else { return };
        let place = self.place_of(parent);
        let (mine, inner) =
            if link.is_at(&parent.left) { (&parent.left, &link.right) } else { (&parent.right, &link.left) };
        let moved = self.at(inner);
        hang(mine, moved);
        moved.into_iter().for_each(|moved| hang(&moved.parent, Some(parent)));
        hang(&link.parent, self.at(&parent.parent));
        hang(inner, Some(parent));
        hang(&parent.parent, Some(link));
        hang(place, Some(link));
        self.measure(parent);
        self.measure(link);
    }

    fn insert(&self, link: &AreaLink) {
        let (mut place, mut parent) = (&self.root, None);
        while let Some(at) = self.at(place) {
            parent = Some(at);
            place = if get(&link.pgoff) < get(&at.pgoff) { &at.left } else { &at.right };
            at.most.fetch_max(get(&link.end), Ordering::Relaxed);
        }
        hang(&link.parent, parent);
        hang(&link.left, None);
        hang(&link.right, None);
        hang(place, Some(link));
        self.measure(link);
        while self.at(&link.parent).is_some_and(|parent| parent.weight() < link.weight()) {
            self.lift(link);
        }
    }

    fn remove(&self, link: &AreaLink) {
        // Down until no more than one part hangs on it.
        while let (Some(left), Some(right)) = (self.at(&link.left), self.at(&link.right)) {
            self.lift(if left.weight() > right.weight() { left } else { right });
        }
        let (parent, below) = (self.at(&link.parent), self.at(&link.left).or(self.at(&link.right)));
        hang(self.place_of(link), below);
        below.into_iter().for_each(|below| hang(&below.parent, parent));
        if !planted("interval.removed_is_measured") {
            self.measure_up(parent);
        }
    }

    /// The first link at `top` or below whose area has pages in `first..end`.
    fn first_in<'t>(&'t self, top: &'t AreaLink, first: u64, end: u64) -> Option<&'t AreaLink> {
        let mut at = top;
        loop {
            // Where something to the left reaches far enough there is the answer: if the leftmost that does begins too late,
            // all to its right do.
            if let Some(left) = self.at(&at.left).filter(|left| get(&left.most) > first) {
                at = left;
                continue;
            }
            if get(&at.pgoff) >= end {
                return None;
            }
            if get(&at.end) > first {
                return Some(at);
            }
            at = self.at(&at.right).filter(|right| get(&right.most) > first)?;
        }
    }

    /// The link after `link` whose area has pages in `first..end`.
    fn next_in<'t>(&'t self, link: &'t AreaLink, first: u64, end: u64) -> Option<&'t AreaLink> {
        if let Some(right) = self.at(&link.right).filter(|right| get(&right.most) > first) {
            return self.first_in(right, first, end);
        }
        let mut at = link;
        loop {
            let parent = self.at(&at.parent)?;
            let is_after = at.is_at(&parent.left);
            at = parent;
            if !is_after {
                continue;
            }
            if get(&at.pgoff) >= end {
                return None;
            }
            if get(&at.end) > first {
                return Some(at);
            }
            if let Some(right) = self.at(&at.right).filter(|right| get(&right.most) > first) {
                return self.first_in(right, first, end);
            }
        }
    }

    /// Checks what hangs below `link` itself, and that `link` knows it.
    fn check(&self, link: &AreaLink) -> Result<(), &'static str> {
        let (mut most, at) = (get(&link.end), get(&link.pgoff));
        for (place, is_left) in [(&link.left, true), (&link.right, false)] {
            let Some(below) = self.at(place) else { continue };
            most = most.max(get(&below.most));
            if !link.is_at(&below.parent) {
                return Err("a link that does not know where it hangs");
            }
            if below.weight() > link.weight() {
                return Err("a link above one of greater weight");
            }
            let (key, other) = if is_left { (get(&below.pgoff), at) } else { (at, get(&below.pgoff)) };
            if key > other {
                return Err("links out of order");
            }
        }
        if most == get(&link.most) { Ok(()) } else { Err("a link that does not know how far it reaches") }
    }
}

impl AreaTree {
    /// No areas.
    #[must_use]
    pub const fn new() -> Self {
        Self(SpinLock::new(Tree { root: AtomicPtr::new(ptr::null_mut()), len: 0 }))
    }

    /// How many areas there are.
    pub fn len(&self, cpu: &impl Cpu) -> u32 {
        self.0.lock(cpu).len
    }

    /// Whether there is none.
    pub fn is_empty(&self, cpu: &impl Cpu) -> bool {
        self.len(cpu) == 0
    }

    /// Shows every area that shows some of the pages `index..index + pages`, by their first pages: the number of its
    /// context, the first of these pages there, and how many lie in the area. Looks at those, and at few others. Runs under
    /// the lock of the tree: `visit` must not wait for a context.
    pub fn each(&self, cpu: &impl Cpu, index: u64, pages: u64, mut visit: impl FnMut(u32, u64, u64)) {
        let tree = self.0.lock(cpu);
        let end = index.saturating_add(pages);
        let mut next = tree.at(&tree.root).and_then(|root| tree.first_in(root, index, end));
        while let Some(link) = next {
            let (pgoff, start) = (get(&link.pgoff), get(&link.start));
            let first = index.max(pgoff);
            visit(link.mm, start + (first - pgoff), end.min(get(&link.end)) - first);
            next = tree.next_in(link, index, end);
        }
    }

    /// Checks the tree; how many links lie above each other in it, at most.
    ///
    /// # Errors
    /// What does not hold, in words.
    pub fn verify(&self, cpu: &impl Cpu) -> Result<u32, &'static str> {
        let tree = self.0.lock(cpu);
        let (mut next, mut count, mut height, mut last) = (tree.at(&tree.root), 0, 0, 0);
        while let Some(left) = next.and_then(|link| tree.at(&link.left)) {
            next = Some(left);
        }
        while let Some(link) = next {
            tree.check(link)?;
            if get(&link.pgoff) < last || get(&link.end) <= get(&link.pgoff) {
                return Err("links out of order");
            }
            (count, last) = (count + 1, get(&link.pgoff));
            let above = core::iter::successors(Some(link), |link| tree.at(&link.parent)).count();
            height = height.max(above as u32);
            // Every link reaches beyond page 0.
            next = tree.next_in(link, 0, u64::MAX);
        }
        if count == tree.len { Ok(height) } else { Err("links are counted wrong") }
    }
}

impl Default for AreaTree {
    fn default() -> Self {
        Self::new()
    }
}

impl AreaLink {
    /// An area of context `mm` with pages `start..end`, of which the first is page `pgoff` of the memory behind it.
    #[must_use]
    pub const fn new(mm: u32, start: u64, end: u64, pgoff: u64) -> Self {
        Self {
            of: AtomicPtr::new(ptr::null_mut()),
            left: AtomicPtr::new(ptr::null_mut()),
            right: AtomicPtr::new(ptr::null_mut()),
            parent: AtomicPtr::new(ptr::null_mut()),
            most: AtomicU64::new(0),
            mm,
            start: AtomicU64::new(start),
            pgoff: AtomicU64::new(pgoff),
            end: AtomicU64::new(pgoff + (end - start)),
        }
    }

    fn is_at(&self, place: &Place) -> bool {
        ptr::eq(self, place.load(Ordering::Relaxed))
    }

    /// What decides who is higher: the address, every bit of which changes half of the others (splitmix64).
    fn weight(&self) -> u64 {
        let mut mixed = ptr::from_ref(self).addr() as u64;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// The tree that it is in.
    fn tree(&self) -> Option<&AreaTree> {
        // SAFETY: a tree lives as long as a link is in it, and this one is.
        unsafe { self.of.load(Ordering::Acquire).as_ref() }
    }

    /// As [`AreaTree::each`], of the tree that this area is in; the caller keeps the area from being taken away.
    pub fn each(&self, cpu: &impl Cpu, index: u64, pages: u64, visit: impl FnMut(u32, u64, u64)) {
        if let Some(tree) = self.tree() {
            tree.each(cpu, index, pages, visit);
        }
    }

    /// Changes what of the area the tree shows.
    pub fn set_range(&self, cpu: &impl Cpu, start: u64, end: u64, pgoff: u64) {
        let tree = self.tree().map(|tree| tree.0.lock(cpu));
        let moves = pgoff != get(&self.pgoff);
        tree.iter().filter(|_| moves).for_each(|tree| tree.remove(self));
        self.start.store(start, Ordering::Relaxed);
        self.pgoff.store(pgoff, Ordering::Relaxed);
        self.end.store(pgoff + (end - start), Ordering::Relaxed);
        match tree {
            Some(tree) if moves => tree.insert(self),
            Some(tree) => tree.measure_up(Some(self)),
            None => {}
        }
    }

    /// Puts the area in `tree`; it is in none.
    ///
    /// # Safety
    /// The tree lives, and this link stays where it is, until [`AreaLink::detach`].
    pub unsafe fn attach(&self, cpu: &impl Cpu, tree: NonNull<AreaTree>) {
        self.of.store(tree.as_ptr(), Ordering::Release);
        // SAFETY: it lives, as the caller says.
        let mut tree = unsafe { tree.as_ref() }.0.lock(cpu);
        tree.insert(self);
        tree.len += 1;
    }

    /// Takes the area out of its tree, if it is in one.
    pub fn detach(&self, cpu: &impl Cpu) {
        let Some(mut tree) = self.tree().map(|tree| tree.0.lock(cpu)) else { return };
        tree.remove(self);
        tree.len -= 1;
        drop(tree);
        self.of.store(ptr::null_mut(), Ordering::Release);
    }
}
