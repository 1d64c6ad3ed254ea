//! Which blocks a file gets.
//!
//! A file has a window: a run of free blocks that only it takes blocks from, each at the distance from the window's start
//! that it has in the file. So files that grow at the same time, and pages that are written in any order, still make few
//! extents: holes between two of a window can be filled. Windows are in memory only, and go when room is short.
//!
//! A change is planned first and made afterwards, because blocks that the file reads at once must hold zeroes before it
//! has them, and writing those takes a while. Meanwhile nobody else gets the blocks. Where no zeroes are needed it is made
//! at once.

use zerocopy::{FromZeros, Immutable, KnownLayout};

use super::super::{BLOCK, DATA_START, Extent, FileEntry, MAX_EXTENTS};
use super::{Volume, VolumeError};

/// Runs of zeroes that a plan has at most.
pub const MAX_ZEROES: usize = 2 * MAX_EXTENTS;
/// Blocks of a window at least, if there are so many in a row.
const MIN_WINDOW: u64 = 64;
/// Blocks of a window at most.
const MAX_WINDOW: u64 = 1 << 18;

/// Blocks that a file takes its own from.
#[derive(Clone, Copy, FromZeros, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Window {
    logical: u32,
    start: u32,
    /// 0: none.
    blocks: u32,
}

impl Window {
    const NONE: Self = Self { logical: 0, start: 0, blocks: 0 };

    /// The place of a block of the file, and how many follow.
    fn at(&self, block: u32) -> Option<(u32, u32)> {
        let offset = block.checked_sub(self.logical).filter(|&offset| offset < self.blocks)?;
        Some((self.start + offset, self.blocks - offset))
    }
}

/// What a file is to become. See [`Volume::plan`].
#[derive(Clone, Copy)]
pub struct Plan {
    file: usize,
    before: FileEntry,
    after: FileEntry,
    zeroes: [(u32, u32); MAX_ZEROES],
    zero_count: usize,
}

impl Plan {
    /// Runs of blocks, as first and how many, that must hold zeroes before [`Volume::install`].
    #[must_use]
    pub fn zeroes(&self) -> &[(u32, u32)] {
        self.zeroes.get(..self.zero_count).unwrap_or_default()
    }
}

/// The extents of a file while they change: for a moment one too many, and then the hole between two.
struct Draft {
    extents: [Extent; MAX_EXTENTS + 2],
    count: usize,
    zeroes: [(u32, u32); MAX_ZEROES],
    zero_count: usize,
}

impl Draft {
    fn of(file: &FileEntry) -> Self {
        let mut draft = Self {
            extents: [Extent::default(); MAX_EXTENTS + 2],
            count: file.extents().len(),
            zeroes: [(0, 0); MAX_ZEROES],
            zero_count: 0,
        };
        draft.extents.iter_mut().zip(file.extents()).for_each(|(to, from)| *to = *from);
        draft
    }

    fn extents(&self) -> &[Extent] {
        self.extents.get(..self.count).unwrap_or_default()
    }

    fn zero(&mut self, start: u32, blocks: u32) -> Result<(), VolumeError> {
        *self.zeroes.get_mut(self.zero_count).ok_or(VolumeError::Full)? = (start, blocks);
        self.zero_count += 1;
        Ok(())
    }

    /// The first block from `block` on that the file does not have, and how many follow up to `end`.
    fn hole(&self, block: u32, end: u32) -> Option<(u32, u32)> {
        let mut at = block;
        for extent in self.extents() {
            if at < extent.logical() {
                break;
            }
            at = at.max(extent.logical() + extent.blocks());
        }
        let next = self.extents().iter().map(Extent::logical).find(|&logical| logical >= at);
        (at < end).then(|| (at, next.unwrap_or(end).min(end) - at))
    }

