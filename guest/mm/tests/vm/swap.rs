//! Swap on a simulated disk: what goes out comes back, slots are counted exactly, whatever the disk does.

use super::{World, page};
use mm::addr::PAGE_SIZE;
use mm::fault::Fault;
use mm::port::{BlockDevice as _, CpuId, IoOp, Machine as _};
use mm::space::{Errno, Mm, Rss, ThpMode};
use mm::swap::{AreaMemory, Extent, SwapOn, area_bytes};
use mm::vmstat::{NodeStat, VmEvent};
use sim::{Disk, DiskFault, Machine};
use std::alloc::{Layout, alloc, dealloc};
use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;

/// A disk, and the areas made on it.
pub struct Swapping {
    pub world: World,
    pub disk: &'static Disk<'static>,
}

fn layout(slots: u64) -> Layout {
    Layout::from_size_align(area_bytes(slots, 8) as usize, 64).unwrap()
}

impl Swapping {
    pub fn new(ram: u64, cpus: u32, seed: u64) -> Self {
        let world = World::new(ram, cpus);
        let disk = super::keep(Disk::new(world.machine(), 8 * 4096, seed));
        let words = world.vm.swap().entry_words();
        let entries: Vec<AtomicU32> = (0..words).map(|_| AtomicU32::new(0)).collect();
        assert!(world.vm.swap().boot(world.vm.nodes().unwrap(), super::keep(entries)));
        Self { world, disk }
    }

    /// An area of `slots` slots in two parts, the second first.
    pub fn on(&self, slots: u64, bad: &[u64], priority: Option<u16>) -> Result<u32, Errno> {
        let half = slots / 2;
        let extents = [
            Extent { slot: 0, pages: half, sector: 8 * 2048 },
            Extent { slot: half, pages: slots - half, sector: 0 },
        ];
        self.on_at(&extents, slots, bad, priority)
    }

    pub fn on_at(
        &self,
        extents: &[Extent],
        slots: u64,
        bad: &[u64],
        priority: Option<u16>,
    ) -> Result<u32, Errno> {
        // SAFETY: the size is not 0.
        let memory = AreaMemory(NonNull::new(unsafe { alloc(layout(slots)) }).unwrap());
        // A disk that takes no discards is asked for none.
        let request = SwapOn { device: self.disk, extents, slots, bad, discard: true, priority, memory };
        // SAFETY: the memory is large enough and given to nobody else.
        let number = unsafe { self.world.vm.swap().on(&request) };
        if number.is_err() {
            // SAFETY: it was allocated above, and was not taken.
            unsafe { dealloc(memory.0.as_ptr(), layout(slots)) };
        }
        number
    }

    pub fn off(&self, area: u32, slots: u64) -> Result<(), Errno> {
        let memory = self.world.vm.swapoff(area, &self.world.frames)?;
        // SAFETY: it was allocated so, and nobody uses it any more.
        unsafe { dealloc(memory.0.as_ptr(), layout(slots)) };
        Ok(())
    }

    /// Ends all requests.
    pub fn settle(&self) {
        while self.disk.pending() != 0 {
            self.world.vm.cache().io().poll(self.disk);
        }
    }

    /// Sends pages to swap, has them written and freed.
    pub fn out(&self, mm: &Mm<'static, Machine>, at: mm::addr::VirtAddr, pages: u64) {
        for _ in 0..2 {
            // Holes and locked pages do not matter here.
            let _ = self.world.reclaim.page_out_shared(mm, at, pages * PAGE_SIZE, &self.world.frames);
            self.settle();
        }
    }

    /// What was booked is what the disk has moved, and what is counted as swapped.
    fn check_ledger(&self) {
        let [swapped_in, swapped_out, .., failed_in, failed_out, discarded] = self.disk.ledger().lines();
        let booked = [swapped_in, swapped_out, discarded].map(|pages| pages * PAGE_SIZE);
        assert_eq!(booked, self.disk.moved());
        assert_eq!(swapped_in + failed_in, self.event(VmEvent::PswpIn));
        assert_eq!(swapped_out + failed_out, self.event(VmEvent::PswpOut));
    }

    pub fn check(&self) -> u64 {
        self.world.verify();
        if self.disk.pending() == 0 {
            self.check_ledger();
        }
        let mut named = HashMap::new();
        self.world
            .vm
            .swap()
            .verify(|entry| *named.entry(entry).or_insert_with(|| self.world.vm.entries_naming(entry)))
            .unwrap()
    }

