//! Pages appear when they are touched, are what was stored, and are counted exactly.

use super::{World, page};
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::fault::{Flavour, Segv};
use mm::port::Access;
use mm::space::{Errno, MapFlags, MapRequest, Rss, ThpMode, Usage};
use mm::vma::{VmFlags, VmaKind};
use mm::vmstat::{NodeStat, VmEvent};

fn small(world: &World) {
    world.vm.settings().set_thp(ThpMode::Never);
}

#[test]
fn each_page_is_taken_by_its_first_touch_and_counted_once() {
    let world = World::new(32, 1);
    small(&world);
    let mm = world.context();
    let at = world.map(mm, 1024);
    assert_eq!((mm.counters().usage(Usage::Total), mm.counters().resident()), (1024, 0));
    let before = world.event(VmEvent::PgFault);
    for n in (0..1024).step_by(16) {
        assert_eq!(world.flavour_of_store(mm, page(at, n), n), Some(Flavour::Anon));
    }
    assert_eq!(world.event(VmEvent::PgFault) - before, 64);
    assert_eq!(mm.counters().rss(Rss::Anon), 64);
    assert_eq!(world.vm.stat().total(NodeStat::AnonMapped), 64);
    for n in (0..1024).step_by(16) {
        assert_eq!(world.load(mm, page(at, n)), Ok(n));
    }
    world.vm.populate(mm, at, 1024 * PAGE_SIZE, Access::Write, &world.frames).unwrap();
    assert_eq!(mm.counters().rss(Rss::Anon), 1024);
    assert_eq!(world.event(VmEvent::PgFault) - before, 1024);
    world.verify();
}

#[test]
fn a_context_gives_back_all_it_had() {
    let world = World::new(32, 1);
    // The caches keep slabs; the second context finds them.
    for round in 0..3 {
        let before = world.free_pages();
        let mm = world.context();
        let at = world.map(mm, 700);
        for n in 0..700 {
            world.store(mm, page(at, n), n).unwrap();
        }
        world.vm.munmap(mm, page(at, 100), 50 * PAGE_SIZE, &world.frames).unwrap();
        world.verify();
        assert_eq!(mm.counters().rss(Rss::Anon), 650);
        world.end(mm);
        let left = before - world.free_pages();
        assert!(round == 0 || left == 0, "round {round}: {left} pages lost");
        assert_eq!(world.vm.stat().total(NodeStat::AnonMapped), 0);
        assert_eq!(world.vm.stat().total(NodeStat::AnonThps), 0);
        assert_eq!(world.vm.stat().total(NodeStat::PageTables), 0);
        assert_eq!(world.vm.commit().committed(), 0);
    }
}

#[test]
fn reads_share_the_page_of_zeroes_until_the_first_write() {
    let world = World::new(32, 1);
    small(&world);
    let mm = world.context();
    let at = world.map(mm, 8);
    world.vm.populate(mm, at, PAGE_SIZE, Access::Read, &world.frames).unwrap();
    let before = world.free_pages();
    for n in 1..8 {
        assert_eq!(world.flavour_of_load(mm, page(at, n)), Some(Flavour::AnonZero));
    }
    assert_eq!((world.free_pages(), mm.counters().resident()), (before, 0));
    world.verify();
    assert_eq!(world.flavour_of_store(mm, page(at, 3), 7), Some(Flavour::Anon));
    assert_eq!((world.load(mm, page(at, 3)), world.load(mm, page(at, 4))), (Ok(7), Ok(0)));
    assert_eq!(mm.counters().resident(), 1);
    world.verify();
}

