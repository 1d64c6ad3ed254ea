//! The address range: who has which pages.
//!
//! Owns: the division of the range into segments and what state each is in. Stays outside: page tables and frames.
//! Invariants: the segments cover the range, in order and without gaps; a segment is on the list of its size exactly
//! when it is free, and on the list of freed areas exactly when it is lazy; pages of a freed area become free only by
//! [`Space::release`], which the caller of [`Space::take_lazy`] calls after the flush.
//!
//! Free segments of few pages keep their size: the next area of that size takes one as it is (Linux's pools of
//! `vmap_node`). They are merged when there are many of a size, or when nothing else is large enough.

use super::index::Index;
use super::segment::{GUARD, Kind, Link, Pool, Ref, Segment, State};
use super::sizes::Sizes;
use crate::addr::align_up;
use crate::mutant::planted;
use core::ptr::NonNull;

/// Free segments of at most this many pages keep their size.
const KEPT_PAGES: u64 = 63;
/// But no more than this many of each.
const KEPT_COUNT: u32 = 2048;
/// How many segments that were taken lately are found without a search.
const RECENT: usize = 128;
/// Descriptors that taking an area may need: for what is left over before and after it.
const SPARE: usize = 2;

/// See the module documentation.
pub(super) struct Space {
    pool: Pool,
    index: Index,
    sizes: Sizes,
    first: Link,
    lazy: Link,
    lazy_pages: u64,
    /// Pages of frames that areas own, without those of freed ones.
    used: u64,
    /// Segments that were taken lately, by where they start: most areas are freed soon, and found here.
    recent: [Link; RECENT],
}

/// The place of what starts at `page` among the recent segments.
#[inline]
const fn recent(page: u64) -> usize {
    page as usize % RECENT
}

/// Why an area cannot be freed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NotBusy {
    /// Nothing starts there, or something that never was an area.
    Nothing,
    /// An area that was freed before.
    Freed,
    /// An area that is used otherwise.
    Other,
}

/// Freed areas whose entries no longer translate, in the hands of whoever flushes.
#[must_use = "areas that are dropped are lost"]
pub(super) struct Batch {
    next: Link,
}

/// A freed area that no CPU can reach any more.
#[derive(Clone, Copy)]
pub(super) struct Retired {
    /// First page.
    pub start: u64,
    /// Pages, the guard included.
    pub pages: u64,
    /// Its frames are freed with it.
    pub owns_frames: bool,
}

impl Space {
    pub const fn new() -> Self {
        Self {
            pool: Pool::new(),
            index: Index::new(),
            sizes: Sizes::new(),
            first: None,
            lazy: None,
            lazy_pages: 0,
            used: 0,
            recent: [None; RECENT],
        }
    }

    /// Whether descriptors have to be added before the next change.
    #[inline]
    pub fn is_short(&self) -> bool {
        self.pool.available() < SPARE
    }

    /// Takes a frame for descriptors.
    ///
    /// # Safety
    /// As for [`Pool::add_frame`].
    pub unsafe fn add_frame(&mut self, frame: NonNull<u8>) {
        // SAFETY: promised by the caller.
        unsafe { self.pool.add_frame(frame) }
    }

    /// Makes the range `pages` pages, all free. False without a descriptor, or if that was done before.
    pub fn open(&mut self, pages: u64) -> bool {
        if self.first.is_some() {
            return false;
        }
        self.first = self.pool.make(Segment::new(0, pages, State::Free));
        if let Some(all) = self.first {
            self.index.insert(&mut self.pool, all);
            self.sizes.insert(&mut self.pool, all);
        }
        self.first.is_some()
    }

    /// Takes `pages` pages that start at a multiple of `align` pages, a power of two, and gives the first. `None` if
    /// there are not that many in a row.
    pub fn take(&mut self, pages: u64, align: u64, state: State, caller: u64) -> Option<(Ref, u64)> {
        let room = pages.checked_add(align - 1)?;
        let mut found = self.sizes.find(&self.pool, room);
        if found.is_none() {
            self.merge_all();
            found = self.sizes.find(&self.pool, room);
        }
        let found = found?;
        let &old = self.pool.get(found);
        let (gap, rest) = {
            let start = align_up(old.start, align)?;
            (start - old.start, old.end().checked_sub(start.checked_add(pages)?)?)
        };
        if self.pool.available() < SPARE {
            return None;
        }
        self.sizes.remove(&mut self.pool, found);
        let area = self.cut(found, gap, rest)?;
        let segment = self.pool.get_mut(area);
        (segment.state, segment.caller) = (state, caller);
        let start = segment.start;
        if let Some(slot) = self.recent.get_mut(recent(start)) {
            *slot = Some(area);
        }
        if let State::Busy(Kind::Vmalloc) = state {
            self.used += pages - GUARD;
        }
        Some((area, start))
    }

