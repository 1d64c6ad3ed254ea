//! A model of the four lists of a node, of reclaim by those who make room for themselves, and of swap: which pages go, in
//! which order and to which slots, what comes back and how, and every counter.
//!
//! It states the rules of Linux 6.18 once more (`mm/vmscan.c`, `mm/workingset.c`, `mm/swap.c`, `do_swap_page`), and knows
//! nothing of frames, tables and locks: anonymous pages of one context, and pages of one file that are read and not mapped.
//! Memory is never short, nothing is read ahead, and the disk has written what it was given when somebody says so, in the
//! order he says. Batches of new pages are the machine's: 31 pages, put on their lists when it is full or before a list is
//! looked at. Tests of booted guests replay with it what a guest has done.

use super::swap_slots_model::Slots;
use std::collections::{BTreeMap, VecDeque};

/// A page of anonymous memory, or of the file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Id {
    Anon(u64),
    File(u64),
}

impl Id {
    fn kind(self) -> usize {
        usize::from(matches!(self, Self::File(_)))
    }
}

/// Places of the two kinds in [`Counts`].
const ANON: usize = 0;
pub const FILE: usize = 1;
/// Pages that whoever makes room is content with, and that are looked at together.
const CLUSTER: u64 = 32;
const BATCH: usize = 31;

#[derive(Clone, Copy, Default)]
struct Page {
    referenced: bool,
    active: bool,
    workingset: bool,
    listed: bool,
    /// The entry that maps it was used.
    young: bool,
    mapped: bool,
    dirty: bool,
    zero: bool,
    writing: bool,
    /// It goes as soon as it is written.
    reclaim: bool,
}

/// What is counted of reclaim; where there are two numbers, of anonymous pages and of pages of files.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    pub scanned: [u64; 2],
    pub stolen: [u64; 2],
    pub refilled: u64,
    pub activated: u64,
    pub deactivated: u64,
    pub rotated: u64,
    pub refaults: [u64; 2],
    pub refault_activations: [u64; 2],
    pub restored: [u64; 2],
    pub inactive: [u64; 2],
    pub active: [u64; 2],
    pub swapped_out: u64,
    pub swapped_in: u64,
    pub zeroes_out: u64,
    pub zeroes_in: u64,
    pub free_slots: u64,
}

/// A scan of the lists (`struct scan_control`).
struct Scan {
    priority: u32,
    deactivate: [bool; 2],
    spared: bool,
}

/// See the module documentation.
pub struct Model {
    pub swappiness: u64,
    /// Pages that went, in order.
    pub evicted: Vec<Id>,
    /// Slots that were written, in order.
    pub written: Vec<u64>,
    /// Pages that are being written, in the order in which they were given to the disk.
    pub writing: VecDeque<u64>,
    pages: BTreeMap<Id, Page>,
    batch: Vec<Id>,
    /// The head is the front.
    inactive: [VecDeque<Id>; 2],
    active: [VecDeque<Id>; 2],
    slots: Slots,
    slot_of: BTreeMap<u64, u64>,
    /// Pages whose slots have nothing but zeroes.
    zeroes: BTreeMap<u64, bool>,
    shadows: BTreeMap<Id, (u64, bool)>,
    age: u64,
    costs: [u64; 2],
    snapshot: [u64; 2],
    last: Option<u64>,
    counts: Counts,
}

/// How an anonymous page is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    Read,
    Write,
    /// Zeroes are written to it, and it has nothing else.
    Clear,
}

impl Model {
    /// Swap has `slots` slots, its header among them; 0 where there is none.
    pub fn new(slots: u64) -> Self {
        Self {
            swappiness: 60,
            evicted: Vec::new(),
            written: Vec::new(),
            writing: VecDeque::new(),
            pages: BTreeMap::new(),
            batch: Vec::new(),
            inactive: Default::default(),
            active: Default::default(),
            slots: Slots::new(slots),
            slot_of: BTreeMap::new(),
            zeroes: BTreeMap::new(),
            shadows: BTreeMap::new(),
            age: 0,
            costs: [0; 2],
            snapshot: [0; 2],
            last: None,
            counts: Counts::default(),
        }
    }

    /// Whether a page is in memory.
    pub fn has(&self, id: Id) -> bool {
        self.pages.contains_key(&id)
    }

