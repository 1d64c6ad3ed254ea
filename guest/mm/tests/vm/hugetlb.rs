//! Mappings of pages from a pool: promised when they are mapped, taken when they are touched, given back whole.

use super::{World, page};
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::fault::{Fault, Flavour};
use mm::port::{Access, Level};
use mm::space::{Errno, MapFlags, MapRequest, Mm};
use mm::vma::{Backing, VmFlags};
use sim::Machine;

pub fn request(pages: u64) -> MapRequest {
    MapRequest {
        vm: VmFlags::READ | VmFlags::WRITE | VmFlags::HUGETLB,
        backing: Backing::Hugetlb(Level::PMD),
        ..MapRequest::anon(pages * 512 * PAGE_SIZE)
    }
}

pub fn map(world: &World, mm: &Mm<'static, Machine>, pages: u64, flags: MapFlags) -> Result<VirtAddr, Errno> {
    world.vm.mmap(mm, &MapRequest { flags, ..request(pages) }, &world.frames)
}

/// Total, free and reserved.
fn counts(world: &World) -> (u64, u64, u64) {
    let counts = world.pool.counts(None);
    (counts.total, counts.free, counts.reserved)
}

#[test]
fn pages_are_promised_then_taken_then_given_back() {
    let world = World::new(64, 1);
    assert_eq!(world.pool.resize(8), 8);
    let mm = world.context();
    assert_eq!(map(&world, mm, 9, MapFlags::empty()), Err(Errno::Enomem));
    let at = map(&world, mm, 4, MapFlags::empty()).unwrap();
    assert_eq!(counts(&world), (8, 8, 4));
    assert_eq!(world.flavour_of_store(mm, page(at, 700), 1), Some(Flavour::Hugetlb));
    assert_eq!(world.flavour_of_load(mm, at), Some(Flavour::Hugetlb));
    assert_eq!(counts(&world), (8, 6, 2));
    assert_eq!((mm.counters().hugetlb(), mm.counters().resident()), (1024, 0));
    assert_eq!(world.load(mm, page(at, 700)), Ok(1));
    world.verify();
    // Not in the middle of a page.
    let part = world.vm.munmap(mm, page(at, 100), PAGE_SIZE, &world.frames);
    assert_eq!(part, Err(Errno::Einval));
    world.vm.munmap(mm, page(at, 512), 1024 * PAGE_SIZE, &world.frames).unwrap();
    assert_eq!(counts(&world), (8, 7, 1));
    world.verify();
    world.end(mm);
    assert_eq!(counts(&world), (8, 8, 0));
    assert_eq!(world.pool.resize(0), 0);
}

#[test]
fn without_a_promise_the_pool_may_be_empty() {
    let world = World::new(64, 1);
    assert_eq!(world.pool.resize(2), 2);
    let mm = world.context();
    let at = map(&world, mm, 3, MapFlags::NORESERVE).unwrap();
    assert_eq!(counts(&world), (2, 2, 0));
    world.store(mm, at, 1).unwrap();
    let other = map(&world, mm, 1, MapFlags::empty()).unwrap();
    // The last page is promised to the other.
    let fault = world.vm.fault(mm, page(at, 512), Access::Write, &world.frames);
    assert_eq!(fault, Fault::Sigbus);
    world.store(mm, other, 2).unwrap();
    assert_eq!((world.load(mm, at), world.load(mm, other)), (Ok(1), Ok(2)));
    world.verify();
}

#[test]
fn a_clone_copies_whole_pages_and_is_promised_none() {
    let world = World::new(64, 1);
    assert_eq!(world.pool.resize(3), 3);
    let parent = world.context();
    let at = map(&world, parent, 2, MapFlags::OVERLAY).unwrap();
    for n in [0, 1023] {
        world.store(parent, page(at, n), 7 + n).unwrap();
    }
    let child = world.vm.clone_mm(parent, &world.frames).unwrap();
    assert_eq!(counts(&world), (3, 1, 0));
    world.verify();
    world.run(child);
    assert_eq!((world.load(child, at), world.load(child, page(at, 1023))), (Ok(7), Ok(1030)));
    assert_eq!(world.flavour_of_store(child, page(at, 1), 8), Some(Flavour::Cow));
    assert_eq!(world.vm.fault(child, page(at, 512), Access::Write, &world.frames), Fault::Sigbus);
    assert_eq!((world.load(child, at), counts(&world)), (Ok(7), (3, 0, 0)));
    world.verify();
    world.end(child);
    world.run(parent);
    assert_eq!((world.load(parent, page(at, 1)), counts(&world)), (Ok(0), (3, 1, 0)));
    assert_eq!(world.flavour_of_store(parent, page(at, 512), 9), Some(Flavour::Reuse));
    world.verify();
}

#[test]
fn sizes_without_a_pool_are_refused() {
    let world = World::new(64, 1);
    let mm = world.context();
    world.pool.resize(1);
    let gigantic = MapRequest { backing: Backing::Hugetlb(Level::PUD), ..request(512) };
    assert_eq!(world.vm.mmap(mm, &gigantic, &world.frames), Err(Errno::Einval));
    let shared = MapRequest { vm: request(1).vm | VmFlags::SHARED, ..request(1) };
    assert_eq!(world.vm.mmap(mm, &shared, &world.frames), Err(Errno::Einval));
    let odd = MapRequest {
        addr: VirtAddr::new((mm.layout().start << 12) + PAGE_SIZE),
        flags: MapFlags::FIXED,
        ..request(1)
    };
    assert_eq!(world.vm.mmap(mm, &odd, &world.frames), Err(Errno::Einval));
}