    /// How many entries name slots, as contexts count them.
    pub fn named(&self) -> u64 {
        self.world.vm.mms().map(|mm| mm.counters().rss(Rss::Swap)).sum()
    }

    pub fn event(&self, event: VmEvent) -> u64 {
        self.world.event(event)
    }
}

#[test]
fn pages_go_out_and_come_back() {
    let swapping = Swapping::new(16, 1, 1);
    let (world, mm) = (&swapping.world, swapping.world.context());
    swapping.on(1024, &[], None).unwrap();
    assert_eq!(world.vm.swap().total_slots(), 1023, "all but the header");
    let at = world.map(mm, 300);
    for n in 0..300 {
        world.store(mm, page(at, n), n + 1).unwrap();
    }
    let free = world.free_pages();
    swapping.out(mm, at, 300);
    assert_eq!((mm.counters().rss(Rss::Anon), mm.counters().rss(Rss::Swap)), (0, 300));
    assert_eq!((swapping.event(VmEvent::PswpOut), swapping.check()), (300, 300));
    assert_eq!(world.vm.swap().free_slots(), 723);
    assert!(world.free_pages() > free + 290, "the pages are free");
    let written: u64 = swapping.disk.take_log().iter().filter(|l| l.op == IoOp::Write).map(|l| l.bytes).sum();
    assert_eq!(written, 300 * PAGE_SIZE);
    for n in 0..300 {
        assert_eq!(world.load(mm, page(at, n)).unwrap(), n + 1);
    }
    assert!(swapping.event(VmEvent::PgMajFault) < 300 / 4, "{} reads", swapping.event(VmEvent::PgMajFault));
    assert_eq!(swapping.event(VmEvent::PswpIn), 300);
    assert!(swapping.event(VmEvent::SwapRaHit) > 200);
    // Not modified, they go again without being written.
    swapping.out(mm, at, 300);
    assert_eq!((swapping.event(VmEvent::PswpOut), mm.counters().rss(Rss::Swap)), (300, 300));
    for n in 0..100 {
        world.store(mm, page(at, n), n + 5).unwrap();
    }
    swapping.out(mm, at, 300);
    assert_eq!(swapping.event(VmEvent::PswpOut), 400);
    assert_eq!(world.load(mm, page(at, 7)).unwrap(), 12);
    world.end(mm);
    assert_eq!(world.vm.swap().free_slots(), 1023, "slots end with their entries");
    assert_eq!(swapping.check(), 0);
}

#[test]
fn zeroes_are_not_written() {
    let swapping = Swapping::new(16, 1, 2);
    let (world, mm) = (&swapping.world, swapping.world.context());
    swapping.on(1024, &[], None).unwrap();
    let at = world.map(mm, 100);
    for n in 0..100 {
        world.store(mm, page(at, n), 0).unwrap();
    }
    swapping.out(mm, at, 100);
    assert_eq!((swapping.event(VmEvent::SwpoutZero), swapping.event(VmEvent::PswpOut)), (100, 0));
    assert_eq!(mm.counters().rss(Rss::Swap), 100);
    world.store(mm, page(at, 3), 9).unwrap();
    swapping.out(mm, at, 4);
    for n in 0..100 {
        assert_eq!(world.load(mm, page(at, n)).unwrap(), if n == 3 { 9 } else { 0 });
    }
    assert_eq!(swapping.event(VmEvent::PswpOut), 1);
    assert!(swapping.event(VmEvent::SwpinZero) >= 99);
}

#[test]
fn zeroes_that_are_brought_ahead_and_not_used_are_not_lost() {
    let swapping = Swapping::new(16, 1, 14);
    let world = &swapping.world;
    swapping.on(1024, &[], None).unwrap();
    // The caches keep slabs; the second context finds them.
    for round in 0..3 {
        let (before, mm) = (world.free_pages(), world.context());
        let at = world.map(mm, 64);
        for n in 0..64 {
            world.store(mm, page(at, n), 0).unwrap();
        }
        swapping.out(mm, at, 64);
        let zeroes = swapping.event(VmEvent::SwpinZero);
        assert_eq!(world.load(mm, page(at, 9)), Ok(0));
        assert!(round != 0 || swapping.event(VmEvent::SwpinZero) > zeroes + 1, "others came with it");
        world.end(mm);
        assert_eq!(swapping.check(), 0);
        assert!(round == 0 || world.free_pages() == before, "round {round}: pages are lost");
    }
}

