//! Huge pages at the first touch: one fault for 512 pages, zeroes for readers, small pages where none can be had, and
//! entries that are divided where a border cuts them.

use super::{World, page};
use mm::addr::{Order, PAGE_SIZE};
use mm::fault::Flavour;
use mm::phys::GfpFlags;
use mm::space::{Advice, Rss, ThpMode};
use mm::vma::VmFlags;
use mm::vmstat::{NodeStat, VmEvent};

#[test]
fn one_fault_brings_a_huge_page() {
    let world = World::new(64, 1);
    let mm = world.context();
    let at = world.map(mm, 2048);
    let (faults, huge) = (world.event(VmEvent::PgFault), world.event(VmEvent::ThpFaultAlloc));
    for n in 0..2048 {
        world.store(mm, page(at, n), n).unwrap();
    }
    assert_eq!(world.event(VmEvent::PgFault) - faults, 4);
    assert_eq!(world.event(VmEvent::ThpFaultAlloc) - huge, 4);
    assert_eq!(world.vm.stat().total(NodeStat::AnonThps), 2048);
    assert_eq!(mm.counters().rss(Rss::Anon), 2048);
    world.verify();
    world.end(mm);
    assert_eq!(world.vm.stat().total(NodeStat::AnonThps), 0);
}

#[test]
fn settings_and_advice_decide() {
    let world = World::new(64, 1);
    let mm = world.context();
    let settings = world.vm.settings();
    let flavour = |mode, advice: Option<Advice>| {
        settings.set_thp(mode);
        let at = world.map(mm, 512);
        if let Some(advice) = advice {
            world.vm.madvise(mm, at, 512 * PAGE_SIZE, advice, &world.frames).unwrap();
        }
        let flavour = world.flavour_of_store(mm, at, 1).unwrap();
        world.vm.munmap(mm, at, 512 * PAGE_SIZE, &world.frames).unwrap();
        flavour
    };
    assert_eq!(flavour(ThpMode::Always, None), Flavour::Huge);
    assert_eq!(flavour(ThpMode::Always, Some(Advice::NoHugePage)), Flavour::Anon);
    assert_eq!(flavour(ThpMode::Madvise, None), Flavour::Anon);
    assert_eq!(flavour(ThpMode::Madvise, Some(Advice::HugePage)), Flavour::Huge);
    assert_eq!(flavour(ThpMode::Never, Some(Advice::HugePage)), Flavour::Anon);
    settings.set_thp(ThpMode::Always);
    // Not a whole huge page.
    let at = world.map(mm, 511);
    assert_eq!(world.flavour_of_store(mm, at, 1), Some(Flavour::Anon));
    world.verify();
}

#[test]
fn readers_share_a_huge_page_of_zeroes() {
    let world = World::new(64, 1);
    let mm = world.context();
    let at = world.map(mm, 1024);
    assert_eq!(world.flavour_of_load(mm, page(at, 5)), Some(Flavour::HugeZero));
    assert_eq!(world.flavour_of_load(mm, page(at, 600)), Some(Flavour::HugeZero));
    assert_eq!((world.event(VmEvent::ThpZeroPageAlloc), mm.counters().resident()), (1, 0));
    assert_eq!(world.flavour_of_store(mm, page(at, 6), 9), Some(Flavour::Huge));
    assert_eq!((world.load(mm, page(at, 6)), world.load(mm, page(at, 5))), (Ok(9), Ok(0)));
    assert_eq!(world.load(mm, page(at, 700)), Ok(0));
    world.verify();
}

