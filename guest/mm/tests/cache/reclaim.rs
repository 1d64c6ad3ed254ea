//! Reclaim of pages of files against a model of the lists: which pages go and in which order, which come back as active, and
//! every counter.

use super::Files;
use crate::vm::keep;
use crate::vm::reclaim_model::{Counts, FILE, Id, Model};
use crate::vm::reclaim_replay::counted;
use mm::addr::{Order, PAGE_SIZE};
use mm::cache::OpenFile;
use mm::phys::GfpFlags;
use mm::reclaim::{EvictLog, Reclaim};
use mm::shrinker::Shrinkers;
use mm::swap::Swap;
use proptest::prelude::*;
use sim::Machine;

const PAGES: u64 = 1500;

/// A file, and reclaim of what is in memory of it.
struct Real {
    files: &'static Files,
    file: &'static OpenFile<'static>,
    reclaim: Reclaim<'static, Machine>,
    log: &'static EvictLog,
}

impl Real {
    fn new() -> Self {
        let files: &'static Files = keep(Files::with_file(1, 1, PAGES));
        files.cache().set_ra_pages(0);
        let (board, vm) = (files.world.board, &files.world.vm);
        let swap: &'static Swap<'static, Machine> = keep(Swap::new(board, vm.cache().io(), vm.cache().lru()));
        let shrinkers: &'static Shrinkers<'static> = keep(Shrinkers::new());
        let (reclaim, log) = (Reclaim::new(board, vm, swap, shrinkers), keep(EvictLog::new()));
        reclaim.log_to(log);
        Self { files, file: files.open(), reclaim, log }
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
        counted(self.files.world.vm.stat(), 0)
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
    let (real, mut model) = (Real::new(), Model::new(0));
    real.log.set(true);
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
                let _ = model.make_room();
            }),
        }
        assert_eq!(real.counts(), model.counts(), "after {op:?}");
        for page in 0..PAGES {
            assert_eq!(real.is_cached(page), model.has(Id::File(page)), "page {page} after {op:?}");
        }
    }
    real.files.world.verify();
    assert_eq!(real.log.count(), model.evicted.len() as u64);
    let number = real.file.inode().number();
    let gone = real.log.pages().map(|page| {
        assert_eq!(page.inode, Some(number));
        Id::File(page.index)
    });
    assert!(gone.eq(model.evicted.iter().copied().take(4096)));
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
    assert!(counts.stolen[FILE] > 500 && counts.refault_activations[FILE] == 0, "{counts:?}");
}

#[test]
fn what_comes_back_soon_becomes_active_and_what_comes_late_does_not() {
    // Active pages, so that there is something to outlive.
    let start = [Op::Read(0, 200, 2), Op::Read(200, 300, 1), Op::MakeRoom(3)];
    let soon = agree(&[&start[..], &[Op::Read(200, 60, 1)]].concat());
    assert!(soon.refault_activations[FILE] > 0 && soon.restored[FILE] == 0, "{soon:?}");
    let scan = [Op::Read(500, 400, 1), Op::MakeRoom(20), Op::Read(900, 400, 1), Op::MakeRoom(20)];
    let late = agree(&[&start[..], &scan[..], &[Op::Read(200, 60, 1)]].concat());
    assert!(late.refaults[FILE] >= 60 && late.refault_activations[FILE] == 0, "{late:?}");
}
