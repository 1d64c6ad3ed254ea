//! Advice about pages that are there: what need not be kept goes without being written, but no later write is lost.

use super::swap::Swapping;
use super::{cpu, page};
use mm::addr::{Order, PAGE_SIZE, VirtAddr};
use mm::phys::GfpFlags;
use mm::port::Machine as _;
use mm::space::{Advice, Errno, MapFlags, MapRequest, Mm, Rss};
use mm::vma::VmFlags;
use mm::vmstat::{NodeStat, VmEvent};
use proptest::prelude::*;
use sim::Machine;

impl Swapping {
    fn advise(
        &self,
        mm: &Mm<'static, Machine>,
        at: VirtAddr,
        pages: u64,
        advice: Advice,
    ) -> Result<(), Errno> {
        self.world.vm.madvise(mm, at, pages * PAGE_SIZE, advice, &self.world.frames)
    }

    /// Reclaims a range once.
    fn page_out(&self, mm: &Mm<'static, Machine>, at: VirtAddr, pages: u64) -> Result<u64, Errno> {
        self.world.reclaim.page_out(mm, at, pages * PAGE_SIZE, &self.world.frames)
    }
}

/// A context with `pages` pages that hold their number and one.
fn written(swapping: &Swapping, pages: u64) -> (&Mm<'static, Machine>, VirtAddr) {
    let (world, mm) = (&swapping.world, swapping.world.context());
    let at = world.map_overlay(mm, pages);
    (0..pages).for_each(|n| world.store(mm, page(at, n), n + 1).unwrap());
    (mm, at)
}

#[test]
fn free_pages_go_without_a_write_but_those_that_were_written_stay() {
    let swapping = Swapping::new(16, 1, 1);
    swapping.on(1024, &[], None).unwrap();
    let (mm, at) = written(&swapping, 200);
    let world = &swapping.world;
    swapping.advise(mm, at, 200, Advice::Free).unwrap();
    assert_eq!(swapping.event(VmEvent::PgLazyFree), 200);
    assert_eq!(world.vm.stat().total(NodeStat::InactiveFile), 200, "they go first, as pages of files do");
    swapping.check();
    assert_eq!(mm.counters().rss(Rss::Anon), 200);
    // Reading does not keep a page, writing does.
    (50..100).for_each(|n| assert_eq!(world.load(mm, page(at, n)), Ok(n + 1)));
    (0..50).for_each(|n| world.store(mm, page(at, n), 1000 + n).unwrap());
    let free = world.free_pages();
    assert_eq!(swapping.page_out(mm, at, 200), Ok(150));
    assert_eq!(swapping.event(VmEvent::PgLazyFreed), 150);
    assert!(world.free_pages() >= free + 150);
    assert_eq!((swapping.event(VmEvent::PswpOut), swapping.disk.take_log().len()), (0, 0));
    assert_eq!((mm.counters().rss(Rss::Anon), mm.counters().rss(Rss::Swap)), (50, 0));
    swapping.check();
    (0..50).for_each(|n| assert_eq!(world.load(mm, page(at, n)), Ok(1000 + n)));
    (50..200).for_each(|n| assert_eq!(world.load(mm, page(at, n)), Ok(0)));
    // They are pages like all others again.
    swapping.out(mm, at, 50);
    assert_eq!((swapping.event(VmEvent::PswpOut), swapping.event(VmEvent::PgLazyFreed)), (50, 150));
    (0..50).for_each(|n| assert_eq!(world.load(mm, page(at, n)), Ok(1000 + n)));
    world.end(mm);
    assert_eq!(swapping.check(), 0);
}

#[test]
fn what_is_in_swap_or_in_its_cache_is_free_too() {
    let swapping = Swapping::new(16, 1, 2);
    swapping.on(1024, &[], None).unwrap();
    let (mm, at) = written(&swapping, 60);
    swapping.out(mm, at, 60);
    // What is read ahead behind the end of an area is not mapped with it: that is in the cache and nowhere else.
    let (read, rest) = (VmFlags::READ, 40 * PAGE_SIZE);
    swapping.world.vm.mprotect(mm, page(at, 20), rest, read, &swapping.world.frames).unwrap();
    (0..20).for_each(|n| assert_eq!(swapping.world.load(mm, page(at, n)), Ok(n + 1)));
    assert_eq!((swapping.event(VmEvent::PswpIn), mm.counters().rss(Rss::Anon)), (24, 20));
    let free = swapping.world.vm.swap().free_slots();
    swapping.advise(mm, at, 60, Advice::Free).unwrap();
    assert_eq!(swapping.world.vm.swap().free_slots(), free + 60);
    assert_eq!((mm.counters().rss(Rss::Anon), mm.counters().rss(Rss::Swap)), (20, 0));
    assert_eq!((swapping.check(), swapping.event(VmEvent::PgLazyFree)), (0, 20));
    assert_eq!(swapping.page_out(mm, at, 60), Ok(20));
    (0..60).for_each(|n| assert_eq!(swapping.world.load(mm, page(at, n)), Ok(0)));
    swapping.check();
}