#[test]
fn zeroes_are_replaced_by_what_is_wanted_now() {
    let world = World::new(64, 1);
    let mm = world.context();
    let settings = world.vm.settings();
    let flavour = |mode, advice| {
        settings.set_thp(ThpMode::Always);
        let at = world.map(mm, 512);
        assert_eq!(world.flavour_of_load(mm, page(at, 5)), Some(Flavour::HugeZero));
        settings.set_thp(mode);
        world.vm.madvise(mm, at, 512 * PAGE_SIZE, advice, &world.frames).unwrap();
        let flavour = world.flavour_of_store(mm, page(at, 5), 1);
        assert_eq!((world.load(mm, page(at, 5)), world.load(mm, page(at, 6))), (Ok(1), Ok(0)));
        let resident = mm.counters().resident();
        world.verify();
        world.vm.munmap(mm, at, 512 * PAGE_SIZE, &world.frames).unwrap();
        (flavour, resident)
    };
    let (huge, small) = ((Some(Flavour::Huge), 512), (Some(Flavour::Anon), 1));
    assert_eq!(flavour(ThpMode::Always, Advice::Normal), huge);
    assert_eq!(flavour(ThpMode::Always, Advice::NoHugePage), small);
    assert_eq!(flavour(ThpMode::Madvise, Advice::Normal), small);
    assert_eq!(flavour(ThpMode::Madvise, Advice::HugePage), huge);
    assert_eq!(flavour(ThpMode::Never, Advice::HugePage), small);
}

#[test]
fn without_a_block_of_that_size_pages_are_small() {
    let world = World::new(32, 1);
    let mm = world.context();
    let at = world.map(mm, 512);
    let mut blocks = Vec::new();
    while let Some(pfn) = world.board.take(GfpFlags::GFP_KERNEL, Order::PAGEBLOCK.get()) {
        blocks.push(pfn);
    }
    assert_eq!(world.flavour_of_store(mm, at, 1), Some(Flavour::Anon));
    assert_eq!(world.event(VmEvent::ThpFaultFallback), 1);
    // The huge page of zeroes cannot be made either; then it is a small one.
    let other = world.map(mm, 512);
    assert_eq!(world.flavour_of_load(mm, other), Some(Flavour::AnonZero));
    assert_eq!(world.event(VmEvent::ThpZeroPageAllocFailed), 1);
    for pfn in blocks {
        world.board.give(pfn, Order::PAGEBLOCK.get()).unwrap();
    }
    world.verify();
}

#[test]
fn a_border_divides_the_entry_and_the_folio_stays() {
    let world = World::new(64, 1);
    let mm = world.context();
    let at = world.map(mm, 512);
    for n in 0..512 {
        world.store(mm, page(at, n), n).unwrap();
    }
    let splits = world.event(VmEvent::ThpSplitPmd);
    world.vm.munmap(mm, page(at, 100), PAGE_SIZE, &world.frames).unwrap();
    assert_eq!(world.event(VmEvent::ThpSplitPmd) - splits, 1);
    assert_eq!(mm.counters().rss(Rss::Anon), 511);
    assert_eq!(world.vm.stat().total(NodeStat::AnonThps), 0);
    world.verify();
    for n in (0..512).filter(|n| *n != 100) {
        assert_eq!(world.load(mm, page(at, n)), Ok(n));
    }
    world.vm.mprotect(mm, page(at, 200), 10 * PAGE_SIZE, VmFlags::READ, &world.frames).unwrap();
    world.verify();
    world.store(mm, page(at, 199), 1).unwrap();
    let free = world.free_pages();
    world.vm.munmap(mm, at, 512 * PAGE_SIZE, &world.frames).unwrap();
    // The block was whole to its end; its table goes, too.
    assert!(world.free_pages() >= free + 513);
    world.verify();
}

#[test]
fn advice_that_pages_are_not_needed_may_cut_a_huge_page() {
    let world = World::new(64, 1);
    let mm = world.context();
    let at = world.map(mm, 1024);
    for n in 0..1024 {
        world.store(mm, page(at, n), n + 1).unwrap();
    }
    world.vm.madvise(mm, page(at, 256), 512 * PAGE_SIZE, Advice::DontNeed, &world.frames).unwrap();
    assert_eq!(mm.counters().rss(Rss::Anon), 512);
    for n in 0..1024 {
        let wanted = if (256..768).contains(&n) { 0 } else { n + 1 };
        assert_eq!(world.load(mm, page(at, n)), Ok(wanted));
    }
    world.verify();
}
