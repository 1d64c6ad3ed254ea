//! Ranges of virtual pages, and how they fall onto the entries of a level.
//!
//! Invariants: a range lies in one canonical half; `first <= end`, both page numbers (addresses shifted right
//! by 12), so that the range up to the last page has an end that does not wrap.

use crate::addr::{PAGE_SHIFT, PAGE_SIZE, VirtAddr};
use crate::port::Level;

/// Pages `first..end` of the virtual address space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageRange {
    first: u64,
    end: u64,
}

impl PageRange {
    /// `pages` pages from `start`; `None` if `start` is not page-aligned or the range leaves its canonical
    /// half.
    #[must_use]
    pub fn new(start: VirtAddr, pages: u64) -> Option<Self> {
        if start.page_offset() != 0 {
            return None;
        }
        let first = start.vpn().get();
        let bytes = pages.checked_mul(PAGE_SIZE)?;
        if let Some(before_last) = bytes.checked_sub(1) {
            let last = start.checked_add(before_last)?;
            if (last.get() ^ start.get()) >> 63 != 0 {
                return None;
            }
        }
        Some(Self { first, end: first + pages })
    }

    /// `pages` pages of it, after the first `offset`; `None` if it has not so many.
    #[inline]
    #[must_use]
    pub const fn part(self, offset: u64, pages: u64) -> Option<Self> {
        let all = self.pages();
        if offset > all || pages > all - offset {
            return None;
        }
        let first = self.first + offset;
        Some(Self { first, end: first + pages })
    }

    /// The first byte.
    #[inline]
    #[must_use]
    pub const fn start(self) -> VirtAddr {
        VirtAddr::truncate(self.first << PAGE_SHIFT)
    }

    /// How many pages there are.
    #[inline]
    #[must_use]
    pub const fn pages(self) -> u64 {
        self.end - self.first
    }

    /// Whether tables with their root at `root` can map all of it.
    #[must_use]
    pub fn fits(self, root: Level) -> bool {
        // Half of the entries of the root, in pages.
        let half = root.pages() * (Level::ENTRIES as u64 / 2);
        if self.is_upper_half() { self.first >= (1 << (64 - PAGE_SHIFT)) - half } else { self.end <= half }
    }

    /// Whether it lies in the upper half, which all roots share.
    #[inline]
    pub(super) const fn is_upper_half(self) -> bool {
        self.first >> (63 - PAGE_SHIFT) != 0
    }

    /// Its page numbers.
    #[inline]
    pub(super) const fn bounds(self) -> (u64, u64) {
        (self.first, self.end)
    }

    /// Pages `first..end` of it, page numbers that lie in [`PageRange::bounds`].
    #[inline]
    pub(super) const fn cut(self, first: u64, end: u64) -> Self {
        Self { first, end }
    }

    /// Pages from the start of the range to the start of `part` of it.
    #[inline]
    pub(super) const fn offset_of(self, part: Self) -> u64 {
        part.first - self.first
    }

    /// Which entry of a table of `level` covers the first page: below [`Level::ENTRIES`].
    #[inline]
    pub(super) const fn index(self, level: Level) -> usize {
        level.index(VirtAddr::truncate(self.first << PAGE_SHIFT))
    }

    /// The range cut at the borders of `level`'s entries.
    #[inline]
    pub(super) fn spans(self, level: Level) -> Spans {
        Spans { rest: self, pages: level.pages() }
    }
}

/// See [`PageRange::spans`].
pub(super) struct Spans {
    rest: PageRange,
    pages: u64,
}

impl Iterator for Spans {
    type Item = PageRange;

    #[inline]
    fn next(&mut self) -> Option<PageRange> {
        let PageRange { first, end } = self.rest;
        if first >= end {
            return None;
        }
        let border = (first | (self.pages - 1)) + 1;
        let cut = border.min(end);
        self.rest.first = cut;
        Some(PageRange { first, end: cut })
    }
}