    /// Whether a page has to be read from swap.
    pub fn is_out(&self, page: u64) -> bool {
        self.slot_of.contains_key(&page) && !self.has(Id::Anon(page))
    }

    /// What was counted so far, and how long the lists are.
    pub fn counts(&self) -> Counts {
        let len = |lists: &[VecDeque<Id>; 2]| [lists[ANON].len() as u64, lists[FILE].len() as u64];
        Counts {
            inactive: len(&self.inactive),
            active: len(&self.active),
            free_slots: self.slots.left,
            ..self.counts
        }
    }

    /// An anonymous page is used. One that has never been written to and is read now costs nothing.
    pub fn touch(&mut self, number: u64, how: Use) {
        let id = Id::Anon(number);
        let is_in_swap = self.slot_of.contains_key(&number);
        if !self.has(id) {
            if !is_in_swap && how == Use::Read {
                return;
            }
            let zero = self.zeroes.get(&number) == Some(&true);
            let mut new = Page { zero, ..Page::default() };
            if is_in_swap {
                self.refault(id, &mut new);
                *if zero { &mut self.counts.zeroes_in } else { &mut self.counts.swapped_in } += 1;
            } else {
                (new.mapped, new.dirty) = (true, true);
            }
            self.add(id, new);
        }
        let is_half_full = self.slots.is_half_full();
        let page = self.pages.get_mut(&id).unwrap();
        page.young = true;
        if !page.mapped {
            // Whoever finds it in the cache uses it: it is no longer to go (`PG_readahead` is `PG_reclaim`).
            (page.mapped, page.reclaim) = (true, false);
            if !page.writing && (is_half_full || how != Use::Read) {
                page.dirty = true;
                let slot = self.slot_of.remove(&number).unwrap();
                self.slots.give(slot);
            }
        }
        if how != Use::Read {
            (page.dirty, page.zero) = (true, how == Use::Clear);
        }
    }

    /// A page of the file is read.
    pub fn read(&mut self, number: u64) {
        let id = Id::File(number);
        if !self.has(id) {
            let mut new = Page::default();
            self.refault(id, &mut new);
            self.add(id, new);
        }
        if self.last.replace(number) != Some(number) {
            self.accessed(id);
        }
    }

    /// The `nth` page that is being written has been.
    pub fn wrote(&mut self, nth: usize) {
        let id = Id::Anon(self.writing.remove(nth).unwrap());
        let page = self.pages.get_mut(&id).unwrap();
        page.writing = false;
        if std::mem::take(&mut page.reclaim) && page.listed {
            // It is the next to go.
            page.active = false;
            self.unlist(id);
            self.inactive[ANON].push_back(id);
            self.counts.rotated += 1;
        }
    }

    fn unlist(&mut self, id: Id) {
        self.inactive[id.kind()].retain(|other| *other != id);
        self.active[id.kind()].retain(|other| *other != id);
    }

    fn add(&mut self, id: Id, page: Page) {
        self.pages.insert(id, page);
        self.batch.push(id);
        if self.batch.len() == BATCH {
            self.drain();
        }
    }

    fn put(&mut self, id: Id) {
        let page = self.pages.get_mut(&id).unwrap();
        page.listed = true;
        let lists = if page.active { &mut self.active } else { &mut self.inactive };
        lists[id.kind()].push_front(id);
    }

    fn drain(&mut self) {
        for id in std::mem::take(&mut self.batch) {
            self.put(id);
        }
    }

    fn accessed(&mut self, id: Id) {
        let page = self.pages.get_mut(&id).unwrap();
        if !page.referenced {
            page.referenced = true;
        } else if !page.active {
            (page.active, page.referenced) = (true, false);
            if page.listed {
                self.unlist(id);
                self.active[id.kind()].push_front(id);
                self.counts.activated += 1;
            }
            self.age += 1;
        }
    }

    /// A page comes back: if all that was used since it went, and would have had to go before it, has room beside it, it is
    /// active (`workingset_refault`).
    fn refault(&mut self, id: Id, page: &mut Page) {
        let Some((age, was_workingset)) = self.shadows.remove(&id) else { return };
        let kind = id.kind();
        self.counts.refaults[kind] += 1;
        let mut others = self.active[FILE].len();
        if kind == ANON {
            others += self.inactive[FILE].len();
        }
        if self.slots.left > 0 {
            others += self.active[ANON].len();
            if kind == FILE {
                others += self.inactive[ANON].len();
            }
        }
        if self.age - age > others as u64 {
            return;
        }
        page.active = true;
        self.age += 1;
        self.counts.refault_activations[kind] += 1;
        if was_workingset {
            page.workingset = true;
            self.note_cost(kind, 1, 0);
            self.counts.restored[kind] += 1;
        }
    }

