//! Doubly linked lists threaded through frame descriptors: no memory of their own, removal in O(1).
//!
//! Owns: the link words of the frames that are on a list. Invariants: a frame is on at most one list; `prev` of
//! the first and `next` of the last are "none"; every link holds a frame of the same table.

use super::{Frame, FrameIdx, FrameTable};
use core::sync::atomic::Ordering;

impl Frame {
    #[inline(always)]
    fn next(&self) -> Option<FrameIdx> {
        FrameIdx::trusted(self.next.load(Ordering::Relaxed))
    }

    #[inline(always)]
    fn prev(&self) -> Option<FrameIdx> {
        FrameIdx::trusted(self.prev.load(Ordering::Relaxed))
    }

    #[inline(always)]
    fn set_next(&self, to: Option<FrameIdx>) {
        self.next.store(to.map_or(0, FrameIdx::get), Ordering::Relaxed);
    }

    #[inline(always)]
    fn set_prev(&self, to: Option<FrameIdx>) {
        self.prev.store(to.map_or(0, FrameIdx::get), Ordering::Relaxed);
    }
}

/// A list of blocks, each named by its first frame. Whoever holds it exclusively holds the links, too.
pub(crate) struct FrameList {
    first: Option<FrameIdx>,
    last: Option<FrameIdx>,
}

impl FrameList {
    /// No frames.
    pub(crate) const EMPTY: Self = Self { first: None, last: None };

    /// Whether there are no frames.
    #[inline(always)]
    pub(crate) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The first frame.
    #[inline(always)]
    pub(crate) const fn first(&self) -> Option<FrameIdx> {
        self.first
    }

    /// The last frame.
    #[inline(always)]
    pub(crate) const fn last(&self) -> Option<FrameIdx> {
        self.last
    }

    /// Puts `idx`, which is on no list, in front.
    #[inline(always)]
    pub(crate) fn push_front(&mut self, table: &FrameTable, idx: FrameIdx) {
        let frame = table.frame(idx);
        frame.set_prev(None);
        frame.set_next(self.first);
        match self.first {
            Some(first) => table.frame(first).set_prev(Some(idx)),
            None => self.last = Some(idx),
        }
        self.first = Some(idx);
    }

    /// Puts `idx`, which is on no list, at the end.
    #[inline(always)]
    pub(crate) fn push_back(&mut self, table: &FrameTable, idx: FrameIdx) {
        let frame = table.frame(idx);
        frame.set_next(None);
        frame.set_prev(self.last);
        match self.last {
            Some(last) => table.frame(last).set_next(Some(idx)),
            None => self.first = Some(idx),
        }
        self.last = Some(idx);
    }

    /// Takes out `idx`, which is on this list.
    #[inline(always)]
    pub(crate) fn remove(&mut self, table: &FrameTable, idx: FrameIdx) {
        let frame = table.frame(idx);
        let (prev, next) = (frame.prev(), frame.next());
        match prev {
            Some(prev) => table.frame(prev).set_next(next),
            None => self.first = next,
        }
        match next {
            Some(next) => table.frame(next).set_prev(prev),
            None => self.last = prev,
        }
    }

    /// The frames, first to last.
    pub(crate) fn iter<'a>(&self, table: &'a FrameTable) -> impl Iterator<Item = FrameIdx> + use<'a> {
        core::iter::successors(self.first, move |&idx| table.frame(idx).next())
    }

    /// The first frame whose links do not agree with its neighbours'.
    ///
    /// Stops after `limit` frames, so that a ring ends.
    pub(crate) fn broken_link(&self, table: &FrameTable, limit: u64) -> Option<FrameIdx> {
        let mut before = None;
        for (n, idx) in (0..).zip(self.iter(table)) {
            if table.frame(idx).prev() != before || n >= limit {
                return Some(idx);
            }
            before = Some(idx);
        }
        if self.last == before { None } else { self.last }
    }
}
