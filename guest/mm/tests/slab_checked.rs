//! `slab_debug=`: planted bugs, each caught with the right words, cache and place.

use crate::board::{Board, MIB};
use crate::slab_fixture::{GFP, at, board, checked, frames, kfree, reports, request, slabs};
use mm::slab::{ObjectError, SlabFlags, Slabs};
use sim::Machine;
use std::ptr::NonNull;

const ALL: SlabFlags = SlabFlags::CONSISTENCY_CHECKS
    .union(SlabFlags::RED_ZONE)
    .union(SlabFlags::POISON)
    .union(SlabFlags::STORE_USER);

/// Runs `work` with all checks on every cache; the reports.
fn with(flags: fn(&str) -> SlabFlags, work: impl FnOnce(&Board, &Slabs<'_, Machine>)) -> Vec<String> {
    let board = board(64 * MIB, 1);
    let slabs = slabs(&board, &checked(flags));
    reports();
    work(&board, &slabs);
    reports()
}

/// Writes a byte `offset` from the start of an object.
fn poke(object: NonNull<u8>, offset: isize, byte: u8) {
    // SAFETY: the tests write into the share of the object only, which is simulated RAM.
    unsafe { object.offset(offset).write(byte) }
}

/// The one report, which has these lines in this order.
#[track_caller]
fn assert_report(reports: &[String], lines: &[&str]) {
    assert_eq!(reports.len(), 1, "{reports:#?}");
    let mut rest = reports[0].as_str();
    for line in lines {
        let Some(found) = rest.find(line) else { panic!("no {line:?} in order in\n{}", reports[0]) };
        rest = &rest[found + line.len()..];
    }
}

#[test]
fn sound_use_causes_no_report() {
    let reports = with(
        |_| ALL,
        |board, slabs| {
            let frames = frames(board);
            for round in 0..3 {
                let objects: Vec<_> =
                    (1..600).map(|size| (size, slabs.kmalloc(&frames, size, GFP).unwrap())).collect();
                for (size, object) in &objects {
                    // SAFETY: the object is ours and has that many bytes.
                    unsafe { object.write_bytes(round, slabs.ksize(*object).unwrap().max(*size)) }
                }
                slabs.verify().unwrap();
                objects.into_iter().for_each(|(_, object)| kfree(slabs, object).unwrap());
                slabs.verify().unwrap();
            }
        },
    );
    assert_eq!(reports, [""; 0]);
}

#[test]
fn a_write_past_the_end_is_a_right_redzone() {
    let reports = with(
        |_| ALL,
        |board, slabs| {
            let object = slabs.kmalloc(&frames(board), 64, GFP).unwrap();
            poke(object, 64, 0x41);
            assert_eq!(kfree(slabs, object), Err(ObjectError::Corrupt(at(object))));
            // Restored and freed: the bug is reported once.
            slabs.verify().unwrap();
        },
    );
    assert_report(
        &reports,
        &[
            "BUG kmalloc-64 (Not tainted): Right Redzone overwritten",
            "First byte 0x41 instead of 0xcc",
            "Allocated in guest/mm/tests/slab_checked.rs:",
            "age=0 cpu=0 pid=7",
            "Slab 0x",
            "Object 0x",
            "Redzone ",
            "FIX kmalloc-64: Restoring Right Redzone 0x",
        ],
    );
}

#[test]
fn a_write_before_the_start_is_a_left_redzone() {
    let reports = with(
        |_| ALL,
        |board, slabs| {
            let object = slabs.kmalloc(&frames(board), 64, GFP).unwrap();
            poke(object, -1, 0x42);
            assert_eq!(kfree(slabs, object), Err(ObjectError::Corrupt(at(object))));
        },
    );
    assert_report(
        &reports,
        &["BUG kmalloc-64 (Not tainted): Left Redzone overwritten", "0x42 instead of 0xcc"],
    );
}

#[test]
fn an_overrun_of_an_odd_size_is_seen_at_its_first_byte() {
    let reports = with(
        |_| ALL,
        |board, slabs| {
            let cache = slabs.create(&request("odd", 61), &frames(board)).unwrap();
            let object = slabs.alloc(cache, &frames(board), GFP).unwrap();
            poke(object, 61, 0);
            assert!(slabs.verify().is_err());
            slabs.verify().unwrap();
        },
    );
    assert_report(
        &reports,
        &["BUG odd (Not tainted): Right Redzone overwritten", "First byte 0x0 instead of 0xcc"],
    );
}

#[test]
fn a_write_after_the_free_is_poison_overwritten() {
    let reports = with(
        |_| ALL,
        |board, slabs| {
            let object = slabs.kmalloc(&frames(board), 100, GFP).unwrap();
            kfree(slabs, object).unwrap();
            poke(object, 5, 0x6a);
            // The damaged slab is set aside, and the allocation is served from another.
            let next = slabs.kmalloc(&frames(board), 100, GFP).unwrap();
            assert_ne!(next, object);
        },
    );
    assert_report(
        &reports,
        &[
            "BUG kmalloc-128 (Not tainted): Poison overwritten",
            "@offset=",
            "First byte 0x6a instead of 0x6b",
            "Allocated in ",
            "Freed in ",
        ],
    );
}

#[test]
fn the_last_byte_of_a_free_object_has_its_own_mark() {
    let reports = with(
        |_| ALL,
        |board, slabs| {
            let object = slabs.kmalloc(&frames(board), 32, GFP).unwrap();
            kfree(slabs, object).unwrap();
            poke(object, 31, 0x6b);
            assert!(slabs.verify().is_err());
        },
    );
    assert_report(
        &reports,
        &["BUG kmalloc-32 (Not tainted): End Poison overwritten", "0x6b instead of 0xa5"],
    );
}

#[test]
fn a_double_free_is_reported_whatever_was_freed_between() {
    let reports = with(
        |_| ALL,
        |board, slabs| {
            let objects: Vec<_> = (0..5).map(|_| slabs.kmalloc(&frames(board), 64, GFP).unwrap()).collect();
            objects.iter().for_each(|object| kfree(slabs, *object).unwrap());
            assert!(matches!(kfree(slabs, objects[1]), Err(ObjectError::DoubleFree { .. })));
            slabs.verify().unwrap();
        },
    );
    assert_report(&reports, &["BUG kmalloc-64 (Not tainted): Object already free", "Freed in ", "not freed"]);
}

#[test]
fn a_free_inside_an_object_is_an_invalid_pointer() {
    let reports = with(
        |_| ALL,
        |board, slabs| {
            let object = slabs.kmalloc(&frames(board), 256, GFP).unwrap();
            let inside = object.map_addr(|addr| addr.checked_add(16).unwrap());
            assert_eq!(kfree(slabs, inside), Err(ObjectError::NotAtStart(at(inside))));
            kfree(slabs, object).unwrap();
            slabs.verify().unwrap();
        },
    );
    assert_report(&reports, &["BUG kmalloc-256 (Not tainted): Invalid object pointer"]);
}

/// An overrun that reaches the link of the next free object.
#[test]
fn a_wild_write_over_a_link_breaks_the_free_chain() {
    let reports = with(
        |_| SlabFlags::CONSISTENCY_CHECKS,
        |board, slabs| {
            let objects: Vec<_> = (0..2).map(|_| slabs.kmalloc(&frames(board), 64, GFP).unwrap()).collect();
            objects.iter().for_each(|object| kfree(slabs, *object).unwrap());
            (0..64).for_each(|n| poke(objects[1], n, 0x13));
            // The first allocation takes the damaged object itself, whose link leads nowhere.
            slabs.kmalloc(&frames(board), 64, GFP).unwrap();
            slabs.kmalloc(&frames(board), 64, GFP).unwrap();
        },
    );
    assert_report(&reports, &["BUG kmalloc-64 (Not tainted): Freechain corrupt"]);
}

/// Tracks that were written over are not believed.
#[test]
fn a_damaged_track_is_left_out_of_the_report() {
    let reports = with(
        |_| ALL,
        |board, slabs| {
            let object = slabs.kmalloc(&frames(board), 64, GFP).unwrap();
            (64..88).for_each(|n| poke(object, n, 0xff));
            kfree(slabs, object).unwrap_err();
        },
    );
    assert_report(&reports, &["Right Redzone overwritten"]);
    assert!(!reports[0].contains("Allocated in"), "{}", reports[0]);
}

#[test]
fn checks_can_be_chosen_by_cache_and_trace_prints() {
    let flags = |name: &str| if name == "kmalloc-64" { SlabFlags::TRACE } else { SlabFlags::empty() };
    let reports = with(flags, |board, slabs| {
        let object = slabs.kmalloc(&frames(board), 64, GFP).unwrap();
        kfree(slabs, object).unwrap();
        let object = slabs.kmalloc(&frames(board), 128, GFP).unwrap();
        kfree(slabs, object).unwrap();
    });
    assert_eq!(reports.len(), 2, "{reports:?}");
    assert!(reports[0].starts_with("TRACE kmalloc-64 alloc 0x"), "{}", reports[0]);
    assert!(reports[1].starts_with("TRACE kmalloc-64 free 0x"), "{}", reports[1]);
}
