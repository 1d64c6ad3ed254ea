//! What comes from swap with a page is what the model of Linux's rules says, by the disk and by the area, page by page.

use super::ahead_model::{Model, Way};
use super::swap::Swapping;
use super::{keep, page};
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::port::IoOp;
use mm::space::Mm;
use mm::swap::Extent;
use mm::vmstat::VmEvent;
use proptest::prelude::*;
use sim::{Disk, Machine};
use std::collections::{BTreeSet, HashMap};

const PAGES: u64 = 600;
const SLOTS: u64 = 2048;

/// The slot of a sector, where [`Swapping::on`] has put it.
fn slot_of(sector: u64) -> u64 {
    let page = sector / 8;
    page.checked_sub(2048).unwrap_or(page + SLOTS / 2)
}

/// Sends all pages out, one by one in an order that has nothing to do with that of the area; the slot of each.
fn scatter(swapping: &Swapping, mm: &Mm<'static, Machine>, at: VirtAddr) -> Vec<u64> {
    let mut slots = vec![0; PAGES as usize];
    for n in (0..PAGES).map(|n| n * 77 % PAGES) {
        let _ = swapping.disk.take_log();
        swapping.out(mm, page(at, n), 1);
        let log = swapping.disk.take_log();
        let written: Vec<u64> = log.iter().filter(|l| l.op == IoOp::Write).map(|l| l.sector).collect();
        assert_eq!(written.len(), 1, "page {n}");
        slots[n as usize] = slot_of(written[0]);
    }
    slots
}

/// Reads pages in this order, and compares each read of the disk with the model; the majors.
fn reads(way: Way, cluster: u32, order: &[u64]) -> u64 {
    let swapping = Swapping::new(16, 1, 3);
    swapping.disk.set_rotational(way == Way::Slots);
    swapping.world.vm.swap().set_page_cluster(cluster);
    let (world, mm) = (&swapping.world, swapping.world.context());
    swapping.on(SLOTS, &[], None).unwrap();
    let at = world.map(mm, PAGES);
    (0..PAGES).for_each(|n| world.store(mm, page(at, n), n + 1).unwrap());
    let slots = scatter(&swapping, mm, at);
    let in_slot: HashMap<u64, usize> = slots.iter().enumerate().map(|(n, &slot)| (slot, n)).collect();
    let mut model = Model::new(way, cluster, at.get() / PAGE_SIZE, slots);
    let mut requests = 0;
    for &n in order {
        assert_eq!(world.load(mm, page(at, n)).unwrap(), n + 1);
        swapping.settle();
        let log = swapping.disk.take_log();
        let is_mapped = |n: usize| world.machine().user().load_u64(page(at, n as u64)).is_ok();
        requests += log.len() as u64;
        let pages = log.iter().flat_map(|l| (0..l.bytes / PAGE_SIZE).map(|n| l.sector + n * 8));
        let read: BTreeSet<usize> = pages.map(|sector| in_slot[&slot_of(sector)]).collect();
        let expected = BTreeSet::from_iter(model.touch(n as usize, is_mapped));
        assert_eq!(read, expected, "page {n} of {order:?}, {way:?}, page-cluster {cluster}");
    }
    let events =
        [VmEvent::PgMajFault, VmEvent::SwapRa, VmEvent::SwapRaHit].map(|event| swapping.event(event));
    assert_eq!(events, [model.majors, model.ahead, model.all_hits]);
    assert_eq!(requests, model.requests);
    swapping.check();
    events[0]
}

#[test]
fn what_lies_beside_a_page_in_its_area_comes_with_it() {
    let up: Vec<u64> = (0..PAGES).collect();
    let down: Vec<u64> = (0..PAGES).rev().collect();
    let strided: Vec<u64> = (0..3).flat_map(|from| (from..PAGES).step_by(3)).collect();
    for cluster in [1, 2, 3, 5, 7] {
        for order in [&up, &down, &strided] {
            reads(Way::Area, cluster, order);
        }
    }
    assert!(reads(Way::Area, 3, &up) < PAGES / 7);
    assert!(reads(Way::Area, 3, &down) < PAGES / 6);
    for order in [&up, &down, &strided] {
        assert_eq!(reads(Way::Area, 0, order), PAGES, "each alone");
    }
}