#[test]
fn clones_share_a_slot_and_its_page() {
    let swapping = Swapping::new(16, 1, 3);
    let (world, mm) = (&swapping.world, swapping.world.context());
    swapping.on(1024, &[], None).unwrap();
    let at = world.map_overlay(mm, 4);
    world.store(mm, at, 1).unwrap();
    swapping.out(mm, at, 1);
    let child = world.vm.clone_mm(mm, &world.frames).unwrap();
    assert_eq!((child.counters().rss(Rss::Swap), swapping.check()), (1, 1));
    assert_eq!(world.load(mm, at).unwrap(), 1);
    world.run(child);
    assert_eq!(world.load(child, at).unwrap(), 1);
    assert_eq!(swapping.event(VmEvent::PswpIn), 1, "one read for both");
    world.store(child, at, 2).unwrap();
    world.run(mm);
    assert_eq!(world.load(mm, at).unwrap(), 1);
    world.store(mm, at, 3).unwrap();
    swapping.check();
    swapping.out(mm, at, 1);
    world.run(child);
    assert_eq!(world.load(child, at).unwrap(), 2);
    world.end(child);
    world.run(mm);
    assert_eq!(world.load(mm, at).unwrap(), 3);
    world.end(mm);
    assert_eq!(swapping.check(), 0);
}

#[test]
fn areas_are_used_by_priority_and_in_turns() {
    let swapping = Swapping::new(16, 1, 4);
    let (world, mm) = (&swapping.world, swapping.world.context());
    let part = |first: u64, slots: u64, priority| {
        swapping.on_at(&[Extent { slot: 0, pages: slots, sector: first * 8 }], slots, &[], priority)
    };
    part(0, 200, None).unwrap();
    part(200, 200, Some(5)).unwrap();
    part(400, 600, None).unwrap();
    let priorities: Vec<i32> = world.vm.swap().areas().map(|area| area.priority).collect();
    assert_eq!(priorities, [-2, 5, -3]);
    let at = world.map(mm, 500);
    for n in 0..500 {
        world.store(mm, page(at, n), n + 1).unwrap();
    }
    swapping.out(mm, at, 300);
    let used = || world.vm.swap().areas().map(|area| area.used).collect::<Vec<_>>();
    assert_eq!(used(), [101, 199, 0]);
    swapping.out(mm, page(at, 300), 200);
    assert_eq!(used(), [199, 199, 102]);
    swapping.check();
    assert_eq!(part(4095, 10, None), Err(Errno::Einval), "behind the end of the disk");
    swapping.disk.set_read_only(true);
    assert_eq!(part(1000, 10, None), Err(Errno::Erofs));
    world.end(mm);
}

/// Two CPUs that swap out by turns, a few pages each time: what each of them sends lies together, in order.
#[test]
fn what_one_cpu_swaps_out_lies_together() {
    let swapping = Swapping::new(32, 2, 7);
    let world = &swapping.world;
    swapping.on(4096, &[], None).unwrap();
    world.vm.settings().set_thp(ThpMode::Never);
    let on = world.machine().cpu();
    let all = [0, 1].map(|_| world.context());
    let starts = all.map(|mm| world.map(mm, 600));
    for (who, (mm, at)) in all.into_iter().zip(starts).enumerate() {
        on.run_on(CpuId(who as u32), || {
            world.run(mm);
            (0..600).for_each(|n| world.store(mm, page(at, n), who as u64 * 1000 + n + 1).unwrap());
        });
    }
    for n in (0..600).step_by(6) {
        for (who, (mm, at)) in all.into_iter().zip(starts).enumerate() {
            on.run_on(CpuId(who as u32), || swapping.out(mm, page(at, n), 6));
        }
    }
    // The first half of the area lies at sector 8 * 2048.
    let sector = |slot: u64| if slot < 2048 { 8 * (2048 + slot) } else { 8 * (slot - 2048) };
    let word = |slot| {
        let bytes = swapping.disk.peek(sector(slot) * 512, 8);
        u64::from_le_bytes(bytes.try_into().unwrap())
    };
    let mut breaks = 0;
    let mut before = word(1);
    for slot in 2..2048 {
        let here = word(slot);
        breaks += u64::from(here != before + 1 && here != 0);
        before = here;
    }
    // Two clusters of each CPU, of which one goes on where the other had begun at most.
    assert!(breaks <= 4, "{breaks}");
    swapping.check();
    all.into_iter().for_each(|mm| world.end(mm));
    assert_eq!(swapping.check(), 0);
}