    /// Adds a run that the file does not have.
    fn add(&mut self, extent: Extent) {
        let place = self.extents().iter().take_while(|other| other.logical() < extent.logical()).count();
        if let Some(tail) = self.extents.get_mut(place..=self.count) {
            tail.rotate_right(1);
            if let Some(first) = tail.first_mut() {
                *first = extent;
            }
            self.count += 1;
        }
        self.join();
    }

    /// Makes one of neighbours that follow each other in the file and on the disk.
    fn join(&mut self) {
        let mut kept = 0;
        for n in 1..self.count {
            let (Some(&last), Some(&next)) = (self.extents.get(kept), self.extents.get(n)) else { return };
            let follows = last.logical() + last.blocks() == next.logical()
                && last.start() + last.blocks() == next.start();
            let (to, what) = match follows {
                true => (kept, Extent::new(last.logical(), last.start(), last.blocks() + next.blocks())),
                false => (kept + 1, next),
            };
            if let Some(slot) = self.extents.get_mut(to) {
                *slot = what;
            }
            kept = to;
        }
        let end = self.count;
        self.count = end.min(kept + 1);
        if let Some(rest) = self.extents.get_mut(self.count..end) {
            rest.fill(Extent::default());
        }
    }

    /// Takes blocks `from..to` away from the file.
    fn cut(&mut self, from: u32, to: u32) {
        for extent in self.extents {
            let (first, end) = (extent.logical(), extent.logical() + extent.blocks());
            let (low, high) = (first.max(from), end.min(to));
            if low >= high {
                continue;
            }
            self.remove(&extent);
            if first < low {
                self.add(Extent::new(first, extent.start(), low - first));
            }
            if high < end {
                self.add(Extent::new(high, extent.start() + (high - first), end - high));
            }
        }
    }

    fn remove(&mut self, extent: &Extent) {
        let Some(place) = self.extents().iter().position(|other| other == extent) else { return };
        if let Some(tail) = self.extents.get_mut(place..self.count) {
            tail.rotate_left(1);
            if let Some(last) = tail.last_mut() {
                *last = Extent::default();
            }
            self.count -= 1;
        }
    }

    /// Holes between two extents that lie as far from each other on the disk as in the file: filled, one is left of the two.
    fn holes(&self) -> impl Iterator<Item = Extent> + '_ {
        self.extents().windows(2).filter_map(|pair| match *pair {
            [a, b] => {
                let (end, blocks) = (a.logical() + a.blocks(), b.logical() - a.logical() - a.blocks());
                let start = a.start() + a.blocks();
                (start.checked_add(blocks) == Some(b.start())).then(|| Extent::new(end, start, blocks))
            }
            _ => None,
        })
    }
}

impl Volume {
    pub(super) fn forget_window(&mut self, file: usize) {
        if let Some(window) = self.windows.get_mut(file) {
            *window = Window::NONE;
        }
    }

    /// The file gets blocks `block..block + blocks`, those of them that it does not have, unless some must hold zeroes first:
    /// false then, and they have to be planned.
    ///
    /// # Errors
    /// `Missing`, `TooBig`, `Full`; nothing has changed then.
    pub fn allocate(&mut self, file: usize, block: u64, blocks: u64) -> Result<bool, VolumeError> {
        let plan = self.draft_plan(file, block, blocks)?;
        Ok(plan.zeroes().is_empty() && self.make(&plan))
    }

    /// How the file gets these blocks when there are zeroes where they are needed. The blocks are nobody else's until
    /// [`Volume::install`] or [`Volume::give_up_plan`]. There is one plan at a time; another takes its place.
    ///
    /// # Errors
    /// As above.
    pub fn plan(&mut self, file: usize, block: u64, blocks: u64) -> Result<Plan, VolumeError> {
        self.give_up_plan();
        let plan = self.draft_plan(file, block, blocks)?;
        self.planned = plan.after;
        Ok(plan)
    }

    /// What was planned is not going to be.
    pub fn give_up_plan(&mut self) {
        self.planned.zero();
    }