#[test]
fn a_cpu_that_wrote_before_is_seen_when_it_writes_again() {
    let swapping = Swapping::new(16, 2, 3);
    swapping.on(1024, &[], None).unwrap();
    let world = &swapping.world;
    let mm = world.context();
    let at = world.map(mm, 64);
    let on = world.machine().cpu();
    on.run_on(cpu(1), || {
        world.run(mm);
        (0..64).for_each(|n| world.store(mm, page(at, n), 1).unwrap());
        // Their lists are this CPU's to fill.
        swapping.advise(mm, at, 64, Advice::Cold).unwrap();
        (0..64).for_each(|n| world.store(mm, page(at, n), 2).unwrap());
    });
    swapping.advise(mm, at, 64, Advice::Free).unwrap();
    on.run_on(cpu(1), || (0..64).for_each(|n| world.store(mm, page(at, n), 3).unwrap()));
    assert_eq!(swapping.page_out(mm, at, 64), Ok(0));
    on.run_on(cpu(1), || (0..64).for_each(|n| assert_eq!(world.load(mm, page(at, n)), Ok(3))));
    swapping.check();
}

#[test]
fn what_a_clone_needs_stays() {
    let swapping = Swapping::new(16, 1, 4);
    let area = swapping.on(1024, &[], None).unwrap();
    let (mm, at) = written(&swapping, 40);
    let world = &swapping.world;
    // Of ten pages no entry says any more that they were written, and of ten more the swap cache has what they hold.
    swapping.out(mm, at, 10);
    swapping.off(area, 1024).unwrap();
    swapping.on(1024, &[], None).unwrap();
    swapping.out(mm, page(at, 10), 10);
    (0..20).for_each(|n| assert_eq!(world.load(mm, page(at, n)), Ok(n + 1)));
    let child = world.vm.clone_mm(mm, &world.frames).unwrap();
    swapping.advise(mm, at, 40, Advice::Free).unwrap();
    for _ in 0..8 {
        world.reclaim.make_room(GfpFlags::GFP_HIGHUSER_MOVABLE, Order::ZERO);
    }
    swapping.settle();
    world.run(child);
    (0..40).for_each(|n| assert_eq!(world.load(child, page(at, n)), Ok(n + 1)));
    swapping.check();
    world.end(child);
    world.run(mm);
    world.end(mm);
    assert_eq!(swapping.check(), 0);
}

#[test]
fn cold_pages_are_inactive_and_go_at_once_when_asked() {
    let swapping = Swapping::new(16, 1, 5);
    swapping.on(1024, &[], None).unwrap();
    let (mm, at) = written(&swapping, 90);
    let world = &swapping.world;
    // What was free and was written all the same becomes active.
    swapping.advise(mm, at, 90, Advice::Free).unwrap();
    (0..90).for_each(|n| world.store(mm, page(at, n), n + 1).unwrap());
    assert_eq!(swapping.page_out(mm, at, 90), Ok(0));
    let stat = |what| world.vm.stat().total(what);
    assert_eq!((stat(NodeStat::ActiveAnon), swapping.event(VmEvent::PgActivate)), (90, 90));
    swapping.advise(mm, at, 60, Advice::Cold).unwrap();
    assert_eq!((stat(NodeStat::ActiveAnon), stat(NodeStat::InactiveAnon)), (30, 60));
    assert_eq!(swapping.event(VmEvent::PgDeactivate), 60);
    swapping.check();
    // Active or not, they go.
    assert_eq!(swapping.page_out(mm, at, 90), Ok(90));
    swapping.settle();
    assert_eq!((mm.counters().rss(Rss::Anon), swapping.event(VmEvent::PswpOut)), (0, 90));
    (0..90).for_each(|n| assert_eq!(world.load(mm, page(at, n)), Ok(n + 1)));
    swapping.check();
}

