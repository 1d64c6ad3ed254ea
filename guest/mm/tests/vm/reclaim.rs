//! Reclaim of what contexts map: pages of files that are used stay, others are unmapped and go; what flags forbid is not
//! done.

use super::files::{READ, SHARED, Volume, map, word, words};
use super::swap::Swapping;
use super::{World, keep, page};
use crate::board::{reserves, zone_id};
use mm::addr::{NodeId, Order, PAGE_SIZE, VirtAddr};
use mm::cache::{FileMode, OpenFile};
use mm::errno::Errno;
use mm::frame::ZoneKind;
use mm::phys::{AllocError, FrameAllocator, GfpFlags, ReserveConfig, ZoneAllocator};
use mm::port::{Cpu as _, CpuId, Machine as _, TaskFlags, Tlb as _};
use mm::reclaim::{Reclaim, Reclaiming};
use mm::shrinker::Shrinkers;
use mm::space::{Mm, Rss, ThpMode};
use mm::vma::VmFlags;
use mm::vmstat::{NodeStat, VmEvent};
use sim::Machine;

const BOTH: FileMode = FileMode::READ.union(FileMode::WRITE);
const PAGES: u64 = 256;

/// Reclaim of a world, which must live as long.
pub fn reclaim(world: &World) -> Reclaim<'static, Machine> {
    // SAFETY: tests keep the world while they use this.
    let vm: &'static mm::space::Vm<'static, Machine> = unsafe { &*std::ptr::from_ref(&world.vm) };
    let shrinkers: &'static Shrinkers<'static> = keep(Shrinkers::new());
    Reclaim::new(world.board, vm, vm.swap(), shrinkers)
}

fn make_room(reclaim: &Reclaim<'static, Machine>) -> u64 {
    reclaim.make_room(GfpFlags::GFP_HIGHUSER_MOVABLE, Order::ZERO)
}

/// Loads the pages, whose entries say so then: what the CPU has cached it forgets, as time makes it do elsewhere.
fn use_pages(world: &World, mm: &Mm<'static, Machine>, at: VirtAddr, pages: std::ops::Range<u64>) {
    world.machine().tlb().flush_all();
    pages.for_each(|n| assert_eq!(world.load(mm, page(at, n)), Ok(word(1, n))));
}

fn mapped_file() -> (World, &'static Volume) {
    let world = World::new(32, 1);
    let volume: &'static Volume = keep(Volume::new(&world));
    (world, volume)
}

#[test]
fn mapped_pages_that_are_used_stay_and_others_go() {
    let (world, volume) = mapped_file();
    let mm = world.context();
    let file = volume.file(&world, 1, PAGES, FileMode::READ);
    let at = map(&world, mm, file, PAGES, READ);
    assert_eq!(words(&world, mm, at, PAGES), (0..PAGES).map(|n| word(1, n)).collect::<Vec<_>>());
    let reclaim = reclaim(&world);
    let hot = 64..96;
    let is_cached = |n| world.vm.cache().is_cached(file.inode(), n);
    let mut rounds = 0;
    while (0..PAGES).any(|n| is_cached(n) && !hot.contains(&n)) {
        make_room(&reclaim);
        use_pages(&world, mm, at, hot.clone());
        rounds += 1;
        assert!(rounds < 100, "{:?}", (0..PAGES).filter(|n| is_cached(*n)).collect::<Vec<_>>());
    }
    assert!(hot.clone().all(is_cached), "what is used stays");
    assert_eq!(mm.counters().rss(Rss::File), hot.end - hot.start);
    assert_eq!(world.vm.stat().total(NodeStat::FileMapped), hot.end - hot.start);
    let refaults = world.vm.stat().total(NodeStat::RefaultFile);
    assert_eq!(world.event(VmEvent::PgStealFile), PAGES + refaults - (hot.end - hot.start));
    world.verify();
    world.vm.verify_file(file.inode()).unwrap();
    use_pages(&world, mm, at, 0..PAGES);
    assert_eq!(world.vm.stat().total(NodeStat::RefaultFile) - refaults, PAGES - (hot.end - hot.start));
    world.verify();
    world.end(mm);
}

