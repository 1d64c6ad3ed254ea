//! Shared memory: every area that shows it sees every write, in one context and in many, and it goes with the last.

use super::{World, cpu, page};
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::fault::{Flavour, Segv};
use mm::port::Machine as _;
use mm::space::{Advice, Errno, MapFlags, MapRequest, Mm, Moving, Rss};
use mm::vma::VmFlags;
use mm::vmstat::NodeStat;
use sim::Machine;

fn map(world: &World, mm: &Mm<'static, Machine>, pages: u64, flags: MapFlags) -> VirtAddr {
    let vm = VmFlags::READ | VmFlags::WRITE | VmFlags::SHARED;
    let request = MapRequest { vm, flags, ..MapRequest::anon(pages * PAGE_SIZE) };
    world.vm.mmap(mm, &request, &world.frames).unwrap()
}

#[test]
fn a_page_is_made_by_whoever_touches_it_first() {
    let world = World::new(32, 1);
    let before = (world.free_pages(), world.vm.commit().committed());
    let one = world.context();
    let at = map(&world, one, 600, MapFlags::empty());
    assert_eq!(world.vm.commit().committed(), 600);
    assert_eq!(world.flavour_of_store(one, page(at, 3), 7), Some(Flavour::Shared));
    assert_eq!((one.counters().rss(Rss::Shmem), one.counters().rss(Rss::Anon)), (1, 0));
    let two = world.context();
    world.vm.share(one, page(at, 9), two, &world.frames).unwrap();
    assert_eq!(world.vm.share(one, at, two, &world.frames), Err(Errno::Eexist));
    assert_eq!(world.flavour_of_load(two, page(at, 3)), Some(Flavour::Shared));
    assert_eq!(world.load(two, page(at, 3)), Ok(7));
    world.store(two, page(at, 3), 8).unwrap();
    world.store(two, page(at, 599), 9).unwrap();
    world.run(one);
    assert_eq!((world.load(one, page(at, 3)), world.load(one, page(at, 599))), (Ok(8), Ok(9)));
    assert_eq!((world.vm.stat().total(NodeStat::Shmem), world.vm.stat().total(NodeStat::FileMapped)), (2, 2));
    world.verify();
    world.end(one);
    world.run(two);
    assert_eq!(world.load(two, page(at, 599)), Ok(9));
    world.verify();
    world.end(two);
    let stat = world.vm.stat();
    assert_eq!(stat.total(NodeStat::Shmem) + stat.total(NodeStat::FileMapped), 0);
    assert_eq!(world.vm.commit().committed(), before.1);
}

#[test]
fn a_clone_shows_the_same_memory() {
    let world = World::new(32, 1);
    let parent = world.context();
    let at = map(&world, parent, 8, MapFlags::OVERLAY);
    world.store(parent, at, 1).unwrap();
    let child = world.vm.clone_mm(parent, &world.frames).unwrap();
    world.run(child);
    assert_eq!(world.load(child, at), Ok(1));
    world.store(child, at, 2).unwrap();
    world.store(child, page(at, 5), 3).unwrap();
    world.run(parent);
    assert_eq!((world.load(parent, at), world.load(parent, page(at, 5))), (Ok(2), Ok(3)));
    world.verify();
}

#[test]
fn parts_of_it_come_and_go_and_the_rest_stays() {
    let world = World::new(32, 1);
    let mm = world.context();
    let at = map(&world, mm, 16, MapFlags::empty());
    (0..16).for_each(|n| world.store(mm, page(at, n), n).unwrap());
    world.vm.munmap(mm, page(at, 4), 4 * PAGE_SIZE, &world.frames).unwrap();
    world.vm.mprotect(mm, page(at, 10), 2 * PAGE_SIZE, VmFlags::READ, &world.frames).unwrap();
    assert_eq!(world.store(mm, page(at, 10), 0), Err(Segv::AccErr));
    world
        .vm
        .mprotect(mm, page(at, 10), 2 * PAGE_SIZE, VmFlags::READ | VmFlags::WRITE, &world.frames)
        .unwrap();
    world.store(mm, page(at, 10), 10).unwrap();
    // What is not needed in the entries is still in the object.
    world.vm.madvise(mm, page(at, 8), 8 * PAGE_SIZE, Advice::DontNeed, &world.frames).unwrap();
    assert_eq!(mm.counters().rss(Rss::Shmem), 4);
    (8..16).for_each(|n| assert_eq!(world.load(mm, page(at, n)), Ok(n)));
    world.verify();
    let frames = &world.frames;
    assert_eq!(
        world.vm.mremap(mm, at, 4 * PAGE_SIZE, 9 * PAGE_SIZE, Moving::May, frames),
        Err(Errno::Einval)
    );
    assert_eq!(world.vm.snapshot(mm, at, PAGE_SIZE, frames), Err(Errno::Einval));
    let private = world.map(mm, 1);
    let other = world.vm.create(frames).unwrap();
    assert_eq!(world.vm.share(mm, private, other, frames), Err(Errno::Efault));
    world.end(mm);
    assert_eq!(world.vm.stat().total(NodeStat::Shmem), 0);
}

#[test]
fn two_cpus_in_two_contexts_make_each_page_once() {
    let world = World::new(64, 2);
    let one = world.context();
    let at = map(&world, one, 2000, MapFlags::empty());
    let two = world.vm.create(&world.frames).unwrap();
    world.vm.share(one, at, two, &world.frames).unwrap();
    let on = world.machine().cpu();
    std::thread::scope(|scope| {
        for (n, mm) in [one, two].into_iter().enumerate() {
            let world = &world;
            scope.spawn(move || {
                on.run_on(cpu(n as u32), || {
                    world.run(mm);
                    for p in 0..2000 {
                        let word = VirtAddr::new(page(at, p).get() + 8 * n as u64).unwrap();
                        world.store(mm, word, p).unwrap();
                    }
                });
            });
        }
    });
    assert_eq!(world.vm.stat().total(NodeStat::Shmem), 2000);
    for p in 0..2000 {
        for n in 0..2 {
            assert_eq!(world.load(one, VirtAddr::new(page(at, p).get() + 8 * n).unwrap()), Ok(p));
        }
    }
    world.verify();
}