#[test]
fn huge_pages_are_divided_before_they_go() {
    let swapping = Swapping::new(16, 1, 7);
    swapping.on(1024, &[], None).unwrap();
    let world = &swapping.world;
    let (mm, at) = super::swap::huge(world, 512);
    swapping.advise(mm, at, 512, Advice::Cold).unwrap();
    assert_eq!(swapping.event(VmEvent::ThpSplitPage), 0, "as a whole it is cold as it is");
    swapping.advise(mm, at, 100, Advice::Free).unwrap();
    assert_eq!((swapping.event(VmEvent::ThpSplitPage), swapping.event(VmEvent::PgLazyFree)), (1, 100));
    swapping.check();
    assert_eq!(swapping.page_out(mm, at, 512), Ok(512));
    swapping.settle();
    assert_eq!((swapping.event(VmEvent::PgLazyFreed), swapping.event(VmEvent::PswpOut)), (100, 412));
    (0..512).for_each(|n| assert_eq!(world.load(mm, page(at, n)), Ok(if n < 100 { 0 } else { n + 1 })));
    swapping.check();
}

#[test]
fn advice_is_refused_as_linux_refuses_it() {
    let swapping = Swapping::new(16, 1, 6);
    swapping.on(1024, &[], None).unwrap();
    let world = &swapping.world;
    let mm = world.context();
    let at = world.map(mm, 30);
    let shared = MapRequest { flags: MapFlags::empty(), ..MapRequest::anon(8 * PAGE_SIZE) };
    let shared = MapRequest { vm: shared.vm | VmFlags::SHARED, ..shared };
    let object = world.vm.mmap(mm, &shared, &world.frames).unwrap();
    let odd = VirtAddr::new(at.get() + 1).unwrap();
    let all = [Advice::Free, Advice::Cold];
    for advice in all {
        assert_eq!(swapping.advise(mm, odd, 1, advice), Err(Errno::Einval));
        assert_eq!(swapping.advise(mm, at, 0, advice), Ok(()));
        assert_eq!(swapping.advise(mm, at, u64::MAX / PAGE_SIZE, advice), Err(Errno::Einval));
    }
    assert_eq!(swapping.page_out(mm, odd, 1), Err(Errno::Einval));
    assert_eq!(swapping.page_out(mm, at, 0), Ok(0));
    assert_eq!(swapping.advise(mm, object, 8, Advice::Free), Err(Errno::Einval), "shared memory");
    assert_eq!(swapping.advise(mm, object, 8, Advice::Cold), Ok(()));
    // A hole: what lies around it is advised.
    (0..30).for_each(|n| world.store(mm, page(at, n), 7).unwrap());
    world.vm.munmap(mm, page(at, 10), PAGE_SIZE, &world.frames).unwrap();
    assert_eq!(swapping.advise(mm, at, 30, Advice::Free), Err(Errno::Enomem));
    assert_eq!(swapping.event(VmEvent::PgLazyFree), 29);
    assert_eq!(swapping.advise(mm, at, 30, Advice::Cold), Err(Errno::Enomem));
    assert_eq!(swapping.page_out(mm, at, 30), Err(Errno::Enomem));
    assert_eq!(swapping.event(VmEvent::PgLazyFreed), 29);
    // Locked areas: those before them are advised.
    let locked = world.map(mm, 8);
    world.vm.mlock(mm, page(locked, 4), 4 * PAGE_SIZE, &world.frames).unwrap();
    (0..8).for_each(|n| world.store(mm, page(locked, n), 7).unwrap());
    for advice in all {
        assert_eq!(swapping.advise(mm, locked, 8, advice), Err(Errno::Einval));
    }
    assert_eq!(swapping.event(VmEvent::PgLazyFree), 29 + 4);
    assert_eq!(swapping.page_out(mm, locked, 8), Err(Errno::Einval));
    assert_eq!(swapping.event(VmEvent::PgLazyFreed), 29 + 4);
    (4..8).for_each(|n| assert_eq!(world.load(mm, page(locked, n)), Ok(7)));
    swapping.check();
}