/// One use keeps a page for another round; a page of code becomes active with it, and what is locked cannot go at all.
#[test]
fn code_is_kept_after_one_use_and_what_is_locked_always() {
    let (world, volume) = mapped_file();
    let mm = world.context();
    let file = volume.file(&world, 1, PAGES, FileMode::READ);
    let reclaim = reclaim(&world);
    for (flags, is_code) in [(READ, false), (READ | VmFlags::EXEC, true)] {
        let at = map(&world, mm, file, PAGES, flags);
        use_pages(&world, mm, at, 0..PAGES);
        let before = world.event(VmEvent::PgActivate);
        let scanned = world.event(VmEvent::PgScanFile);
        while world.event(VmEvent::PgScanFile) < scanned + PAGES / 2 {
            make_room(&reclaim);
        }
        let activated = world.event(VmEvent::PgActivate) - before;
        assert_eq!(activated != 0, is_code, "{activated} pages became active");
        world.vm.munmap(mm, at, PAGES * PAGE_SIZE, &world.frames).unwrap();
        while make_room(&reclaim) != 0 {}
        assert_eq!(file.inode().mapping().nrpages(), 0, "nobody maps it, so all of it goes");
    }
    let at = map(&world, mm, file, PAGES, READ);
    use_pages(&world, mm, at, 0..PAGES);
    world.vm.mlock(mm, at, 100 * PAGE_SIZE, &world.frames).unwrap();
    for _ in 0..20 {
        make_room(&reclaim);
    }
    let is_cached = |n| world.vm.cache().is_cached(file.inode(), n);
    assert_eq!((0..PAGES).filter(|n| is_cached(*n)).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    assert_eq!(world.vm.stat().total(NodeStat::Unevictable), 100);
    world.verify();
    world.end(mm);
}

/// Dirty pages stay, and the flushers are asked for all of them; written they are the next to go.
#[test]
fn dirty_pages_wake_the_flushers_and_go_when_they_are_written() {
    let (world, volume) = mapped_file();
    let mm = world.context();
    let file = volume.file(&world, 1, PAGES, BOTH);
    let at = map(&world, mm, file, PAGES, SHARED);
    for n in 0..PAGES {
        world.store(mm, page(at, n), word(1, n)).unwrap();
    }
    world.vm.munmap(mm, at, PAGES * PAGE_SIZE, &world.frames).unwrap();
    let (reclaim, dirty) = (reclaim(&world), world.vm.cache().dirty());
    let wanted = dirty.wanted_all();
    assert_eq!(make_room(&reclaim), 0);
    assert!(dirty.wanted_all() > wanted, "all that was found was dirty");
    assert_eq!(world.vm.stat().total(NodeStat::Dirty), PAGES);
    let seen = world.vm.stat().total(NodeStat::VmscanImmediate);
    assert!(seen >= PAGES, "{seen}");
    assert_eq!(world.vm.flush_all(volume.disk, &world.frames).pages, PAGES);
    while volume.disk.pending() != 0 {
        world.vm.cache().io().poll(volume.disk);
    }
    assert_eq!(world.event(VmEvent::PgRotated), PAGES, "what is written goes next");
    while make_room(&reclaim) != 0 {}
    assert_eq!(file.inode().mapping().nrpages(), 0);
    let again = map(&world, mm, file, PAGES, READ);
    use_pages(&world, mm, again, 0..PAGES);
    world.verify();
    world.end(mm);
}

/// Whoever may not start I/O makes no room in swap, by flags or by scope; whoever may does.
#[test]
fn who_may_not_start_io_sends_nothing_to_swap() {
    let swapping = Swapping::new(32, 1, 5);
    let (world, mm) = (&swapping.world, swapping.world.context());
    swapping.on(1024, &[], None).unwrap();
    let at = world.map(mm, PAGES);
    for n in 0..PAGES {
        world.store(mm, page(at, n), n + 1).unwrap();
    }
    let (reclaim, cpu) = (reclaim(world), world.machine().cpu());
    let all = GfpFlags::GFP_KERNEL;
    for gfp in [GfpFlags::GFP_NOIO, all - GfpFlags::__GFP_IO] {
        (0..4).for_each(|_| assert_eq!(reclaim.make_room(gfp, Order::ZERO), 0));
    }
    {
        let _scope = cpu.memalloc_scope(TaskFlags::PF_MEMALLOC_NOIO);
        (0..4).for_each(|_| assert_eq!(reclaim.make_room(all, Order::ZERO), 0));
    }
    assert!(world.event(VmEvent::PgScanAnon) >= PAGES, "it looked");
    assert_eq!((world.event(VmEvent::PswpOut), swapping.disk.pending()), (0, 0));
    // Swap is a disk and not a file system.
    let _scope = cpu.memalloc_scope(TaskFlags::PF_MEMALLOC_NOFS);
    (0..4).for_each(|_| _ = reclaim.make_room(all, Order::ZERO));
    assert!(world.event(VmEvent::PswpOut) > 0);
    swapping.settle();
    swapping.check();
    world.end(mm);
}

/// Who must not fail waits for others, however long that takes; who may is told.
#[test]
fn who_must_not_fail_waits_until_somebody_frees_something() {
    let world = World::with(16, 2, false);
    let zones: &'static ZoneAllocator<'static, Machine> = keep(ZoneAllocator::new(world.board));
    let reclaim: &'static Reclaim<'static, Machine> = keep(reclaim(&world));
    let frames = Reclaiming::new(zones, reclaim);
    let mut held = vec![];
    let refused = loop {
        match frames.alloc(GfpFlags::GFP_KERNEL, Order::ZERO) {
            Ok(page) => held.push(page.into_raw()),
            Err(error) => break error,
        }
    };
    assert_eq!(refused, AllocError::OutOfMemory);
    let start = world.machine().cpu().now();
    std::thread::scope(|scope| {
        let cpu = world.machine().cpu();
        scope.spawn(move || {
            cpu.run_on(CpuId(1), || {
                while cpu.now() < start + 1_000_000_000 {
                    std::thread::yield_now();
                }
                for (pfn, order) in held {
                    // SAFETY: it was allocated above, and nobody uses it.
                    world.board.free_pages(unsafe { world.board.frames_from_raw(pfn, order) }).unwrap();
                }
            });
        });
        let page = frames.alloc(GfpFlags::GFP_KERNEL | GfpFlags::__GFP_NOFAIL, Order::ZERO).unwrap();
        assert!(cpu.now() >= start + 1_000_000_000, "it waited");
        frames.free(page).unwrap();
    });
}

/// The root of a context is made where nobody can make room: it is made again when room was made, and only then.
#[test]
fn room_is_made_for_what_cannot_make_it_itself() {
    let (world, volume) = mapped_file();
    let file = volume.file(&world, 1, PAGES, FileMode::READ);
    read_pages(&world, file, 0..PAGES);
    let reclaim = reclaim(&world);
    let mut held = vec![];
    while let Ok(page) = world.board.alloc_pages(GfpFlags::GFP_ATOMIC, Order::ZERO) {
        held.push(page);
    }
    assert_eq!(world.vm.create(&world.frames).err(), Some(Errno::Enomem));
    let stolen = world.event(VmEvent::PgStealFile);
    let mm = reclaim.with_room(|| world.vm.create(&world.frames)).unwrap();
    assert!(world.event(VmEvent::PgStealFile) > stolen, "room was made");
    world.end(mm);
    // Nothing can be made where nothing can be taken, and another error is no lack of room.
    while make_room(&reclaim) != 0 {}
    while let Ok(page) = world.board.alloc_pages(GfpFlags::GFP_ATOMIC, Order::ZERO) {
        held.push(page);
    }
    assert_eq!(reclaim.with_room(|| world.vm.create(&world.frames)).err(), Some(Errno::Enomem));
    let mut calls = 0;
    let refused = reclaim.with_room(|| {
        calls += 1;
        Err::<(), _>(Errno::Eagain)
    });
    assert_eq!((refused, calls), (Err(Errno::Eagain), 1));
    for page in held {
        world.board.free_pages(page).unwrap();
    }
    world.verify();
}

/// Reads pages of a file, as a system call does.
fn read_pages(world: &World, file: &'static OpenFile<'static>, pages: std::ops::Range<u64>) {
    for n in pages {
        world.vm.cache().read(file, n * PAGE_SIZE, 8, &world.frames, |_, _| ()).unwrap();
    }
}

/// With costs alike as many anonymous pages are looked at as pages of files if `vm.swappiness` is 100; fewer below and more
/// above, and none at 0 (Linux `get_scan_count`).
#[test]
fn swappiness_shares_out_what_is_looked_at() {
    let shares = [0, 20, 60, 100, 140, 180, 200].map(|swappiness| {
        let swapping = Swapping::new(32, 1, 6);
        let (world, mm) = (&swapping.world, swapping.world.context());
        swapping.on(4096, &[], None).unwrap();
        world.vm.settings().set_thp(ThpMode::Never);
        let (volume, reclaim) = (Volume::new(world), reclaim(world));
        let other = volume.file(world, 2, 40, FileMode::READ);
        read_pages(world, other, 0..40);
        assert!(reclaim.set_swappiness(0) && make_room(&reclaim) >= 32);
        // Of both kinds as many pages are inactive. The first to be looked at were used, so that they cost the same.
        let file = volume.file(world, 1, 500, FileMode::READ);
        read_pages(world, file, 0..500);
        let (shown, anon) = (map(world, mm, file, 60, READ), world.map(mm, 500));
        (0..500).for_each(|n| world.store(mm, page(anon, n), n + 1).unwrap());
        use_pages(world, mm, shown, 0..60);
        // A page came back soon after it went: the file is not merely read once, and is not taken alone.
        read_pages(world, other, 0..1);
        assert!(world.vm.stat().total(NodeStat::ActivateFile) > 0);
        assert!(reclaim.set_swappiness(swappiness) && !reclaim.set_swappiness(201));
        let before = [VmEvent::PgScanAnon, VmEvent::PgScanFile].map(|event| world.event(event));
        make_room(&reclaim);
        let scan_anon = world.event(VmEvent::PgScanAnon) - before[0];
        let scan_file = world.event(VmEvent::PgScanFile) - before[1];
        assert!(scan_anon + scan_file >= 32, "{swappiness}: {scan_anon} {scan_file}");
        match swappiness {
            0 => assert_eq!(scan_anon, 0),
            100 => assert!(scan_anon.abs_diff(scan_file) * 10 <= scan_anon, "{scan_anon} {scan_file}"),
            _ => {}
        }
        world.end(mm);
        scan_anon * 1000 / (scan_anon + scan_file)
    });
    assert!(shares.is_sorted() && shares[6] > shares[1], "{shares:?}");
}

/// Marks that rose because pageblocks got pages of other types fall again when kswapd has made room for that, of the page
/// cache alone.
#[test]
fn kswapd_makes_room_for_a_boost_and_ends_it() {
    let world = World::with(128, 1, false);
    let board = world.board;
    board.set_reserves(&ReserveConfig { watermark_boost_factor: 15_000, ..reserves(1024) });
    let movable = || board.take(GfpFlags::GFP_HIGHUSER_MOVABLE, 0);
    let (kept, freed): (Vec<u64>, Vec<u64>) = std::iter::from_fn(movable).partition(|page| page % 4 == 0);
    freed.into_iter().for_each(|page| board.give(page, 0).unwrap());
    board.drain_all_pages();
    // So much that a little of it is looked at at once.
    for _ in 0..3 {
        let file = keep(Volume::new(&world)).file(&world, 1, 2500, FileMode::READ);
        read_pages(&world, file, 0..2500);
    }
    let zone = board.zone(zone_id(0, ZoneKind::Dma32)).unwrap();
    while zone.watermark_boost() < 512 {
        board.take(GfpFlags::GFP_KERNEL, 0).unwrap();
    }
    assert!(zone.free_pages() > zone.watermarks().high, "nobody else wants room");
    let calm = zone.watermarks().high - zone.watermark_boost();
    let reclaim = reclaim(&world);
    reclaim.balance_node(NodeId::ZERO, Order::ZERO, ZoneKind::Movable);
    assert_eq!((zone.watermark_boost(), zone.watermarks().high), (0, calm));
    let (stolen, scanned) = (world.event(VmEvent::PgStealFile), world.event(VmEvent::PgScanAnon));
    assert!((512..7500).contains(&stolen) && scanned == 0, "{stolen} {scanned}");
    // Without a boost there is nothing to do.
    reclaim.balance_node(NodeId::ZERO, Order::ZERO, ZoneKind::Movable);
    assert_eq!(world.event(VmEvent::PgStealFile), stolen);
    drop(kept);
}