    /// Cuts `gap` pages off the front and `rest` off the end of a free segment that is on no list, and puts them on
    /// theirs. Gives what is between.
    #[inline]
    fn cut(&mut self, whole: Ref, gap: u64, rest: u64) -> Option<Ref> {
        let mut area = whole;
        if gap > 0 {
            area = self.split(whole, gap)?;
            self.sizes.insert(&mut self.pool, whole);
        }
        if rest > 0 {
            let pages = self.pool.get(area).pages - rest;
            let tail = self.split(area, pages)?;
            self.sizes.insert(&mut self.pool, tail);
        }
        Some(area)
    }

    /// Splits a segment after `pages` pages; gives the new one, the second.
    fn split(&mut self, first: Ref, pages: u64) -> Option<Ref> {
        let &old = self.pool.get(first);
        let mut new = Segment::new(old.start + pages, old.pages - pages, State::Free);
        (new.before, new.after) = (Some(first), old.after);
        let second = self.pool.make(new)?;
        if let Some(after) = old.after {
            self.pool.get_mut(after).before = Some(second);
        }
        let segment = self.pool.get_mut(first);
        (segment.pages, segment.after) = (pages, Some(second));
        self.index.insert(&mut self.pool, second);
        Some(second)
    }

    /// What starts exactly at `page`.
    #[inline]
    fn at(&self, page: u64) -> Option<(Ref, &Segment)> {
        let recent = self.recent.get(recent(page)).copied().flatten();
        // No two segments start at the same page, and what is none starts nowhere.
        let recent = recent.filter(|&it| self.pool.get(it).start == page);
        let found = recent.or_else(|| self.index.find(&self.pool, page))?;
        let segment = self.pool.get(found);
        (segment.start == page).then_some((found, segment))
    }

    /// Makes the area that starts at `page` and `is_right` nobody's, and gives its kind and how many pages it maps. The
    /// caller unmaps it and goes on with [`Space::retire`].
    ///
    /// # Errors
    /// [`NotBusy`]; nothing happens then.
    pub fn begin_free(
        &mut self,
        page: u64,
        is_right: impl FnOnce(Kind) -> bool,
    ) -> Result<(Ref, Kind, u64), NotBusy> {
        let (found, &segment) = self.at(page).ok_or(NotBusy::Nothing)?;
        match segment.state {
            State::Busy(kind) if is_right(kind) => {
                if kind == Kind::Vmalloc {
                    self.used -= if planted("vmalloc.use_drifts") { 0 } else { segment.mapped() };
                }
                self.pool.get_mut(found).state = State::Changing;
                Ok((found, kind, segment.mapped()))
            }
            State::Busy(_) => Err(NotBusy::Other),
            State::Lazy(_) => Err(NotBusy::Freed),
            State::Free | State::Changing => Err(NotBusy::Nothing),
        }
    }

    /// Makes an area that was being changed one that is used.
    pub fn publish(&mut self, area: Ref, kind: Kind) {
        let segment = self.pool.get_mut(area);
        segment.state = State::Busy(kind);
        if kind == Kind::Vmalloc {
            self.used += segment.mapped();
        }
    }

    /// Puts an area whose entries no longer translate on the list of those that wait for a flush; gives how many
    /// pages wait now.
    pub fn retire(&mut self, area: Ref, kind: Kind) -> u64 {
        let lazy = self.lazy.replace(area);
        let segment = self.pool.get_mut(area);
        (segment.state, segment.next) = (State::Lazy(kind), lazy);
        self.lazy_pages += segment.pages;
        self.lazy_pages
    }

