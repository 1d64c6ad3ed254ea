//! Clones share pages until one of them writes, and nobody sees the other's writes.

use super::{World, page};
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::fault::Flavour;
use mm::space::{Advice, Mm, Rss, ThpMode};
use mm::vmstat::VmEvent;
use sim::Machine;

const PAGES: u64 = 1024;

fn small() -> World {
    let world = World::new(64, 1);
    world.vm.settings().set_thp(ThpMode::Never);
    world
}

fn fill(world: &World, mm: &Mm<'static, Machine>, at: VirtAddr, plus: u64) {
    for n in 0..PAGES {
        world.store(mm, page(at, n), n + plus).unwrap();
    }
}

fn sum(world: &World, mm: &Mm<'static, Machine>, at: VirtAddr) -> u64 {
    world.run(mm);
    (0..PAGES).map(|n| world.load(mm, page(at, n)).unwrap()).sum()
}

#[test]
fn writes_copy_what_is_shared_and_reuse_what_is_not() {
    let world = small();
    let parent = world.context();
    let at = world.map_overlay(parent, PAGES);
    fill(&world, parent, at, 0);
    let total = sum(&world, parent, at);
    let before = world.free_pages();
    let child = world.vm.clone_mm(parent, &world.frames).unwrap();
    world.verify();
    // Tables, and what describes the child: no page.
    assert!(before - world.free_pages() < 32);
    assert_eq!(child.counters().rss(Rss::Anon), PAGES);
    assert_eq!(sum(&world, child, at), total);
    let (cow, reuse) = (world.event(VmEvent::PgCow), world.event(VmEvent::PgReuse));
    world.run(child);
    for n in 0..100 {
        assert_eq!(world.flavour_of_store(child, page(at, n), 1_000_000), Some(Flavour::Cow));
    }
    assert_eq!(world.event(VmEvent::PgCow) - cow, 100);
    assert_eq!(sum(&world, parent, at), total);
    world.verify();
    world.end(child);
    world.run(parent);
    for n in 0..100 {
        assert_eq!(world.flavour_of_store(parent, page(at, n), 0), Some(Flavour::Reuse));
    }
    assert_eq!(world.event(VmEvent::PgReuse) - reuse, 100);
    assert_eq!(world.event(VmEvent::PgCow) - cow, 100);
    world.verify();
}

#[test]
fn the_parent_copies_too_and_the_child_keeps_the_old_page() {
    let world = small();
    let parent = world.context();
    let at = world.map_overlay(parent, PAGES);
    fill(&world, parent, at, 7);
    let child = world.vm.clone_mm(parent, &world.frames).unwrap();
    world.run(parent);
    fill(&world, parent, at, 8);
    assert_eq!(sum(&world, parent, at) - sum(&world, child, at), PAGES);
    world.run(child);
    // What the parent has left alone is the child's alone.
    assert_eq!(world.flavour_of_store(child, at, 3), Some(Flavour::Reuse));
    world.verify();
}

#[test]
fn generations_do_not_see_each_other() {
    let world = small();
    let first = world.context();
    let at = world.map_overlay(first, PAGES);
    fill(&world, first, at, 0);
    let second = world.vm.clone_mm(first, &world.frames).unwrap();
    let third = world.vm.clone_mm(second, &world.frames).unwrap();
    let base = sum(&world, first, at);
    for (n, mm) in [first, second, third].into_iter().enumerate() {
        world.run(mm);
        world.store(mm, page(at, n as u64), 100 + n as u64).unwrap();
    }
    for (n, mm) in [first, second, third].into_iter().enumerate() {
        assert_eq!(sum(&world, mm, at), base + 100);
        assert_eq!(world.load(mm, page(at, n as u64)), Ok(100 + n as u64));
    }
    world.verify();
    for mm in [second, first, third] {
        world.end(mm);
    }
}

#[test]
fn only_the_overlay_window_is_cloned_and_not_what_is_kept_back() {
    let world = small();
    let parent = world.context();
    let own = world.map(parent, 4);
    let (kept, given) = (world.map_overlay(parent, 4), world.map_overlay(parent, 4));
    for at in [own, kept, given] {
        world.store(parent, at, 5).unwrap();
    }
    world.vm.madvise(parent, kept, 4 * PAGE_SIZE, Advice::DontFork, &world.frames).unwrap();
    let child = world.vm.clone_mm(parent, &world.frames).unwrap();
    world.run(child);
    assert!(world.load(child, own).is_err() && world.load(child, kept).is_err());
    assert_eq!(world.load(child, given), Ok(5));
    world.verify();
}

#[test]
fn huge_pages_are_shared_whole_and_copied_in_parts() {
    let world = World::new(64, 1);
    let parent = world.context();
    let at = world.map_overlay(parent, PAGES);
    fill(&world, parent, at, 3);
    let child = world.vm.clone_mm(parent, &world.frames).unwrap();
    assert_eq!(sum(&world, parent, at), sum(&world, child, at));
    world.run(child);
    let splits = world.event(VmEvent::ThpSplitPmd);
    assert_eq!(world.flavour_of_store(child, page(at, 9), 0), Some(Flavour::Cow));
    assert_eq!(world.event(VmEvent::ThpSplitPmd) - splits, 1);
    assert_eq!(sum(&world, parent, at) - sum(&world, child, at), 12);
    world.verify();
    world.end(child);
    world.run(parent);
    // Nobody else has the second one.
    assert_eq!(world.flavour_of_store(parent, page(at, 512), 1), Some(Flavour::Reuse));
    world.verify();
}
