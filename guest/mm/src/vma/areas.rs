//! The areas of one context, in order.
//!
//! Owns: the areas, the tree that finds them, and what the next change may need. Stays outside: the lock over it.
//! Invariants: see [the module](crate::vma). References to areas live as long as the borrow of this, and areas are
//! freed by a method that takes it exclusively, so none is used after it is gone.

use super::objects::Blank;
use super::{Backing, Objects, VmFlags, Vma, VmaInit};
use crate::maple::{Bag, Entry, MapleTree};
use crate::mutant::planted;
use crate::phys::{AllocError, FrameAllocator};
use crate::port::{Cpu, Machine};
use core::ops::Range;

/// At most this many areas come into being in one change: two borders and one that is mapped.
const MOST_NEW: usize = 3;
/// Nodes that are kept for the next change.
const KEPT_NODES: usize = 16;

/// See the module documentation.
pub struct Areas<'p> {
    tree: MapleTree<'p, Vma>,
    bag: Bag<'p>,
    blanks: [Option<Blank>; MOST_NEW],
}

/// What a change needs that is not there yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Need {
    nodes: usize,
    blanks: usize,
}

/// What was allocated for a change.
pub(crate) struct Supply<'p, M: Machine> {
    nodes: crate::maple::Spare<'p, 'p, M>,
    blanks: [Option<Blank>; MOST_NEW],
}

impl<'p, M: Machine> Supply<'p, M> {
    /// Allocates what is needed.
    ///
    /// # Errors
    /// [`AllocError`].
    pub(crate) fn new(
        objects: &Objects<'p, M>,
        need: Need,
        frames: &impl FrameAllocator<'p>,
    ) -> Result<Self, AllocError> {
        let mut supply =
            Self { nodes: objects.nodes(need.nodes, frames)?, blanks: [const { None }; MOST_NEW] };
        for slot in supply.blanks.iter_mut().take(need.blanks) {
            match objects.blank(frames) {
                Ok(blank) => *slot = Some(blank),
                Err(error) => {
                    supply.give_back(objects);
                    return Err(error);
                }
            }
        }
        Ok(supply)
    }

    /// Frees what was not used.
    pub(crate) fn give_back(mut self, objects: &Objects<'p, M>) {
        self.blanks.iter_mut().filter_map(Option::take).for_each(|blank| objects.give_blank(blank));
    }
}

impl<'p> Areas<'p> {
    /// No areas.
    #[must_use]
    pub const fn new() -> Self {
        Self { tree: MapleTree::new(), bag: Bag::new(), blanks: [const { None }; MOST_NEW] }
    }

    /// What is missing for a change that makes `new` areas; `None` if it cannot fail now.
    pub(crate) fn need(&self, new: usize) -> Option<Need> {
        let nodes = self.tree.nodes_for(new).saturating_sub(self.bag.len());
        let blanks = new.saturating_sub(self.blanks.iter().flatten().count());
        (nodes != 0 || blanks != 0).then_some(Need { nodes, blanks })
    }

    /// Takes what was allocated; what there is no room for stays in `supply`.
    pub(crate) fn stock<M: Machine>(&mut self, supply: &mut Supply<'p, M>) {
        self.bag.absorb(&mut supply.nodes);
        let empty = self.blanks.iter_mut().filter(|slot| slot.is_none());
        for (slot, blank) in empty.zip(supply.blanks.iter_mut().filter(|blank| blank.is_some())) {
            *slot = blank.take();
        }
    }

    /// Gives back what is more than the next change may need; everything, with `all`.
    pub(crate) fn trim<M: Machine>(&mut self, objects: &Objects<'p, M>, all: bool) {
        objects.trim(&mut self.bag, if all { 0 } else { KEPT_NODES });
        if all {
            self.blanks.iter_mut().filter_map(Option::take).for_each(|blank| objects.give_blank(blank));
        }
    }

    /// How many areas there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.tree.len() as u64
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    #[inline]
    fn area(&self, entry: Entry<Vma>) -> &Vma {
        // SAFETY: an area in the tree is alive; it is freed only by `remove`, which takes `self` exclusively.
        unsafe { entry.value.as_ref() }
    }