#[test]
fn bad_slots_are_never_used() {
    let swapping = Swapping::new(16, 1, 5);
    let (world, mm) = (&swapping.world, swapping.world.context());
    swapping.on(64, &[3, 40], None).unwrap();
    assert_eq!(world.vm.swap().total_slots(), 61);
    let at = world.map(mm, 80);
    for n in 0..80 {
        world.store(mm, page(at, n), n + 1).unwrap();
    }
    swapping.out(mm, at, 80);
    assert_eq!((mm.counters().rss(Rss::Swap), world.vm.swap().free_slots()), (61, 0));
    // The first half of the area lies at sector 8 * 2048.
    let at_bad = |slot: u64| if slot < 32 { 8 * (2048 + slot) } else { 8 * (slot - 32) };
    for bad in [0, 3, 40] {
        assert!(swapping.disk.peek(at_bad(bad) * 512, 4096).iter().all(|byte| *byte == 0));
    }
    for n in 0..80 {
        assert_eq!(world.load(mm, page(at, n)).unwrap(), n + 1);
    }
    swapping.check();
    world.end(mm);
}

#[test]
fn switching_off_brings_everything_back_or_changes_nothing() {
    let swapping = Swapping::new(16, 1, 6);
    let (world, mm) = (&swapping.world, swapping.world.context());
    let area = swapping.on(1024, &[], None).unwrap();
    let at = world.map_overlay(mm, 200);
    for n in 0..200 {
        world.store(mm, page(at, n), n + 1).unwrap();
    }
    swapping.out(mm, at, 200);
    let child = world.vm.clone_mm(mm, &world.frames).unwrap();
    world.frames.credit.store(20, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(swapping.off(area, 1024), Err(Errno::Enomem));
    world.frames.credit.store(i64::MAX, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(world.vm.swap().total_slots(), 1023, "it is on still");
    swapping.check();
    swapping.off(area, 1024).unwrap();
    assert_eq!((world.vm.swap().total_slots(), world.vm.swap().free_slots()), (0, 0));
    assert_eq!((mm.counters().rss(Rss::Swap), child.counters().rss(Rss::Swap)), (0, 0));
    assert_eq!(swapping.off(area, 1024), Err(Errno::Einval));
    let reads = swapping.event(VmEvent::PswpIn);
    for n in 0..200 {
        assert_eq!(world.load(mm, page(at, n)).unwrap(), n + 1);
    }
    world.run(child);
    for n in 0..200 {
        world.store(child, page(at, n), n + 9).unwrap();
    }
    assert_eq!(swapping.event(VmEvent::PswpIn), reads);
    swapping.check();
}

#[test]
fn errors_of_the_disk_lose_nothing() {
    let swapping = Swapping::new(16, 1, 7);
    let (world, mm) = (&swapping.world, swapping.world.context());
    swapping.on(1024, &[], None).unwrap();
    let at = world.map(mm, 64);
    for n in 0..64 {
        world.store(mm, page(at, n), n + 1).unwrap();
    }
    swapping.disk.fail(DiskFault::new(IoOp::Write, 0..u64::MAX, u32::MAX));
    world.reclaim.page_out_shared(mm, at, 64 * PAGE_SIZE, &world.frames).unwrap();
    swapping.settle();
    assert_eq!(world.vm.swap().write_errors(), 64);
    swapping.disk.heal();
    for n in 0..64 {
        assert_eq!(world.load(mm, page(at, n)).unwrap(), n + 1);
    }
    assert_eq!(swapping.event(VmEvent::PswpIn), 0, "they are in the cache");
    swapping.out(mm, at, 64);
    swapping.disk.fail(DiskFault::new(IoOp::Read, 0..u64::MAX, u32::MAX));
    let trap = world.machine().user().load_u64(at).unwrap_err();
    let sim::Fault::Page { va, .. } = trap else { panic!("{trap:?}") };
    assert_eq!(world.resolve(mm, va, mm::port::Access::Read), Fault::Sigbus);
    swapping.disk.heal();
    swapping.check();
    world.end(mm);
    assert_eq!(swapping.check(), 0);
}

/// A context with one huge page at the start of the memory that is returned; each page has its number and one more.
pub fn huge(world: &World, pages: u64) -> (&Mm<'static, Machine>, mm::addr::VirtAddr) {
    world.vm.settings().set_thp(mm::space::ThpMode::Always);
    let mm = world.context();
    let flags = mm::space::MapFlags::OVERLAY;
    let request = mm::space::MapRequest { flags, ..mm::space::MapRequest::anon(1024 * PAGE_SIZE) };
    let at = world.vm.mmap(mm, &request, &world.frames).unwrap();
    let at = mm::addr::VirtAddr::new(at.get().next_multiple_of(512 * PAGE_SIZE)).unwrap();
    for n in 0..pages {
        world.store(mm, page(at, n), n + 1).unwrap();
    }
    assert_eq!(world.event(VmEvent::ThpFaultAlloc), 1);
    (mm, at)
}

#[test]
fn huge_pages_go_page_by_page() {
    let swapping = Swapping::new(16, 1, 8);
    let world = &swapping.world;
    swapping.on(1024, &[], None).unwrap();
    let (mm, at) = huge(world, 512);
    let free = world.free_pages();
    swapping.out(mm, at, 512);
    assert_eq!((swapping.event(VmEvent::ThpSplitPage), swapping.event(VmEvent::ThpSwpoutFallback)), (1, 1));
    assert_eq!((mm.counters().rss(Rss::Anon), mm.counters().rss(Rss::Swap)), (0, 512));
    assert_eq!((swapping.event(VmEvent::PswpOut), swapping.check()), (512, 512));
    assert!(world.free_pages() > free + 500, "the pages are free");
    for n in 0..512 {
        assert_eq!(world.load(mm, page(at, n)).unwrap(), n + 1);
    }
    world.end(mm);
    assert_eq!(swapping.check(), 0);
}

#[test]
fn a_huge_page_that_clones_share_is_split_for_all_and_in_all_states() {
    let swapping = Swapping::new(32, 1, 9);
    let world = &swapping.world;
    swapping.on(2048, &[], None).unwrap();
    let (mm, at) = huge(world, 512);
    let child = world.vm.clone_mm(mm, &world.frames).unwrap();
    // Of the clone a part is gone, and a part is copied: the entries there are small.
    world.run(child);
    world.vm.munmap(child, page(at, 7), 3 * PAGE_SIZE, &world.frames).unwrap();
    world.store(child, page(at, 100), 1000).unwrap();
    world.run(mm);
    world.vm.munmap(mm, page(at, 8), PAGE_SIZE, &world.frames).unwrap();
    swapping.check();
    let free = world.free_pages();
    swapping.out(mm, at, 512);
    assert_eq!(swapping.event(VmEvent::ThpSplitPage), 1);
    // The page that nobody has is free.
    assert!(world.free_pages() > free + 500);
    assert_eq!(swapping.check(), 511);
    for n in (0..512).filter(|n| *n != 8) {
        assert_eq!(world.load(mm, page(at, n)).unwrap(), n + 1);
    }
    world.run(child);
    for n in (0..512).filter(|n| !(7..10).contains(n)) {
        assert_eq!(world.load(child, page(at, n)).unwrap(), if n == 100 { 1000 } else { n + 1 });
    }
    swapping.check();
    world.end(child);
    world.run(mm);
    world.end(mm);
    assert_eq!(swapping.check(), 0);
    let listed = [NodeStat::ActiveAnon, NodeStat::InactiveAnon].map(|stat| world.vm.stat().total(stat));
    assert_eq!(listed, [0, 0], "all of them are free");
}

#[test]
fn a_huge_page_that_is_locked_in_memory_or_has_no_tables_stays_whole() {
    let swapping = Swapping::new(16, 1, 10);
    let world = &swapping.world;
    swapping.on(1024, &[], None).unwrap();
    let (mm, at) = huge(world, 512);
    world.frames.set_credit(0);
    let _ = world.reclaim.page_out_shared(mm, at, 512 * PAGE_SIZE, &world.frames);
    world.frames.set_credit(i64::MAX);
    assert_eq!((swapping.event(VmEvent::ThpSplitPageFailed), mm.counters().rss(Rss::Anon)), (1, 512));
    world.vm.mlock(mm, at, 512 * PAGE_SIZE, &world.frames).unwrap();
    swapping.out(mm, at, 512);
    assert_eq!((swapping.event(VmEvent::ThpSplitPage), mm.counters().rss(Rss::Anon)), (0, 512));
    swapping.check();
    for n in 0..512 {
        assert_eq!(world.load(mm, page(at, n)).unwrap(), n + 1);
    }
    world.end(mm);
}