    /// All areas that wait for a flush, from the first page to the end of the last, if there are any.
    pub fn take_lazy(&mut self) -> Option<(Batch, core::ops::Range<u64>)> {
        let batch = Batch { next: self.lazy.take() };
        self.lazy_pages = 0;
        let mut span: Option<core::ops::Range<u64>> = None;
        let mut at = batch.next;
        while let Some(area) = at {
            let segment = self.pool.get_mut(area);
            let (start, end) = (segment.start, segment.end());
            let sum = span.get_or_insert(start..end);
            *sum = sum.start.min(start)..sum.end.max(end);
            at = segment.next;
        }
        Some((batch, span?))
    }

    /// The next area of a batch.
    #[inline]
    pub fn next_of(&mut self, batch: &mut Batch) -> Option<(Ref, Retired)> {
        let area = batch.next?;
        let segment = self.pool.get(area);
        batch.next = segment.next;
        let owns_frames = matches!(segment.state, State::Lazy(Kind::Vmalloc));
        Some((area, Retired { start: segment.start, pages: segment.pages, owns_frames }))
    }

    /// Makes the pages of an area free. It is on no list, no CPU has anything of it cached.
    pub fn release(&mut self, area: Ref) {
        let segment = self.pool.get_mut(area);
        segment.state = State::Free;
        let pages = segment.pages;
        if pages > KEPT_PAGES || self.sizes.count(pages) >= KEPT_COUNT {
            self.merge(area);
        } else {
            self.sizes.insert(&mut self.pool, area);
        }
    }

    fn is_free(&self, at: Ref) -> bool {
        self.pool.get(at).state == State::Free
    }

    /// Puts a free segment on the list of its size, after it has taken in its free neighbours.
    fn merge(&mut self, mut area: Ref) {
        while let Some(before) = self.pool.get(area).before.filter(|&it| self.is_free(it)) {
            self.sizes.remove(&mut self.pool, before);
            self.join(before, area);
            area = before;
        }
        while let Some(after) = self.pool.get(area).after.filter(|&it| self.is_free(it)) {
            self.sizes.remove(&mut self.pool, after);
            self.join(area, after);
        }
        self.sizes.insert(&mut self.pool, area);
    }

    /// Makes a segment and the one after it one. Neither is on a list.
    fn join(&mut self, first: Ref, second: Ref) {
        self.index.remove(&mut self.pool, second);
        let &gone = self.pool.get(second);
        if let Some(after) = gone.after.filter(|_| !planted("vmalloc.joins_one_way")) {
            self.pool.get_mut(after).before = Some(first);
        }
        let segment = self.pool.get_mut(first);
        segment.pages += gone.pages;
        segment.after = gone.after;
        self.pool.discard(second);
    }

    /// Merges all free neighbours.
    #[cold]
    fn merge_all(&mut self) {
        let mut at = self.first;
        while let Some(here) = at {
            if self.is_free(here) {
                self.sizes.remove(&mut self.pool, here);
                self.merge(here);
            }
            at = self.pool.get(here).after;
        }
    }

    /// The segment around `page`.
    pub fn segment_at(&self, page: u64) -> Option<Segment> {
        let found = self.index.find(&self.pool, page)?;
        Some(*self.pool.get(found))
    }

    /// Pages of frames that areas in use own.
    pub const fn used(&self) -> u64 {
        self.used
    }

    /// Pages that wait for a flush, guards included.
    pub const fn lazy_pages(&self) -> u64 {
        self.lazy_pages
    }

    /// Frames that hold descriptors.
    pub const fn descriptor_frames(&self) -> u64 {
        self.pool.frames()
    }

    /// Checks every invariant that can be seen at rest.
    ///
    /// # Errors
    /// What does not hold, in words.
    pub fn verify(&self, pages: u64) -> Result<(), &'static str> {
        let (mut at, mut expected, mut before, mut used) = (self.first, 0, None, 0);
        while let Some(here) = at {
            let segment = self.pool.get(here);
            if segment.start != expected || segment.pages == 0 || segment.before != before {
                return Err("segments do not tile the range");
            }
            if self.index.find(&self.pool, segment.end() - 1) != at {
                return Err("a segment is not found by its last page");
            }
            if let State::Busy(Kind::Vmalloc) = segment.state {
                used += segment.mapped();
            }
            (expected, before, at) = (segment.end(), at, segment.after);
        }
        if expected != pages {
            return Err("segments end before the range");
        }
        if used != self.used { Err("the count of used pages is wrong") } else { Ok(()) }
    }
}