    /// The area that page `vpn` lies in.
    #[inline(always)]
    #[must_use]
    pub fn find(&self, vpn: u64) -> Option<&Vma> {
        self.tree.find(vpn).map(|entry| self.area(entry))
    }

    /// The first area that ends above page `vpn`.
    #[must_use]
    pub fn next_from(&self, vpn: u64) -> Option<&Vma> {
        self.tree.next_from(vpn).map(|entry| self.area(entry))
    }

    /// The last area that starts below page `vpn`.
    #[must_use]
    pub fn before(&self, vpn: u64) -> Option<&Vma> {
        vpn.checked_sub(1).and_then(|last| self.find(last)).or_else(|| self.prev(vpn))
    }

    /// The last area that ends at page `vpn` or below it.
    #[must_use]
    pub fn prev(&self, vpn: u64) -> Option<&Vma> {
        self.tree.prev(vpn).map(|entry| self.area(entry))
    }

    /// The areas that have pages in `window`, in order.
    pub fn iter(&self, window: Range<u64>) -> impl Iterator<Item = &Vma> {
        self.tree.iter(window).map(|entry| self.area(entry))
    }

    /// Where the last area below page `vpn` ends; 0 if there is none.
    #[must_use]
    pub fn end_before(&self, vpn: u64) -> u64 {
        self.prev(vpn).map_or(0, |vma| vma.end().min(vpn))
    }

    /// Where the first area from page `vpn` on starts, if there is one.
    #[must_use]
    pub fn start_after(&self, vpn: u64) -> Option<u64> {
        self.next_from(vpn).map(|vma| vma.start().max(vpn))
    }

    /// The highest place in `window` where `pages` pages are free, a multiple of `align` pages.
    #[must_use]
    pub fn highest_gap(&self, window: Range<u64>, pages: u64, align: u64) -> Option<u64> {
        self.tree.highest_gap(window, pages, align)
    }

    /// Puts an area in; `None` if it overlaps another or nothing was prepared.
    #[must_use = "an area that was not put in is not there"]
    pub(crate) fn insert(&mut self, init: &VmaInit) -> Option<&Vma> {
        let blank = self.blanks.iter_mut().find_map(Option::take)?;
        let vma = blank.fill(init);
        if self.tree.insert(init.start..init.end, vma, &mut self.bag).is_err() {
            let slot = self.blanks.iter_mut().find(|slot| slot.is_none())?;
            *slot = Some(Blank::of(vma));
            return None;
        }
        // SAFETY: it is in the tree now.
        Some(unsafe { vma.as_ref() })
    }

    /// Takes the area that starts at page `first` out and frees it, and its anchor if that has no other. Gives the memory
    /// that was behind it, with the area's reference.
    #[must_use = "who had the memory behind the area must let it go"]
    pub(crate) fn remove<M: Machine>(
        &mut self,
        objects: &Objects<'p, M>,
        cpu: &impl Cpu,
        first: u64,
    ) -> Option<Backing> {
        let entry = self.tree.remove(first, &mut self.bag)?;
        let backing = self.area(entry).backing();
        let anchor = self.area(entry).link.detach(cpu);
        self.area(entry).shown.detach(cpu);
        // SAFETY: it is out of the tree and on no list, and no reference to an area lives beside `&mut self`.
        // Pages name an anchor only while an area linked to it maps them.
        unsafe {
            anchor.into_iter().for_each(|anchor| objects.free_anchor(anchor));
            objects.free_vma(entry.value);
        }
        Some(backing)
    }

