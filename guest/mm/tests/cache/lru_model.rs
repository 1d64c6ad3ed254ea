//! A model of the lists of a node and of reclaim of pages of files by those who make room for themselves: what goes, in
//! which order, what comes back as active, and every counter.
//!
//! It knows nothing of frames: pages of one file, two lists, a batch, shadows and ages. Nothing is read ahead. Tests of
//! booted guests replay with it what a guest has done.

use std::collections::{BTreeMap, VecDeque};

#[derive(Clone, Copy, Default)]
struct Page {
    referenced: bool,
    active: bool,
    workingset: bool,
    listed: bool,
}

/// What is counted of reclaim.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    pub scanned: u64,
    pub stolen: u64,
    pub refilled: u64,
    pub activated: u64,
    pub deactivated: u64,
    pub refaults: u64,
    pub refault_activations: u64,
    pub restored: u64,
    pub inactive: u64,
    pub active: u64,
}

/// See the module documentation.
#[derive(Default)]
pub struct Model {
    pages: BTreeMap<u64, Page>,
    /// Pages that went, in order.
    pub evicted: Vec<u64>,
    batch: Vec<u64>,
    /// The head is the front.
    inactive: VecDeque<u64>,
    active: VecDeque<u64>,
    shadows: BTreeMap<u64, (u64, bool)>,
    age: u64,
    last: Option<u64>,
    counts: Counts,
    snapshot: u64,
}

impl Model {
    /// A page is read.
    pub fn read(&mut self, page: u64) {
        if !self.pages.contains_key(&page) {
            let mut new = Page::default();
            if let Some((age, workingset)) = self.shadows.remove(&page) {
                self.counts.refaults += 1;
                if self.age - age <= self.active.len() as u64 {
                    new.active = true;
                    self.age += 1;
                    self.counts.refault_activations += 1;
                    new.workingset = workingset;
                    self.counts.restored += u64::from(workingset);
                }
            }
            self.pages.insert(page, new);
            self.batch.push(page);
            if self.batch.len() == 31 {
                self.drain();
            }
        }
        if self.last.replace(page) != Some(page) {
            self.accessed(page);
        }
    }

    fn accessed(&mut self, number: u64) {
        let page = self.pages.get_mut(&number).unwrap();
        if !page.referenced {
            page.referenced = true;
        } else if !page.active {
            (page.active, page.referenced) = (true, false);
            if page.listed {
                self.inactive.retain(|other| *other != number);
                self.active.push_front(number);
                self.counts.activated += 1;
            }
            self.age += 1;
        }
    }

    fn drain(&mut self) {
        for number in self.batch.drain(..) {
            let page = self.pages.get_mut(&number).unwrap();
            page.listed = true;
            if page.active { &mut self.active } else { &mut self.inactive }.push_front(number);
        }
    }

    fn shrink_inactive(&mut self, pages: u64) -> u64 {
        self.drain();
        let from = self.inactive.len().saturating_sub(pages as usize);
        let taken: Vec<_> = self.inactive.drain(from..).rev().collect();
        for &number in &taken {
            let page = self.pages.remove(&number).unwrap();
            self.shadows.insert(number, (self.age, page.workingset));
            self.evicted.push(number);
            self.age += 1;
        }
        self.counts.scanned += taken.len() as u64;
        self.counts.stolen += taken.len() as u64;
        taken.len() as u64
    }

    fn shrink_active(&mut self, pages: u64) {
        self.drain();
        for _ in 0..pages {
            let Some(number) = self.active.pop_back() else { break };
            let page = self.pages.get_mut(&number).unwrap();
            (page.active, page.workingset) = (false, true);
            self.inactive.push_front(number);
            self.counts.refilled += 1;
            self.counts.deactivated += 1;
        }
    }

    /// Somebody makes room for himself.
    pub fn make_room(&mut self) {
        for force in [false, true] {
            let (mut reclaimed, mut spared) = (0, false);
            for priority in (0..=12).rev() {
                let may = force
                    || self.snapshot != self.counts.refault_activations
                    || self.inactive.len() < self.active.len();
                let (mut inactive, mut active) =
                    (self.inactive.len() as u64 >> priority, self.active.len() as u64 >> priority);
                let mut round = 0;
                while inactive + active > 0 {
                    let part = inactive.min(32);
                    inactive -= part;
                    if part > 0 {
                        round += self.shrink_inactive(part);
                    }
                    let part = active.min(32);
                    active -= part;
                    match (part, may) {
                        (0, _) => {}
                        (_, true) => self.shrink_active(part),
                        (_, false) => spared = true,
                    }
                    if round >= 32 && priority != 12 {
                        break;
                    }
                }
                reclaimed += round;
                if reclaimed >= 32 {
                    break;
                }
            }
            self.snapshot = self.counts.refault_activations;
            if reclaimed > 0 || !spared {
                break;
            }
        }
    }

    /// Whether a page is in memory.
    pub fn has(&self, page: u64) -> bool {
        self.pages.contains_key(&page)
    }

    /// What was counted so far, and how long the lists are.
    pub fn counts(&self) -> Counts {
        let (inactive, active) = (self.inactive.len() as u64, self.active.len() as u64);
        Counts { inactive, active, ..self.counts }
    }
}