    fn draft_plan(&mut self, file: usize, block: u64, blocks: u64) -> Result<Plan, VolumeError> {
        let before = *self.file(file).ok_or(VolumeError::Missing)?;
        let end =
            block.checked_add(blocks).and_then(|end| u32::try_from(end).ok()).ok_or(VolumeError::TooBig)?;
        let mut draft = Draft::of(&before);
        let valid = before.valid().div_ceil(BLOCK);
        let mut at = block as u32;
        while let Some((hole, wanted)) = draft.hole(at, end) {
            let (start, left) = self.window_at(file, &before, &draft, hole, end - hole)?;
            let count = wanted.min(left);
            // What was read as zeroes must go on doing so when the table is stable before the data is.
            let readable = valid.saturating_sub(hole.into()).min(count.into()) as u32;
            if readable != 0 {
                draft.zero(start, readable)?;
            }
            draft.add(Extent::new(hole, start, count));
            if draft.count > MAX_EXTENTS {
                self.fill_a_hole(file, &mut draft)?;
            }
            at = hole + count;
        }
        let after = FileEntry::new(before.name(), before.size(), before.valid(), draft.extents());
        let after = after.ok_or(VolumeError::Full)?;
        Ok(Plan { file, before, after, zeroes: draft.zeroes, zero_count: draft.zero_count })
    }

    /// The file gives up its blocks `block..block + blocks`, which read as zeroes from then on.
    ///
    /// # Errors
    /// `Missing`; `Full` if that makes too many pieces, and nothing has changed then.
    pub fn release(&mut self, file: usize, block: u64, blocks: u64) -> Result<(), VolumeError> {
        let before = *self.file(file).ok_or(VolumeError::Missing)?;
        let within = |at: u64| u32::try_from(at).unwrap_or(u32::MAX);
        let mut draft = Draft::of(&before);
        draft.cut(within(block), within(block.saturating_add(blocks)));
        let after = FileEntry::new(before.name(), before.size(), before.valid(), draft.extents());
        let after = after.ok_or(VolumeError::Full)?;
        if after != before {
            self.replace(file, after);
        }
        Ok(())
    }

    /// Makes the change, and ends the plan. False if the file has changed since it was planned.
    #[must_use = "a change that is not made is planned again"]
    pub fn install(&mut self, plan: &Plan) -> bool {
        self.give_up_plan();
        self.make(plan)
    }

    fn make(&mut self, plan: &Plan) -> bool {
        let Some(now) = self.file(plan.file).copied() else { return false };
        if now != plan.before {
            return false;
        }
        if now != plan.after {
            self.replace(plan.file, plan.after);
        }
        true
    }

    /// The place for `block`, which the file does not have, and how many follow; in a new window if need be.
    fn window_at(
        &mut self,
        file: usize,
        entry: &FileEntry,
        draft: &Draft,
        block: u32,
        wanted: u32,
    ) -> Result<(u32, u32), VolumeError> {
        let window = self.windows.get(file).copied().unwrap_or(Window::NONE);
        if let Some(found) = window.at(block).filter(|&(start, _)| !self.is_kept(draft, start)) {
            return Ok((found.0, self.free_from(file, draft, found.0, found.1)));
        }
        let rest = entry.size().div_ceil(BLOCK).saturating_sub(block.into());
        let room = rest.max(entry.blocks()).max(wanted.into()).clamp(MIN_WINDOW, MAX_WINDOW) as u32;
        let found = self
            .beside(file, draft, block, room)
            .or_else(|| self.free_run(file, draft, room))
            .or_else(|| {
                (0..self.windows.len())
                    .filter(|&other| other != file)
                    .for_each(|other| self.forget_window(other));
                self.free_run(file, draft, room)
            });
        let (start, blocks) = found.ok_or(VolumeError::Full)?;
        if let Some(window) = self.windows.get_mut(file) {
            *window = Window { logical: block, start, blocks };
        }
        Ok((start, blocks))
    }