    /// Divides the area that page `vpn` lies in, if it starts before it. Whether that could be done.
    #[must_use = "what was not divided is as it was"]
    pub(crate) fn split_at(&mut self, cpu: &impl Cpu, vpn: u64) -> bool {
        let Some(entry) = self.tree.find(vpn).filter(|entry| entry.first < vpn) else { return true };
        let Some(blank) = self.blanks.iter_mut().find_map(Option::take) else { return false };
        let init = {
            let lower = self.area(entry);
            VmaInit { start: vpn, pgoff: lower.index_of(vpn), ..lower.init() }
        };
        let upper = blank.fill(&init);
        let fits = self.tree.set_bounds(entry.first, entry.first..vpn).is_ok()
            && self.tree.insert(vpn..entry.end, upper, &mut self.bag).is_ok();
        if !fits {
            // Nothing was prepared. The bounds were free, so they are again.
            let _ = self.tree.set_bounds(entry.first, entry.range());
            if let Some(slot) = self.blanks.iter_mut().find(|slot| slot.is_none()) {
                *slot = Some(Blank::of(upper));
            }
            return false;
        }
        let lower = self.area(entry);
        // SAFETY: the upper part is in the tree now.
        let upper = unsafe { upper.as_ref() };
        match init.backing {
            // SAFETY: the lower part has a reference.
            Backing::Shmem(object) => unsafe { object.as_ref() }.get(),
            Backing::File(file) => file.hold(),
            Backing::Anon | Backing::Hugetlb(_) => {}
        }
        upper.link_to_object(cpu);
        if !planted("vm::rmap.split_has_no_anchor") {
            upper.share_anchor(cpu, lower);
        }
        lower.set_range(cpu, entry.first, vpn, lower.pgoff());
        true
    }

    /// Joins the areas that meet at page `vpn`, if one could be a part of the other.
    /// Gives the memory behind the one that is gone, with its reference.
    #[must_use = "who had the memory behind the area must let it go"]
    pub(crate) fn join_at<M: Machine>(
        &mut self,
        objects: &Objects<'p, M>,
        cpu: &impl Cpu,
        vpn: u64,
    ) -> Option<Backing> {
        let lower = self.tree.prev(vpn).filter(|entry| entry.end == vpn);
        let upper = self.tree.find(vpn).filter(|entry| entry.first == vpn);
        let (lower, upper) = (lower?, upper?);
        let (a, b) = (self.area(lower), self.area(upper));
        let anchors = (a.link.anchor(), b.link.anchor());
        let agree = match anchors {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        if !agree || !a.continues_in(b) {
            return None;
        }
        if anchors.0.is_none() {
            a.share_anchor(cpu, b);
        }
        // Before the upper goes: a walk from a page of it finds one of the two at any time.
        a.set_range(cpu, lower.first, upper.end, a.pgoff());
        let gone = self.remove(objects, cpu, upper.first);
        // The place was that of the area that is gone.
        let _ = self.tree.set_bounds(lower.first, lower.first..upper.end);
        gone
    }

    /// Moves the start of the area at page `first` down to `start`; whether there was room.
    #[must_use = "what did not grow is as it was"]
    pub(crate) fn grow_down(&mut self, cpu: &impl Cpu, first: u64, start: u64) -> bool {
        let Some(entry) = self.tree.find(first).filter(|entry| entry.first == first && start < first) else {
            return false;
        };
        if self.area(entry).pgoff() < first - start || self.tree.set_bounds(first, start..entry.end).is_err()
        {
            return false;
        }
        let vma = self.area(entry);
        vma.set_range(cpu, start, entry.end, vma.pgoff() - (first - start));
        true
    }

    /// Moves the end of the area at page `first` to `end`; whether there was room.
    #[must_use = "what did not grow is as it was"]
    pub(crate) fn set_end(&mut self, cpu: &impl Cpu, first: u64, end: u64) -> bool {
        let Some(entry) = self.tree.find(first).filter(|entry| entry.first == first && end > first) else {
            return false;
        };
        if self.tree.set_bounds(first, first..end).is_err() {
            return false;
        }
        let vma = self.area(entry);
        vma.set_range(cpu, first, end, vma.pgoff());
        true
    }

    /// Changes rights and treatment of the area that page `vpn` lies in.
    pub(crate) fn set_flags(&mut self, vpn: u64, flags: VmFlags) {
        if let Some(vma) = self.find(vpn) {
            vma.set_flags(flags);
        }
    }

    /// Checks the tree, and that it and the areas say the same.
    ///
    /// # Errors
    /// What does not hold, in words.
    pub fn verify(&self) -> Result<(), &'static str> {
        self.tree.verify().map_err(|violation| violation.what)?;
        let differs = self
            .tree
            .iter(0..crate::maple::LIMIT)
            .any(|entry| self.area(entry).start() != entry.first || self.area(entry).end() != entry.end);
        if differs { Err("an area and the tree disagree about its bounds") } else { Ok(()) }
    }
}

impl Default for Areas<'_> {
    fn default() -> Self {
        Self::new()
    }
}