/// Runs of pages: from where, how many, and how far each is from the one before.
fn orders() -> impl Strategy<Value = Vec<u64>> {
    let run = (0..PAGES, 1..40_u64, prop_oneof![4 => Just(1_i64), 4 => Just(-1), 1 => -5..=5_i64]);
    prop::collection::vec(run, 1..30).prop_map(|runs| {
        let pages = runs.into_iter().flat_map(|(from, count, step)| {
            (0..count).map(move |n| (from as i64 + n as i64 * step).rem_euclid(PAGES as i64) as u64)
        });
        pages.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_read_of_swap_is_as_the_rules_say(
        by_area in any::<bool>(),
        cluster in 0..8_u32,
        order in orders(),
    ) {
        reads(if by_area { Way::Area } else { Way::Slots }, cluster, &order);
    }
}

#[test]
fn one_disk_that_turns_is_enough_for_what_lies_beside_it_on_the_disk() {
    let majors = |vma_ra, turning: &[bool], stays: bool| {
        let swapping = Swapping::new(16, 1, 3);
        swapping.world.vm.swap().set_vma_ra(vma_ra);
        let (world, mm) = (&swapping.world, swapping.world.context());
        // The first is used, the others are only there.
        for (nth, &turns) in turning.iter().enumerate() {
            swapping.disk.set_rotational(turns);
            let (slots, sector) = if nth == 0 { (SLOTS, 0) } else { (64, 8 * (3000 + 64 * nth as u64)) };
            let extents = [Extent { slot: 0, pages: slots, sector }];
            let area = swapping.on_at(&extents, slots, &[], Some(9 - nth as u16)).unwrap();
            if nth != 0 && !stays {
                swapping.off(area, slots).unwrap();
            }
        }
        let at = world.map(mm, PAGES);
        (0..PAGES).for_each(|n| world.store(mm, page(at, n), n + 1).unwrap());
        scatter(&swapping, mm, at);
        (0..PAGES).for_each(|n| assert_eq!(world.load(mm, page(at, n)).unwrap(), n + 1));
        swapping.event(VmEvent::PgMajFault)
    };
    let (by_disk, by_area) = (majors(true, &[true], true), majors(true, &[false], true));
    assert!(by_area < by_disk, "{by_area} {by_disk}");
    assert_eq!(majors(false, &[false], true), by_disk, "it can be switched off");
    assert_eq!(majors(true, &[false, true], true), by_disk, "one of two turns");
    assert_eq!(majors(true, &[false, true], false), by_area, "it does not count any more");
    assert_eq!(majors(true, &[false, false], true), by_area);
}

#[test]
fn a_window_may_lie_on_two_disks() {
    let mut swapping = Swapping::new(16, 1, 3);
    let disks = [swapping.disk, keep(Disk::new(swapping.world.machine(), 8 * 4096, 4))];
    for disk in disks {
        disk.set_rotational(false);
        swapping.disk = disk;
        swapping.on(SLOTS, &[], Some(3)).unwrap();
    }
    let (world, mm) = (&swapping.world, swapping.world.context());
    let at = world.map(mm, PAGES);
    (0..PAGES).for_each(|n| world.store(mm, page(at, n), n + 1).unwrap());
    let settle = || {
        while disks.iter().any(|disk| disk.pending() != 0) {
            disks.iter().for_each(|disk| world.vm.cache().io().poll(*disk));
        }
    };
    for n in (0..PAGES).map(|n| n * 77 % PAGES).chain(0..PAGES) {
        let _ = world.reclaim.page_out_shared(mm, page(at, n), PAGE_SIZE, &world.frames);
        settle();
    }
    let _ = disks.map(Disk::take_log);
    (0..PAGES).for_each(|n| assert_eq!(world.load(mm, page(at, n)).unwrap(), n + 1));
    settle();
    world.verify();
    let pages = disks.map(|disk| disk.take_log().iter().map(|read| read.bytes / PAGE_SIZE).sum::<u64>());
    assert!(pages.iter().all(|&pages| pages > 50) && pages[0] + pages[1] == PAGES, "{pages:?}");
    assert!(swapping.event(VmEvent::PgMajFault) < PAGES / 7);
}