#[derive(Clone, Debug)]
enum Op {
    Store(u8, u8, u8),
    Load(u8, u8),
    Advise(u8, u8, u8, Advice),
    PageOut(u8, u8, u8),
    Room,
    Clone(u8),
    End(u8),
    Finish(u8),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let three = || (any::<u8>(), any::<u8>(), any::<u8>());
    let advice = prop_oneof![3 => Just(Advice::Free), 1 => Just(Advice::Cold), 1 => Just(Advice::DontNeed)];
    let op = prop_oneof![
        8 => three().prop_map(|(m, p, v)| Op::Store(m, p, v.max(1))),
        6 => (any::<u8>(), any::<u8>()).prop_map(|(m, p)| Op::Load(m, p)),
        6 => (three(), advice).prop_map(|((m, p, n), advice)| Op::Advise(m, p, n, advice)),
        5 => three().prop_map(|(m, p, n)| Op::PageOut(m, p, n)),
        3 => Just(Op::Room),
        2 => any::<u8>().prop_map(Op::Clone),
        1 => any::<u8>().prop_map(Op::End),
        4 => any::<u8>().prop_map(Op::Finish),
    ];
    prop::collection::vec(op, 1..120)
}

const PAGES: u64 = 24;

/// What a page of a context may hold: what was written last, and since when that is not needed also zeroes.
#[derive(Clone, Copy, Default)]
struct Known {
    value: u64,
    may_be_gone: bool,
}

impl Known {
    fn look(&mut self, found: u64) {
        assert!(found == self.value || found == 0 && self.may_be_gone, "{found} for {}", self.value);
        if found != self.value {
            *self = Self::default();
        }
    }
}

fn run(seed: u64, ops: Vec<Op>) {
    let swapping = Swapping::new(16, 1, seed);
    let world = &swapping.world;
    let area = swapping.on(40, &[], None).unwrap();
    let first = world.context();
    let at = world.map_overlay(first, PAGES);
    let mut all = vec![(first.id(), [Known::default(); PAGES as usize])];
    for op in ops {
        let count = all.len();
        let pick = |n: u8| usize::from(n) % count;
        let mm_of = |id: u32| {
            let mm = world.vm.mm(id).unwrap();
            world.run(mm);
            mm
        };
        let span = |p: u8, n: u8| {
            let first = u64::from(p) % PAGES;
            (first, (1 + u64::from(n) % 16).min(PAGES - first))
        };
        match op {
            Op::Store(m, p, value) => {
                let ((id, known), p) = (&mut all[pick(m)], u64::from(p) % PAGES);
                world.store(mm_of(*id), page(at, p), value.into()).unwrap();
                known[p as usize] = Known { value: value.into(), may_be_gone: false };
            }
            Op::Load(m, p) => {
                let ((id, known), p) = (&mut all[pick(m)], u64::from(p) % PAGES);
                known[p as usize].look(world.load(mm_of(*id), page(at, p)).unwrap());
            }
            Op::Advise(m, p, n, advice) => {
                let ((id, known), (first, pages)) = (&mut all[pick(m)], span(p, n));
                swapping.advise(mm_of(*id), page(at, first), pages, advice).unwrap();
                for known in &mut known[first as usize..(first + pages) as usize] {
                    match advice {
                        Advice::Free => known.may_be_gone = true,
                        Advice::DontNeed => *known = Known::default(),
                        _ => {}
                    }
                }
            }
            Op::PageOut(m, p, n) => {
                let ((id, _), (first, pages)) = (&all[pick(m)], span(p, n));
                swapping.page_out(mm_of(*id), page(at, first), pages).unwrap();
            }
            Op::Room => {
                world.reclaim.make_room(GfpFlags::GFP_HIGHUSER_MOVABLE, Order::ZERO);
            }
            Op::Clone(m) if count < 4 => {
                let (id, known) = all[pick(m)];
                let child = world.vm.clone_mm(mm_of(id), &world.frames).unwrap();
                all.push((child.id(), known));
            }
            Op::End(m) if count > 1 => world.end(mm_of(all.remove(pick(m)).0)),
            Op::Finish(nth) => {
                let nth = usize::from(nth) % swapping.disk.pending().max(1);
                if let Some((cookie, result)) = swapping.disk.finish(nth) {
                    // SAFETY: the disk was given this cookie and shows it once.
                    unsafe { world.vm.cache().io().end_io(cookie, result) };
                }
            }
            Op::Clone(_) | Op::End(_) => {}
        }
        swapping.check();
    }
    for (id, known) in &mut all {
        let mm = world.vm.mm(*id).unwrap();
        world.run(mm);
        for (p, known) in (0..).zip(known) {
            known.look(world.load(mm, page(at, p)).unwrap());
        }
        world.end(mm);
    }
    swapping.settle();
    // Pages that were being written when the last context ended are in the cache still.
    swapping.off(area, 40).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn no_write_is_lost_whatever_is_free_or_goes(seed in any::<u64>(), ops in ops()) {
        run(seed, ops);
    }
}
