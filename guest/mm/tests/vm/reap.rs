//! The memory of a context whose end is certain: it goes at once, also while others touch it.

use super::race::{at_once, rounds};
use super::{World, page};
use mm::addr::PAGE_SIZE;
use mm::space::{MapRequest, Rss, ThpMode};
use mm::vma::VmFlags;
use mm::vmstat::NodeStat;

const PAGES: u64 = 64;

#[test]
fn what_is_private_goes_and_what_is_shared_stays() {
    let world = World::new(64, 1);
    world.vm.settings().set_thp(ThpMode::Always);
    let mm = world.context();
    let (small, huge) = (world.map(mm, 10), world.map(mm, 1024));
    let vm = VmFlags::READ | VmFlags::WRITE | VmFlags::SHARED;
    let request = MapRequest { vm, ..MapRequest::anon(4 * PAGE_SIZE) };
    let shared = world.vm.mmap(mm, &request, &world.frames).unwrap();
    for n in 0..4 {
        world.store(mm, page(small, n), n).unwrap();
        world.store(mm, page(shared, n), n + 7).unwrap();
    }
    world.store(mm, huge, 1).unwrap();
    world.vm.mlock(mm, small, 4 * PAGE_SIZE, &world.frames).unwrap();
    assert_eq!(world.vm.stat().total(NodeStat::Mlocked), 4);
    let free = world.free_pages();
    assert_eq!(world.vm.reap(mm, &world.frames), Ok(4 + 512));
    let counters = mm.counters();
    assert_eq!([Rss::Anon, Rss::Shmem].map(|kind| counters.rss(kind)), [0, 4]);
    assert_eq!(world.vm.stat().total(NodeStat::Mlocked), 0);
    assert!(world.free_pages() >= free + 512, "the huge page is free; single ones may wait on a CPU's list");
    world.verify();
    assert_eq!(world.load(mm, page(shared, 3)), Ok(10));
    assert_eq!(world.load(mm, page(small, 3)), Ok(0), "a task that went on would see zeroes");
    world.end(mm);
}

/// Pages that a clone has too are copied by two CPUs at the moment when they are to go.
#[test]
fn it_goes_while_others_copy_it() {
    let world = World::new(64, 3);
    world.vm.settings().set_thp(ThpMode::Never);
    let mm = world.context();
    let at = world.map_overlay(mm, PAGES);
    for round in rounds() {
        world.run(mm);
        (0..PAGES).for_each(|n| world.store(mm, page(at, n), round).unwrap());
        let clone = world.vm.clone_mm(mm, &world.frames).unwrap();
        at_once(&world, mm, 3, |id| match id {
            0 => drop(world.vm.reap(mm, &world.frames).unwrap()),
            _ => (0..PAGES).for_each(|n| world.store(mm, page(at, n), n).unwrap()),
        });
        world.verify();
        world.end(clone);
    }
    world.vm.reap(mm, &world.frames).unwrap();
    assert_eq!(mm.counters().rss(Rss::Anon), 0);
    world.end(mm);
}