    /// What taking pages of a kind costs, and half of all that when it is much (`lru_note_cost`).
    fn note_cost(&mut self, kind: usize, io: u64, rotated: u64) {
        if io + rotated == 0 {
            return;
        }
        self.costs[kind] += io * CLUSTER + rotated;
        let pages: usize = self.inactive.iter().chain(&self.active).map(VecDeque::len).sum();
        if self.costs[ANON] + self.costs[FILE] > pages as u64 / 4 {
            self.costs = self.costs.map(|cost| cost / 2);
        }
    }

    /// What becomes of a page that is to go (`shrink_folio_list`): whether it is gone. Pages of swap that are written stay
    /// until they are; `io` counts those that are given to be written.
    fn shrink_page(&mut self, id: Id, io: &mut u64) -> bool {
        let mut page = self.pages.remove(&id).unwrap();
        let fate = match id {
            Id::Anon(number) => self.shrink_anon(number, &mut page, io),
            // Used by a system call: that alone does not keep it.
            Id::File(_) => Fate::Goes,
        };
        match fate {
            Fate::Goes => {
                self.shadows.insert(id, (self.age, page.workingset));
                self.age += 1;
                self.evicted.push(id);
                return true;
            }
            Fate::Active => {
                page.active = true;
                if let Id::Anon(number) = id
                    && self.slots.is_half_full()
                    && page.mapped
                    && !page.writing
                    && let Some(slot) = self.slot_of.remove(&number)
                {
                    self.slots.give(slot);
                    page.dirty = true;
                }
                self.counts.activated += 1;
            }
            Fate::Kept => {}
        }
        self.pages.insert(id, page);
        false
    }

    fn shrink_anon(&mut self, number: u64, page: &mut Page, io: &mut u64) -> Fate {
        if page.writing {
            page.reclaim = true;
            return Fate::Active;
        }
        // Every page was used when it was new: it takes a second use to make it active.
        let (young, was_referenced) = (page.mapped && page.young, page.referenced);
        (page.young, page.referenced) = (false, young);
        if young {
            return if was_referenced { Fate::Active } else { Fate::Kept };
        }
        if !self.slot_of.contains_key(&number) {
            let Some(slot) = self.slots.take() else { return Fate::Active };
            self.slot_of.insert(number, slot);
            page.dirty = true;
        }
        page.mapped = false;
        if std::mem::take(&mut page.dirty) {
            *io += 1;
            self.zeroes.insert(number, page.zero);
            if page.zero {
                self.counts.zeroes_out += 1;
            } else {
                (page.writing, page.reclaim) = (true, true);
                self.writing.push_back(number);
                self.written.push(self.slot_of[&number]);
                self.counts.swapped_out += 1;
                return Fate::Kept;
            }
        }
        Fate::Goes
    }

    /// Looks at pages from the end of an inactive list; how many went (`shrink_inactive_list`).
    fn shrink_inactive(&mut self, kind: usize, pages: u64) -> u64 {
        self.drain();
        let from = self.inactive[kind].len().saturating_sub(pages as usize);
        let taken: Vec<Id> = self.inactive[kind].drain(from..).rev().collect();
        let (activated, mut io) = (self.counts.activated, 0);
        let kept: Vec<Id> = taken.iter().copied().filter(|&id| !self.shrink_page(id, &mut io)).collect();
        let gone = (taken.len() - kept.len()) as u64;
        kept.into_iter().for_each(|id| self.put(id));
        self.age += self.counts.activated - activated;
        self.counts.scanned[kind] += taken.len() as u64;
        self.counts.stolen[kind] += gone;
        self.note_cost(kind, io, taken.len() as u64 - gone);
        gone
    }