#[test]
fn accesses_that_are_not_allowed_are_told_apart() {
    let world = World::new(32, 1);
    let mm = world.context();
    let at = world.map(mm, 4);
    world.store(mm, at, 1).unwrap();
    let faults = world.event(VmEvent::PgFault);
    assert_eq!(world.load(mm, VirtAddr::new(16 & !7).unwrap()), Err(Segv::MapErr));
    assert_eq!(world.store(mm, page(at, 4), 1), Err(Segv::MapErr));
    world.vm.mprotect(mm, at, 2 * PAGE_SIZE, VmFlags::READ, &world.frames).unwrap();
    assert_eq!(world.store(mm, at, 2), Err(Segv::AccErr));
    assert_eq!((world.load(mm, at), world.store(mm, page(at, 2), 3)), (Ok(1), Ok(())));
    world.vm.mprotect(mm, at, PAGE_SIZE, VmFlags::empty(), &world.frames).unwrap();
    assert_eq!(world.load(mm, at), Err(Segv::AccErr));
    let all = VmFlags::READ | VmFlags::WRITE;
    world.vm.mprotect(mm, at, 2 * PAGE_SIZE, all, &world.frames).unwrap();
    assert_eq!((world.load(mm, at), world.store(mm, at, 4)), (Ok(1), Ok(())));
    // Only the page that was new is a fault that was handled; the other touched what was there.
    assert_eq!(world.event(VmEvent::PgFault) - faults, 1);
    world.verify();
}

#[test]
fn code_is_fetched_only_from_where_it_may() {
    let world = World::new(32, 1);
    let mm = world.context();
    let text = MapRequest {
        vm: VmFlags::READ | VmFlags::EXEC,
        kind: VmaKind::Text,
        ..MapRequest::anon(2 * PAGE_SIZE)
    };
    let code = world.vm.mmap(mm, &text, &world.frames).unwrap();
    let data = world.map(mm, 2);
    world.load(mm, code).unwrap();
    world.store(mm, data, 1).unwrap();
    let user = world.machine().user();
    assert!(user.fetch(code).is_ok());
    let trap = user.fetch(data).unwrap_err();
    assert_eq!(world.trapped(mm, trap), Err(Segv::AccErr));
    assert_eq!(mm.counters().usage(Usage::Exec), 2);
}

#[test]
fn addresses_are_the_contexts_own() {
    let world = World::new(32, 1);
    let (one, two) = (world.vm.create(&world.frames).unwrap(), world.vm.create(&world.frames).unwrap());
    let (a, b) = (world.map(one, 16), world.map(two, 16));
    assert_ne!(a.get() >> 39, b.get() >> 39);
    let fixed = |addr, flags| MapRequest { addr: Some(addr), flags, ..MapRequest::anon(PAGE_SIZE) };
    let map =
        |addr: u64, flags| world.vm.mmap(one, &fixed(VirtAddr::new(addr).unwrap(), flags), &world.frames);
    assert_eq!(map(b.get(), MapFlags::FIXED), Err(Errno::Eperm));
    assert_eq!(map(0, MapFlags::FIXED), Err(Errno::Eperm));
    assert_eq!(map(0x10000, MapFlags::FIXED), Ok(VirtAddr::new(0x10000).unwrap()));
    assert_eq!(map(0x7fff_ffff_e000, MapFlags::FIXED), Ok(VirtAddr::new(0x7fff_ffff_e000).unwrap()));
    assert_eq!(map(0x7fff_ffff_f000, MapFlags::FIXED), Err(Errno::Enomem));
    assert_eq!(map(0x10001, MapFlags::FIXED), Err(Errno::Einval));
    assert_eq!(map(a.get(), MapFlags::FIXED_NOREPLACE), Err(Errno::Eexist));
    assert_eq!(world.vm.mmap(one, &MapRequest::anon(0), &world.frames), Err(Errno::Einval));
    assert_eq!(world.vm.mmap(one, &MapRequest::anon(1 << 50), &world.frames), Err(Errno::Enomem));
    world.verify();
}

