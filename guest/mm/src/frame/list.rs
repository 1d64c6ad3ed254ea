//! Lists threaded through frame descriptors: no memory of their own. [`FrameList`] removes anywhere in O(1);
//! [`FrameStack`] gives back the newest and never looks at a neighbour.
//!
//! Owns: the link words of the frames that are on a list. Invariants: a frame is on at most one list; `prev` of
//! the first and `next` of the last are "none"; every link holds a frame of the same table.

use super::{Frame, FrameIdx, FrameTable};
use core::sync::atomic::{AtomicU32, Ordering};

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

/// A stack of blocks, each named by its first frame: only the CPU that owns it changes it; others may look.
#[derive(Default)]
#[repr(transparent)]
pub(crate) struct FrameStack {
    first: AtomicU32,
}

impl FrameStack {
    /// The newest frame.
    #[inline(always)]
    pub(crate) fn first(&self) -> Option<FrameIdx> {
        FrameIdx::trusted(self.first.load(Ordering::Relaxed))
    }

    /// Puts `idx`, which is on no list, on top.
    #[inline(always)]
    pub(crate) fn push(&self, table: &FrameTable, idx: FrameIdx) {
        table.frame(idx).next.store(self.first.load(Ordering::Relaxed), Ordering::Relaxed);
        self.first.store(idx.get(), Ordering::Relaxed);
    }

    /// Takes off the newest frame.
    #[inline(always)]
    pub(crate) fn pop(&self, table: &FrameTable) -> Option<FrameIdx> {
        let idx = self.first()?;
        self.first.store(table.frame(idx).next.load(Ordering::Relaxed), Ordering::Relaxed);
        Some(idx)
    }

    /// The frames, newest first.
    pub(crate) fn iter<'a>(&self, table: &'a FrameTable) -> impl Iterator<Item = FrameIdx> + use<'a> {
        core::iter::successors(self.first(), move |&idx| table.frame(idx).next())
    }
}

/// Blocks on their way to an empty [`FrameStack`], in the order in which it shall give them out.
#[derive(Default)]
pub(crate) struct FrameChain {
    ends: Option<(FrameIdx, FrameIdx)>,
}

impl FrameChain {
    /// Puts `idx`, which is on no list, at the end.
    #[inline(always)]
    pub(crate) fn append(&mut self, table: &FrameTable, idx: FrameIdx) {
        self.ends = match self.ends {
            Some((first, last)) => {
                table.frame(last).set_next(Some(idx));
                Some((first, idx))
            }
            None => Some((idx, idx)),
        };
    }

    /// Makes the chain the contents of `stack`, which is empty.
    pub(crate) fn move_to(self, table: &FrameTable, stack: &FrameStack) {
        if let Some((first, last)) = self.ends {
            table.frame(last).set_next(None);
            stack.first.store(first.get(), Ordering::Relaxed);
        }
    }
}