    /// Makes active pages inactive; whether they were used does not matter, and is forgotten (`shrink_active_list`).
    fn shrink_active(&mut self, kind: usize, pages: u64) {
        self.drain();
        for _ in 0..pages {
            let Some(id) = self.active[kind].pop_back() else { break };
            let page = self.pages.get_mut(&id).unwrap();
            (page.active, page.workingset, page.young) = (false, true, false);
            self.put(id);
            self.counts.refilled += 1;
            self.counts.deactivated += 1;
        }
    }

    fn inactive_is_low(&self, kind: usize) -> bool {
        // There is less than a gigabyte of either.
        self.inactive[kind].len() < self.active[kind].len()
    }

    /// How much is looked at, of inactive and of active pages of each kind (`get_scan_count`).
    fn targets(&self, scan: &Scan) -> [[u64; 2]; 2] {
        let trim_cache = self.inactive[FILE].len() as u64 >> scan.priority != 0 && !scan.deactivate[FILE];
        let parts = if self.slots.left == 0 {
            [0, 1]
        } else if scan.priority == 0 && self.swappiness != 0 {
            return [ANON, FILE]
                .map(|kind| [self.inactive[kind].len() as u64, self.active[kind].len() as u64]);
        } else if trim_cache {
            [0, 1]
        } else {
            let sum = self.costs[ANON] + self.costs[FILE];
            let [anon, file] = self.costs.map(|cost| sum + cost);
            let all = anon + file + 1;
            [self.swappiness * all / (anon + 1), (200 - self.swappiness) * all / (file + 1)]
        };
        let share = |len: usize, kind: usize| {
            ((len as u64 >> scan.priority) * parts[kind]).checked_div(parts[ANON] + parts[FILE]).unwrap_or(0)
        };
        [ANON, FILE]
            .map(|kind| [share(self.inactive[kind].len(), kind), share(self.active[kind].len(), kind)])
    }

    /// Looks at the lists by turns; how many pages went (`shrink_lruvec`).
    fn shrink_lists(&mut self, scan: &mut Scan) -> u64 {
        let all = self.targets(scan);
        let (mut left, mut gone) = (all, 0);
        let sum = |counts: [u64; 2]| counts[0] + counts[1];
        while left[ANON][0] + sum(left[FILE]) > 0 {
            for kind in [ANON, FILE] {
                let [inactive, active] = left[kind].map(|pages| pages.min(CLUSTER));
                left[kind] = [left[kind][0] - inactive, left[kind][1] - active];
                if inactive > 0 {
                    gone += self.shrink_inactive(kind, inactive);
                }
                match (active, scan.deactivate[kind]) {
                    (0, _) => {}
                    (_, true) => self.shrink_active(kind, active),
                    (_, false) => scan.spared = true,
                }
            }
            if gone < CLUSTER || scan.priority == 12 {
                continue;
            }
            if sum(left[ANON]) == 0 || sum(left[FILE]) == 0 {
                break;
            }
            // The kind of which less is left is done with; of the other a like part of all that there was is looked at.
            let (less, more) = if sum(left[FILE]) > sum(left[ANON]) { (ANON, FILE) } else { (FILE, ANON) };
            let percent = sum(left[less]) * 100 / (sum(all[less]) + 1);
            for (left, all) in left[more].iter_mut().zip(all[more]) {
                *left = (all * (100 - percent) / 100).saturating_sub(all - *left);
            }
            left[less] = [0, 0];
        }
        // Active and inactive pages keep their proportion, as long as there is swap at all.
        if self.slots.total > 0 && self.inactive_is_low(ANON) {
            self.shrink_active(ANON, CLUSTER);
        }
        gone
    }

    /// Somebody makes room for himself (`do_try_to_free_pages`).
    pub fn make_room(&mut self) -> u64 {
        for force in [false, true] {
            let mut gone = 0;
            let mut scan = Scan { priority: 12, deactivate: [force; 2], spared: false };
            loop {
                for kind in [ANON, FILE] {
                    let come_back = self.snapshot[kind] != self.counts.refault_activations[kind];
                    scan.deactivate[kind] = force || come_back || self.inactive_is_low(kind);
                }
                gone += self.shrink_lists(&mut scan);
                if gone >= CLUSTER || scan.priority == 0 {
                    break;
                }
                scan.priority -= 1;
            }
            self.snapshot = self.counts.refault_activations;
            if gone > 0 || !scan.spared {
                return gone;
            }
        }
        0
    }
}

/// What becomes of a page.
enum Fate {
    Goes,
    Active,
    Kept,
}