#[test]
fn bad_ranges_are_refused_and_change_nothing() {
    let world = World::new(32, 1);
    let mm = world.context();
    let at = world.map(mm, 4);
    let (vm, frames) = (&world.vm, &world.frames);
    let odd = VirtAddr::new(at.get() + 1).unwrap();
    assert_eq!(vm.munmap(mm, odd, PAGE_SIZE, frames), Err(Errno::Einval));
    assert_eq!(vm.munmap(mm, at, 0, frames), Err(Errno::Einval));
    assert_eq!(vm.munmap(mm, at, u64::MAX, frames), Err(Errno::Einval));
    assert_eq!(vm.mprotect(mm, odd, PAGE_SIZE, VmFlags::READ, frames), Err(Errno::Einval));
    assert_eq!(vm.mprotect(mm, page(at, 2), 4 * PAGE_SIZE, VmFlags::READ, frames), Err(Errno::Enomem));
    assert_eq!(vm.mlock(mm, page(at, 4), PAGE_SIZE, frames), Err(Errno::Enomem));
    assert_eq!(mm.counters().usage(Usage::Total), 4);
    assert_eq!(vm.munmap(mm, page(at, 8), PAGE_SIZE, frames), Ok(()));
    world.verify();
}

#[test]
fn promises_are_kept_within_limits() {
    let world = World::with(64, 1, false);
    let mm = world.context();
    let ram = world.board.total_managed_pages();
    let settings = world.vm.settings();
    let map = |pages: u64| world.vm.mmap(mm, &MapRequest::anon(pages * PAGE_SIZE), &world.frames);
    assert_eq!(map(ram + 1), Err(Errno::Enomem));
    // Each alone is possible, both together are not: the guess takes them.
    let (one, two) = (map(ram).unwrap(), map(ram).unwrap());
    assert_eq!(world.vm.commit_info().committed, 2 * ram);
    for at in [one, two] {
        world.vm.munmap(mm, at, ram * PAGE_SIZE, &world.frames).unwrap();
    }
    settings.set_overcommit(mm::space::OvercommitMode::Never);
    settings.set_admin_reserve(0);
    settings.set_user_reserve(0);
    let limit = world.vm.commit_info().limit;
    assert_eq!(limit, ram / 2);
    assert_eq!(map(limit), Err(Errno::Enomem));
    let at = map(limit - 1).unwrap();
    assert_eq!(map(1), Err(Errno::Enomem));
    // What nobody writes is not promised, until it may be written.
    let read = MapRequest { vm: VmFlags::READ, ..MapRequest::anon(PAGE_SIZE) };
    let view = world.vm.mmap(mm, &read, &world.frames).unwrap();
    let all = VmFlags::READ | VmFlags::WRITE;
    assert_eq!(world.vm.mprotect(mm, view, PAGE_SIZE, all, &world.frames), Err(Errno::Enomem));
    settings.set_overcommit(mm::space::OvercommitMode::Always);
    assert!(map(100 * ram).is_ok());
    world.vm.munmap(mm, at, (limit - 1) * PAGE_SIZE, &world.frames).unwrap();
    world.end(mm);
    assert_eq!(world.vm.commit().committed(), 0);
}

#[test]
fn a_stack_grows_to_where_it_is_touched_but_not_into_its_gap() {
    let world = World::new(32, 1);
    let mm = world.context();
    let top = VirtAddr::new(mm.layout().stack_top << 12).unwrap();
    let start = VirtAddr::new(top.get() - 4 * PAGE_SIZE).unwrap();
    let request = MapRequest {
        addr: Some(start),
        flags: MapFlags::FIXED,
        kind: VmaKind::Stack,
        vm: VmFlags::READ | VmFlags::WRITE | VmFlags::GROWSDOWN,
        ..MapRequest::anon(4 * PAGE_SIZE)
    };
    world.vm.mmap(mm, &request, &world.frames).unwrap();
    let below = |pages: u64| VirtAddr::new(start.get() - pages * PAGE_SIZE).unwrap();
    world.store(mm, below(256), 1).unwrap();
    assert_eq!(mm.counters().usage(Usage::Stack), 260);
    world.verify();
    // 8 MiB and no more.
    assert_eq!(world.store(mm, below(2048 - 4), 1), Ok(()));
    assert_eq!(world.store(mm, below(2048 - 3), 1), Err(Segv::MapErr));
    let other = world.context();
    let (top, gap) = (other.layout().stack_top, 256);
    let (lower, upper) = (top - 600, top - 4);
    for (first, grows) in [(lower, VmFlags::empty()), (upper, VmFlags::GROWSDOWN)] {
        let vm = VmFlags::READ | VmFlags::WRITE | grows;
        let addr = VirtAddr::new(first << 12);
        let request = MapRequest { addr, vm, ..request };
        world.vm.mmap(other, &MapRequest { len: 4 * PAGE_SIZE, ..request }, &world.frames).unwrap();
    }
    let at = |vpn: u64| VirtAddr::new(vpn << 12).unwrap();
    assert_eq!(world.store(other, at(lower + 4 + gap - 1), 1), Err(Segv::MapErr));
    assert_eq!(world.store(other, at(lower + 4 + gap), 1), Ok(()));
    world.verify();
}

