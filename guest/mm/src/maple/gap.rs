//! Looking for free space, from the top or from the bottom of a window.
//!
//! A node whose largest gap is too small is passed over. A gap with room for the pages wherever they have to start is
//! preferred, because what a node says tells whether it has such a gap: a search goes down one way to it, and at most
//! two more to each end of the window, where gaps are cut. Only when there is none, every gap is tried that may fit.
//! Source: Linux `unmapped_area`, `unmapped_area_topdown` (`mm/vma.c`), which give up instead.

use super::node::Node;
use super::{LIMIT, MapleTree};
use crate::addr::{align_down, align_up};
use core::ops::Range;

/// What is looked for.
struct Wanted {
    window: Range<u64>,
    pages: u64,
    align: u64,
    /// Pages that a gap must have in the window.
    room: u64,
    /// The highest place, not the lowest.
    is_highest: bool,
}

impl Wanted {
    /// The best place in a gap.
    fn fit(&self, gap: Range<u64>) -> Option<u64> {
        let (start, end) = (gap.start.max(self.window.start), gap.end.min(self.window.end));
        if end.checked_sub(start)? < self.room {
            return None;
        }
        if self.is_highest {
            Some(align_down(end - self.pages, self.align)).filter(|at| *at >= start)
        } else {
            align_up(start, self.align).filter(|at| at.checked_add(self.pages).is_some_and(|to| to <= end))
        }
    }

    /// The best place in the gaps before the ranges below `node`.
    fn search(&self, node: &Node<'_>) -> Option<u64> {
        for n in 0..node.len() {
            let at = if self.is_highest { node.len() - 1 - n } else { n };
            let starts_above = at.checked_sub(1).is_some_and(|below| node.first(below) >= self.window.end);
            // The gaps of an entry end before its last range, those of a leaf before its first.
            let behind = if node.level() == 0 { at } else { at + 1 };
            if starts_above || node.first(behind) <= self.window.start {
                continue;
            }
            let found = match node.child(at) {
                None => self.fit(node.gap_start(at)..node.first(at)),
                Some(child) if node.bound(at) >= self.room => self.search(child),
                Some(_) => None,
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

impl<T> MapleTree<'_, T> {
    /// The first page of the highest free place of `pages` pages in `window` that is a multiple of `align`, a power
    /// of two. A gap that has room for `align - 1` pages more goes before one that has not.
    #[must_use]
    pub fn highest_gap(&self, window: Range<u64>, pages: u64, align: u64) -> Option<u64> {
        self.gap(window, pages, align, true)
    }

    /// The same, the lowest.
    #[must_use]
    pub fn lowest_gap(&self, window: Range<u64>, pages: u64, align: u64) -> Option<u64> {
        self.gap(window, pages, align, false)
    }

    fn gap(&self, window: Range<u64>, pages: u64, align: u64, is_highest: bool) -> Option<u64> {
        if pages == 0 || !align.is_power_of_two() {
            return None;
        }
        let window = window.start..window.end.min(LIMIT);
        let mut wanted = Wanted { window, pages, align, room: pages.checked_add(align - 1)?, is_highest };
        self.best(&wanted).or_else(|| {
            wanted.room = pages;
            if align == 1 { None } else { self.best(&wanted) }
        })
    }

    fn best(&self, wanted: &Wanted) -> Option<u64> {
        let behind = || wanted.fit(self.prev(LIMIT).map_or(0, |last| last.end)..LIMIT);
        let between = || wanted.search(self.root.as_deref()?);
        if wanted.is_highest { behind().or_else(between) } else { between().or_else(behind) }
    }
}
