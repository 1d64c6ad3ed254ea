//! Reclaim of pages of files against a model of the lists: which pages go, which come back as active, and every counter.
//!
//! The model knows nothing of frames: pages of one file, two lists, a batch, shadows and ages.

use super::Files;
use crate::vm::keep;
use mm::addr::{Order, PAGE_SIZE};
use mm::cache::OpenFile;
use mm::phys::GfpFlags;
use mm::reclaim::Reclaim;
use mm::shrinker::Shrinkers;
use mm::swap::Swap;
use mm::vmstat::{NodeStat, VmEvent};
use proptest::prelude::*;
use sim::Machine;
use std::collections::{BTreeMap, VecDeque};

const PAGES: u64 = 1500;

#[derive(Clone, Copy, Default)]
struct Page {
    referenced: bool,
    active: bool,
    workingset: bool,
    listed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Counts {
    scanned: u64,
    stolen: u64,
    refilled: u64,
    activated: u64,
    deactivated: u64,
    refaults: u64,
    refault_activations: u64,
    restored: u64,
    inactive: u64,
    active: u64,
}

#[derive(Default)]
struct Model {
    pages: BTreeMap<u64, Page>,
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
    fn read(&mut self, page: u64) {
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

    fn make_room(&mut self) {
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

    fn counts(&self) -> Counts {
        let (inactive, active) = (self.inactive.len() as u64, self.active.len() as u64);
        Counts { inactive, active, ..self.counts }
    }
}

/// A file, and reclaim of what is in memory of it.
struct Real {
    files: &'static Files,
    file: &'static OpenFile<'static>,
    reclaim: Reclaim<'static, Machine>,
}

impl Real {
    fn new() -> Self {
        let files: &'static Files = keep(Files::with_file(1, 1, PAGES));
        files.cache().set_ra_pages(0);
        let (board, vm) = (files.world.board, &files.world.vm);
        let swap: &'static Swap<'static, Machine> = keep(Swap::new(board, vm.cache().io(), vm.cache().lru()));
        let shrinkers: &'static Shrinkers<'static> = keep(Shrinkers::new());
        Self { files, file: files.open(), reclaim: Reclaim::new(board, vm, swap, shrinkers) }
    }

    fn read(&self, page: u64) {
        let bytes = self.files.read(self.file, page * PAGE_SIZE, 16).unwrap();
        assert_eq!(bytes, super::expected(page * PAGE_SIZE, 16), "page {page}");
    }

    fn make_room(&self) {
        let _ = self.reclaim.make_room(GfpFlags::GFP_HIGHUSER_MOVABLE, Order::ZERO);
    }

    fn is_cached(&self, page: u64) -> bool {
        self.files.cache().is_cached(self.file.inode(), page)
    }

    fn counts(&self) -> Counts {
        let stat = self.files.world.vm.stat();
        let (event, total) = (|event| stat.event(event), |what| stat.total(what));
        assert_eq!(event(VmEvent::PgScanDirect), event(VmEvent::PgScanFile));
        assert_eq!(event(VmEvent::PgStealDirect), event(VmEvent::PgStealFile));
        Counts {
            scanned: event(VmEvent::PgScanFile),
            stolen: event(VmEvent::PgStealFile),
            refilled: event(VmEvent::PgRefill),
            activated: event(VmEvent::PgActivate),
            deactivated: event(VmEvent::PgDeactivate),
            refaults: total(NodeStat::RefaultFile),
            refault_activations: total(NodeStat::ActivateFile),
            restored: total(NodeStat::RestoreFile),
            inactive: total(NodeStat::InactiveFile),
            active: total(NodeStat::ActiveFile),
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    /// Pages from `.0`, `.1` of them, `.2` times.
    Read(u64, u64, u32),
    /// Room is made, so many times.
    MakeRoom(u32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..PAGES, 1..400_u64, 1..4_u32).prop_map(|(at, n, times)| Op::Read(at, n.min(PAGES - at), times)),
        2 => (1..12_u32).prop_map(Op::MakeRoom),
    ]
}

/// Does the same to both; after every step all counters and all pages agree.
fn agree(ops: &[Op]) -> Counts {
    let (real, mut model) = (Real::new(), Model::default());
    for op in ops {
        match *op {
            Op::Read(at, n, times) => {
                for page in (0..times).flat_map(|_| at..at + n) {
                    real.read(page);
                    model.read(page);
                }
            }
            Op::MakeRoom(times) => (0..times).for_each(|_| {
                real.make_room();
                model.make_room();
            }),
        }
        assert_eq!(real.counts(), model.counts(), "after {op:?}");
        for page in 0..PAGES {
            assert_eq!(real.is_cached(page), model.pages.contains_key(&page), "page {page} after {op:?}");
        }
    }
    real.files.world.verify();
    model.counts()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_goes_and_what_comes_back_is_as_the_model_says(ops in prop::collection::vec(op(), 1..14)) {
        agree(&ops);
    }
}

#[test]
fn a_hot_set_outlives_a_scan_that_is_larger_than_memory() {
    let real = Real::new();
    let hot = 0..200;
    (0..2).for_each(|_| hot.clone().for_each(|page| real.read(page)));
    for page in 200..PAGES {
        real.read(page);
        if page % 64 == 0 && page > 700 {
            real.make_room();
        }
    }
    let kept = hot.filter(|&page| real.is_cached(page)).count();
    let counts = real.counts();
    assert!(kept * 100 >= 200 * 95, "{kept} pages are left, {counts:?}");
    assert!(counts.stolen > 500 && counts.refault_activations == 0, "{counts:?}");
}

#[test]
fn what_comes_back_soon_becomes_active_and_what_comes_late_does_not() {
    // Active pages, so that there is something to outlive.
    let start = [Op::Read(0, 200, 2), Op::Read(200, 300, 1), Op::MakeRoom(3)];
    let soon = agree(&[&start[..], &[Op::Read(200, 60, 1)]].concat());
    assert!(soon.refault_activations > 0 && soon.restored == 0, "{soon:?}");
    let scan = [Op::Read(500, 400, 1), Op::MakeRoom(20), Op::Read(900, 400, 1), Op::MakeRoom(20)];
    let late = agree(&[&start[..], &scan[..], &[Op::Read(200, 60, 1)]].concat());
    assert!(late.refaults >= 60 && late.refault_activations == 0, "{late:?}");
}