#[test]
fn the_heap_is_one_area_that_grows_and_shrinks() {
    let world = World::new(32, 1);
    let mm = world.context();
    let start = world.vm.heap(mm).start;
    let to = |bytes: u64| VirtAddr::new(start.get() + bytes).unwrap();
    world.vm.set_brk(mm, to(10_000), &world.frames).unwrap();
    world.store(mm, start, 5).unwrap();
    world.vm.set_brk(mm, to(100_000), &world.frames).unwrap();
    world.store(mm, to(98_304), 6).unwrap();
    assert_eq!(world.load(mm, start), Ok(5));
    assert_eq!(world.vm.verify(mm).unwrap().areas, 1);
    assert_eq!(mm.counters().usage(Usage::Total), 25);
    world.vm.set_brk(mm, to(4096), &world.frames).unwrap();
    assert_eq!((world.load(mm, to(4096)), world.load(mm, start)), (Err(Segv::MapErr), Ok(5)));
    assert_eq!(
        world.vm.set_brk(mm, VirtAddr::new(start.get() - 1).unwrap(), &world.frames),
        Err(Errno::Einval)
    );
    world.verify();
}

#[test]
fn locked_memory_is_there_and_stays() {
    let world = World::new(32, 1);
    small(&world);
    let mm = world.context();
    let at = world.map(mm, 16);
    world.vm.mlock(mm, page(at, 4), 8 * PAGE_SIZE, &world.frames).unwrap();
    assert_eq!((mm.counters().usage(Usage::Locked), mm.counters().resident()), (8, 8));
    assert_eq!(world.vm.stat().total(NodeStat::Mlocked), 8);
    world.vm.munmap(mm, page(at, 11), PAGE_SIZE, &world.frames).unwrap();
    assert_eq!((world.vm.stat().total(NodeStat::Mlocked), world.event(VmEvent::PgMlocked)), (7, 8));
    let again = MapRequest {
        addr: Some(page(at, 11)),
        flags: MapFlags::FIXED,
        vm: VmFlags::READ | VmFlags::WRITE | VmFlags::LOCKED,
        ..MapRequest::anon(PAGE_SIZE)
    };
    world.vm.mmap(mm, &again, &world.frames).unwrap();
    world.store(mm, page(at, 11), 1).unwrap();
    assert_eq!(world.vm.stat().total(NodeStat::Mlocked), 8);
    let before = world.event(VmEvent::PgFault);
    for n in 4..12 {
        world.store(mm, page(at, n), n).unwrap();
    }
    assert_eq!(world.event(VmEvent::PgFault), before);
    let dont = mm::space::Advice::DontNeed;
    assert_eq!(world.vm.madvise(mm, at, 16 * PAGE_SIZE, dont, &world.frames), Err(Errno::Einval));
    world.vm.munlock(mm, at, 16 * PAGE_SIZE, &world.frames).unwrap();
    assert_eq!((world.vm.stat().total(NodeStat::Mlocked), world.event(VmEvent::PgMunlocked)), (0, 9));
    assert_eq!(world.vm.verify(mm).unwrap().areas, 1);
    world.vm.madvise(mm, at, 16 * PAGE_SIZE, dont, &world.frames).unwrap();
    assert_eq!((mm.counters().resident(), world.load(mm, page(at, 5))), (0, Ok(0)));
    world.verify();
}
