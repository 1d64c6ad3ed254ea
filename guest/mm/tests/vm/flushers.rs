//! Who writes behind where threads are common to all disks: how many there are, and what each takes; what nobody needs goes.

use super::World;
use super::files::Volume;
use super::write::{BOTH, write};
use mm::addr::PAGE_SIZE;
use mm::dirty::Pool;
use mm::port::Machine as _;
use mm::vmstat::NodeStat;
use mm::writeback::FlushKind;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

#[test]
fn a_pool_grows_when_all_are_busy_for_a_second_and_shrinks_when_one_is_not() {
    let world = World::new(16, 1);
    let cpu = world.machine().cpu();
    let pool = Pool::new();
    assert_eq!((pool.open(cpu, 2, 3), pool.threads(cpu)), (2, 2));
    pool.begins(cpu, 0);
    assert!(!pool.grows(cpu, 5 * SECOND), "one is idle");
    pool.begins(cpu, 5 * SECOND);
    assert!(!pool.grows(cpu, 6 * SECOND - 1), "not for long enough");
    assert!(pool.grows(cpu, 6 * SECOND));
    assert!(!pool.grows(cpu, 20 * SECOND), "the new one is idle");
    pool.begins(cpu, 20 * SECOND);
    assert!(!pool.grows(cpu, 30 * SECOND), "there are as many as there may be");
    pool.ends(cpu);
    assert!(!pool.shrinks(cpu, 31 * SECOND - 1, 30 * SECOND));
    assert!(pool.shrinks(cpu, 31 * SECOND, 30 * SECOND));
    pool.ends(cpu);
    assert!(!pool.shrinks(cpu, 90 * SECOND, 31 * SECOND), "two stay");
    assert_eq!(pool.threads(cpu), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_pool_keeps_its_bounds(steps in prop::collection::vec((0..4_u8, 0..SECOND), 1..200), least in 1..4_u32, more in 0..4_u32) {
        let world = World::with(8, 1, false);
        let cpu = world.machine().cpu();
        let pool = Pool::new();
        let (mut now, mut busy, mut since) = (0, 0, None);
        let mut threads = pool.open(cpu, least, least + more);
        for (kind, passed) in steps {
            now += passed;
            match kind {
                0 if busy < threads => {
                    pool.begins(cpu, now);
                    busy += 1;
                    since = (busy == threads).then_some(now);
                }
                1 if busy > 0 => {
                    pool.ends(cpu);
                    busy -= 1;
                    since = None;
                }
                2 => {
                    let is_due = since.is_some_and(|since| now - since >= SECOND) && threads < least + more;
                    prop_assert_eq!(pool.grows(cpu, now), is_due);
                    if is_due {
                        threads += 1;
                        since = None;
                    }
                }
                3 if busy < threads => {
                    let goes = threads > least;
                    prop_assert_eq!(pool.shrinks(cpu, now, now.saturating_sub(SECOND)), goes && now >= SECOND);
                    if goes && now >= SECOND {
                        threads -= 1;
                        since = (busy == threads).then_some(since.unwrap_or(now));
                    }
                }
                _ => {}
            }
            prop_assert_eq!(pool.threads(cpu), threads);
            prop_assert!((least..=least + more).contains(&threads));
        }
    }
}

#[test]
fn what_is_due_is_taken_in_slices_and_waited_for() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let file = volume.hole(&world, 1, 0);
    let settings = &world.vm.cache().dirty().settings;
    settings.set_bytes(1 << 30, 8 * PAGE_SIZE);
    let due = |kind| world.vm.has_due(volume.disk, kind);
    let stat = |what| world.vm.stat().total(what);
    write(&world, file, 0, 200 * PAGE_SIZE, 1).unwrap();
    assert!(due(FlushKind::Background) && !due(FlushKind::Old));
    let pages = world.vm.flush_some(volume.disk, FlushKind::Background, &world.frames).pages;
    assert!((1..200).contains(&pages), "{pages}");
    assert_eq!((stat(NodeStat::Writeback), stat(NodeStat::Written)), (0, pages), "they are on the disk");
    world.machine().cpu().pass(31 * SECOND);
    let mut slices = 0;
    while due(FlushKind::Old) {
        world.vm.flush_some(volume.disk, FlushKind::Old, &world.frames);
        slices += 1;
    }
    assert!(slices > 2, "what is left out of a slice is as old as it was: {slices}");
    assert_eq!((stat(NodeStat::Dirty), stat(NodeStat::Written)), (0, 200));
    assert_eq!(volume.fs.stable_size(1), Some(200 * PAGE_SIZE), "and so is what names them");
    assert!(!due(FlushKind::Background));
}

#[test]
fn pages_that_nobody_needs_go_as_a_whole() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let file = volume.file(&world, 1, 8, BOTH);
    let cached = || file.inode().mapping().nrpages();
    super::write::read(&world, file, 0, 8 * PAGE_SIZE);
    // Parts of pages stay.
    assert_eq!(world.vm.dont_need(file, 100, 2 * PAGE_SIZE, &world.frames), Ok(1));
    assert_eq!(world.vm.dont_need(file, 4 * PAGE_SIZE, 100, &world.frames), Ok(0));
    assert_eq!(cached(), 7);
    write(&world, file, 6 * PAGE_SIZE, 10, 1).unwrap();
    volume.disk.hold(true);
    assert_eq!(
        world.vm.dont_need(file, 4 * PAGE_SIZE, 0, &world.frames),
        Ok(3),
        "all but the one that is dirty"
    );
    volume.disk.hold(false);
    super::write_stable::settle(&world, &volume);
    assert_eq!(world.vm.dont_need(file, 0, 0, &world.frames), Ok(4));
    assert_eq!(cached(), 0);
}
