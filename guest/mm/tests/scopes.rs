//! Scopes of a task: what all its allocations are, in whatever function.

use crate::board::{Board, MIB, Plan, order, reserves, zone_id};
use mm::frame::{MigrateType, ZoneKind};
use mm::phys::{Event, Frames, GfpFlags};
use mm::port::{Cpu as _, CpuId, Machine as _, TaskFlags};
use proptest::prelude::*;

fn board() -> Board {
    let mut plan = Plan::ram(&[16 * MIB..80 * MIB]).lists(reserves(4096));
    plan.cpus = 2;
    plan.boot()
}

/// Scopes nest: the inner end leaves what the outer one has set.
#[test]
fn scopes_nest_and_belong_to_the_task_of_a_cpu() {
    let board = board();
    let cpu = board.machine().cpu();
    {
        let _outer = cpu.memalloc_scope(TaskFlags::PF_MEMALLOC_NOFS);
        {
            let both = TaskFlags::PF_MEMALLOC_NOFS | TaskFlags::PF_MEMALLOC_NOIO;
            let _inner = cpu.memalloc_scope(both);
            assert_eq!(cpu.task_flags(), both);
            cpu.run_on(CpuId(1), || assert_eq!(cpu.task_flags(), TaskFlags::empty()));
        }
        assert_eq!(cpu.task_flags(), TaskFlags::PF_MEMALLOC_NOFS);
    }
    assert_eq!(cpu.task_flags(), TaskFlags::empty());
}

/// Linux's `current_gfp_context`: I/O takes file systems with it; what is pinned is not movable.
#[test]
fn flags_lose_what_a_scope_forbids() {
    for (task, gfp, left) in [
        (TaskFlags::empty(), GfpFlags::GFP_HIGHUSER_MOVABLE, GfpFlags::GFP_HIGHUSER_MOVABLE),
        (TaskFlags::PF_MEMALLOC, GfpFlags::GFP_KERNEL, GfpFlags::GFP_KERNEL),
        (TaskFlags::PF_MEMALLOC_NOFS, GfpFlags::GFP_KERNEL, GfpFlags::GFP_NOFS),
        (TaskFlags::PF_MEMALLOC_NOIO, GfpFlags::GFP_KERNEL, GfpFlags::GFP_NOIO),
        (TaskFlags::PF_MEMALLOC_PIN, GfpFlags::GFP_HIGHUSER_MOVABLE, GfpFlags::GFP_HIGHUSER),
        (TaskFlags::all(), GfpFlags::GFP_ATOMIC, GfpFlags::GFP_ATOMIC),
    ] {
        assert_eq!(gfp.in_scope(task), left, "{task:?} {gfp}");
    }
}

proptest! {
    /// A scope only takes away, and twice is once.
    #[test]
    fn scopes_only_take_away(gfp: u32, task: u32) {
        let (gfp, task) = (GfpFlags::from_bits_truncate(gfp), TaskFlags::from_bits_truncate(task));
        let left = gfp.in_scope(task);
        prop_assert!(gfp.contains(left));
        prop_assert_eq!(left.in_scope(task), left);
        let forbidden = GfpFlags::__GFP_IO | GfpFlags::__GFP_FS | GfpFlags::__GFP_MOVABLE;
        prop_assert!(forbidden.contains(gfp - left));
    }
}

/// Pages that stay for long lie among those that cannot move, whichever way they are taken.
#[test]
fn what_is_pinned_lies_among_unmovable_pages() {
    const MOVABLE: GfpFlags = GfpFlags::GFP_HIGHUSER_MOVABLE;
    let board = board();
    // The lists of the CPU hold movable pages.
    let first = board.take(MOVABLE, 0).unwrap();
    assert_eq!(board.type_of(first), MigrateType::Movable);
    let scope = board.machine().cpu().memalloc_scope(TaskFlags::PF_MEMALLOC_PIN);
    for n in [0, 1, 4] {
        assert_eq!(board.type_of(board.take(MOVABLE, n).unwrap()), MigrateType::Unmovable, "order {n}");
    }
    let mut slots: [Option<Frames<'_>>; 4] = Default::default();
    assert_eq!(board.alloc_pages_bulk(MOVABLE, &mut slots), 4);
    for page in slots.into_iter().flatten() {
        assert_eq!(board.type_of(page.pfn().get()), MigrateType::Unmovable);
        board.free_pages(page).unwrap();
    }
    drop(scope);
    assert_eq!(board.type_of(board.take(MOVABLE, 0).unwrap()), MigrateType::Movable);
}

/// Who makes room may use all there is, and never waits for room itself.
#[test]
fn who_makes_room_uses_all_reserves_and_does_not_wait() {
    let board = board();
    let stalls =
        |board: &Board| board.events(board.zone(zone_id(0, ZoneKind::Dma32)).unwrap(), Event::AllocStall);
    while board.take(GfpFlags::GFP_KERNEL, 0).is_some() {}
    board.drain_all_pages();
    let (left, before) = (board.total_free_pages(), stalls(&board));
    assert!(left > 900 && before > 0, "{left} {before}");
    let scope = board.machine().cpu().memalloc_scope(TaskFlags::PF_MEMALLOC);
    let without = GfpFlags::GFP_KERNEL | GfpFlags::__GFP_NOMEMALLOC;
    assert_eq!(board.alloc_pages(without, order(0)).err(), Some(mm::phys::AllocError::OutOfMemory));
    while board.take(GfpFlags::GFP_KERNEL, 0).is_some() {}
    board.drain_all_pages();
    assert_eq!((board.total_free_pages(), stalls(&board)), (0, before));
    drop(scope);
    board.verify().unwrap();
}