    /// Free blocks for `block` and what follows, as far from a neighbour on the disk as in the file, so that the two are one
    /// extent, or will be: of the one before, else of the one behind.
    fn beside(&self, file: usize, draft: &Draft, block: u32, room: u32) -> Option<(u32, u32)> {
        let before = draft.extents().iter().rfind(|extent| extent.logical() < block);
        let before = before.and_then(|extent| extent.start().checked_add(block - extent.logical()));
        let behind = draft.extents().iter().find(|extent| extent.logical() > block);
        let behind = behind.and_then(|extent| extent.start().checked_sub(extent.logical() - block));
        let starts = [before, behind].into_iter().flatten().filter(|&start| start >= DATA_START);
        starts.map(|start| (start, self.free_from(file, draft, start, room))).find(|&(_, free)| free != 0)
    }

    /// Fills the smallest hole that can be filled, so that there is one extent less.
    fn fill_a_hole(&self, file: usize, draft: &mut Draft) -> Result<(), VolumeError> {
        let is_free =
            |hole: &Extent| self.free_from(file, draft, hole.start(), hole.blocks()) == hole.blocks();
        let smallest = draft.holes().filter(is_free).min_by_key(Extent::blocks);
        let hole = smallest.ok_or(VolumeError::Full)?;
        draft.zero(hole.start(), hole.blocks())?;
        draft.add(hole);
        Ok(())
    }

    /// Whether a table, a plan or the draft has the block.
    fn is_kept(&self, draft: &Draft, block: u32) -> bool {
        self.kept(draft).any(|(start, end)| (start..end).contains(&block))
    }

    /// Runs of blocks that some table, the plan or the draft has, as first and end.
    fn kept<'a>(&'a self, draft: &'a Draft) -> impl Iterator<Item = (u32, u32)> + 'a {
        let tables = [&self.now, &self.stable, &self.next].into_iter().flatten();
        let extents =
            tables.flat_map(FileEntry::extents).chain(self.planned.extents()).chain(draft.extents());
        extents.map(|extent| (extent.start(), extent.start() + extent.blocks()))
    }

    /// How many blocks from `start` on are free for `file`, at most `most`.
    fn free_from(&self, file: usize, draft: &Draft, start: u32, most: u32) -> u32 {
        let end = start.saturating_add(most).min(self.blocks());
        let windows = self.windows.iter().enumerate().filter(|&(other, _)| other != file);
        let windows = windows.map(|(_, window)| (window.start, window.start + window.blocks));
        let free = self.kept(draft).chain(windows).fold(end, |free, (from, to)| match from <= start {
            true if start < to => start,
            true => free,
            false => free.min(from),
        });
        free.saturating_sub(start)
    }

    /// The first run of `wanted` free blocks, else the longest there is.
    fn free_run(&self, file: usize, draft: &Draft, wanted: u32) -> Option<(u32, u32)> {
        let (mut best, mut at) = (None::<(u32, u32)>, DATA_START);
        while at < self.blocks() {
            let free = self.free_from(file, draft, at, wanted);
            if free >= wanted {
                return Some((at, free));
            }
            if free > best.map_or(0, |(_, blocks)| blocks) {
                best = Some((at, free));
            }
            at = self.end_of_taken(file, draft, at + free);
        }
        best
    }

    /// The end of the taken run that has `block`; the block after it, if none has.
    fn end_of_taken(&self, file: usize, draft: &Draft, block: u32) -> u32 {
        let windows = self.windows.iter().enumerate().filter(|&(other, _)| other != file);
        let windows = windows.map(|(_, window)| (window.start, window.start + window.blocks));
        let ends = self.kept(draft).chain(windows).filter(|&(from, to)| (from..to).contains(&block));
        ends.map(|(_, to)| to).max().unwrap_or_else(|| block.saturating_add(1))
    }
}
