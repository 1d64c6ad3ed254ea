//! Slots that very many name, and slots that nobody does, which go back to the disk.

use super::files::{SHARED, Volume, map};
use super::swap::Swapping;
use super::write::BOTH;
use super::{World, page};
use crate::board::MIB;
use mm::addr::PAGE_SIZE;
use mm::fault::Fault;
use mm::port::{Access, IoOp};
use mm::space::{Errno, MapRequest};
use mm::swap::Extent;
use mm::vma::VmFlags;
use sim::DiskFault;
use std::sync::atomic::Ordering;

/// As many as the byte of a slot can count, and then some, thrice.
const MANY: u64 = 62 + 2 * 63 + 5;

#[test]
fn very_many_name_a_slot_and_forget_it_again() {
    let swapping = Swapping::new(32, 1, 7);
    let (world, mm) = (&swapping.world, swapping.world.context());
    swapping.on(1024, &[], None).unwrap();
    let at = world.map_overlay(mm, 2);
    // One page that was in swap before it was shared, and one that goes there when it is.
    world.store(mm, at, 1).unwrap();
    swapping.out(mm, at, 1);
    world.store(mm, page(at, 1), 2).unwrap();
    let clone = |_| world.vm.clone_mm(mm, &world.frames).unwrap().id();
    let mut clones: Vec<u32> = (1..MANY).map(clone).collect();
    swapping.out(mm, page(at, 1), 1);
    assert_eq!((swapping.named(), swapping.check()), (2 * MANY, 2));
    for (n, &id) in clones.iter().enumerate() {
        let child = world.vm.mm(id).unwrap();
        world.run(child);
        let (first, second) = (world.load(child, at).unwrap(), world.load(child, page(at, 1)).unwrap());
        assert_eq!((first, second), (1, 2), "clone {n}");
        if n % 3 == 0 {
            world.store(child, at, n as u64).unwrap();
        }
    }
    swapping.check();
    // All go out again, in slots that fewer share, and go away in another order than they came.
    for &id in &clones {
        swapping.out(world.vm.mm(id).unwrap(), at, 2);
    }
    swapping.check();
    while !clones.is_empty() {
        let id = clones.swap_remove(clones.len() / 3);
        world.end(world.vm.mm(id).unwrap());
        if clones.len().is_multiple_of(20) {
            swapping.check();
        }
    }
    world.run(mm);
    assert_eq!((world.load(mm, at).unwrap(), world.load(mm, page(at, 1)).unwrap()), (1, 2));
    world.end(mm);
    assert_eq!(swapping.check(), 0);
}

#[test]
fn without_memory_for_a_count_there_is_no_clone_and_the_count_is_right() {
    let swapping = Swapping::new(32, 1, 8);
    let (world, mm) = (&swapping.world, swapping.world.context());
    swapping.on(1024, &[], None).unwrap();
    let at = world.map_overlay(mm, 1);
    world.store(mm, at, 1).unwrap();
    swapping.out(mm, at, 1);
    let mut failures = 0;
    for named in 1..130 {
        // Empty slabs, so that every object needs a page.
        world.shrink_slabs();
        for credit in 0.. {
            world.frames.credit.store(credit, Ordering::Relaxed);
            let clone = world.vm.clone_mm(mm, &world.frames).map(|child| child.id());
            world.frames.credit.store(i64::MAX, Ordering::Relaxed);
            match clone {
                Ok(_) => break,
                Err(error) => assert_eq!(error, Errno::Enomem),
            }
            failures += 1;
            if [1, 61, 62, 63, 125].contains(&named) {
                assert_eq!(swapping.named(), named);
                swapping.check();
            }
        }
    }
    assert!(failures > 130, "{failures}");
    swapping.check();
}

#[test]
fn a_clone_that_fails_for_one_count_raises_no_other() {
    let swapping = Swapping::new(32, 1, 8);
    let (world, mm) = (&swapping.world, swapping.world.context());
    let area = swapping.on(1024, &[], None).unwrap();
    let at = world.map_overlay(mm, 3);
    world.store(mm, at, 1).unwrap();
    swapping.out(mm, at, 1);
    // The byte of its slot is at its end; those of the slots behind it are not.
    for _ in 1..62 {
        world.vm.clone_mm(mm, &world.frames).unwrap();
    }
    for n in 1..3 {
        world.store(mm, page(at, n), 1 + n).unwrap();
    }
    swapping.out(mm, at, 3);
    let named = swapping.named();
    let mut failures = Vec::new();
    // Nodes of shared memory leave less and less room in a slab of nodes, until the count's needs a page, too.
    let nodes = MapRequest { vm: VmFlags::READ | VmFlags::WRITE | VmFlags::SHARED, ..MapRequest::anon(MIB) };
    let nodes = world.vm.mmap(mm, &MapRequest { len: 8 * MIB, ..nodes }, &world.frames).unwrap();
    for n in 0..32 {
        // What the clone before had is free, and its last node is taken.
        world.shrink_slabs();
        world.store(mm, page(nodes, 64 * n), 1).unwrap();
        world.shrink_slabs();
        failures.push(0);
        for credit in 0.. {
            world.frames.set_credit(credit);
            let clone = world.vm.clone_mm(mm, &world.frames);
            world.frames.set_credit(i64::MAX);
            if let Ok(child) = clone {
                world.end(child);
                world.run(mm);
                break;
            }
            assert_eq!((clone.err(), swapping.named(), swapping.check()), (Some(Errno::Enomem), named, 3));
            failures[n as usize] += 1;
        }
    }
    assert!(failures.iter().max() > failures.iter().min(), "{failures:?}");
    // Who names a slot no more is no reason to keep it.
    let all: Vec<u32> = world.vm.mms().map(|mm| mm.id()).collect();
    all.into_iter().for_each(|id| world.end(world.vm.mm(id).unwrap()));
    assert_eq!((swapping.check(), world.vm.swap().free_slots()), (0, 1023));
    swapping.off(area, 1024).unwrap();
}

/// Slots of a cluster.
const CLUSTER: u64 = 512;

#[test]
fn clusters_that_are_free_go_back_to_the_disk_before_they_are_used_again() {
    let swapping = Swapping::new(32, 1, 9);
    let (world, swap) = (&swapping.world, swapping.world.vm.swap());
    // Less than a cluster at once, and no divisor of it.
    swapping.disk.set_max_discard(100 * 8);
    let slots = 4 * CLUSTER;
    let area = swapping.on(slots, &[], None).unwrap();
    let mm = world.context();
    let at = world.map_overlay(mm, slots);
    let fill = |from: u64, to: u64| {
        // One by one, so that their slots are in order.
        for n in from..to {
            world.store(mm, page(at, n), n + 1).unwrap();
            swapping.out(mm, page(at, n), 1);
        }
    };
    fill(0, slots - 1);
    assert_eq!((swap.free_slots(), swapping.check()), (0, slots - 1));
    let _ = swapping.disk.take_log();
    // Pages went to the clusters in order, and to that of the header last. Those of the second of them are free now, those
    // of the third but for two slots, and one of the first.
    let forget = |from, pages| {
        let bytes = pages * PAGE_SIZE;
        world.vm.madvise(mm, page(at, from), bytes, mm::space::Advice::DontNeed, &world.frames).unwrap();
    };
    forget(CLUSTER - 1, 2 * CLUSTER - 1);
    swapping.check();
    assert_eq!(swapping.disk.take_log(), [], "nobody was asked yet");
    assert_eq!(swap.discard_freed(&world.frames), 1);
    assert_eq!(swap.discard_freed(&world.frames), 0);
    let log = swapping.disk.take_log();
    assert!(log.iter().all(|request| request.op == IoOp::Discard), "{log:?}");
    let sizes: Vec<_> = log.iter().map(|request| request.bytes / PAGE_SIZE).collect();
    assert_eq!((sizes.as_slice(), log[0].sector), (&[100, 100, 100, 100, 100, 12][..], 0), "slots from 1024");
    // What is beside it is not touched.
    for n in [0, CLUSTER - 2, 3 * CLUSTER - 2, slots - 2] {
        assert_eq!(world.load(mm, page(at, n)), Ok(n + 1));
    }
    // When all of the third are free, too, they are used last, and nobody waits until somebody else asks the disk.
    forget(3 * CLUSTER - 2, 2);
    swapping.check();
    let _ = swapping.disk.take_log();
    fill(CLUSTER - 1, 2 * CLUSTER - 1);
    let log = swapping.disk.take_log();
    assert!(log.iter().all(|request| request.op == IoOp::Write), "{log:?}");
    fill(2 * CLUSTER - 1, 3 * CLUSTER);
    let log = swapping.disk.take_log();
    let discarded: u64 = log.iter().filter(|r| r.op == IoOp::Discard).map(|r| r.bytes / PAGE_SIZE).sum();
    assert_eq!(discarded, CLUSTER, "{log:?}");
    for n in 0..slots - 1 {
        assert_eq!(world.load(mm, page(at, n)), Ok(n + 1), "{n}");
    }
    world.end(mm);
    swapping.check();
    swapping.off(area, slots).unwrap();
}

#[test]
fn an_area_is_given_back_but_for_its_header() {
    let swapping = Swapping::new(16, 1, 9);
    swapping.disk.set_max_discard(64 * 8);
    swapping.disk.poke(0, &[7; 512 * 300]);
    let extents = [Extent { slot: 0, pages: 10, sector: 8 }, Extent { slot: 10, pages: 3, sector: 160 }];
    swapping.world.vm.swap().discard_area(swapping.disk, &extents, &swapping.world.frames).unwrap();
    let zeroes: Vec<u64> = (0..300).filter(|n| swapping.disk.peek(n * 512, 512) == [0; 512]).collect();
    assert_eq!(zeroes, (16..88).chain(160..184).collect::<Vec<_>>());
    // A disk that refuses says so.
    swapping.disk.fail(DiskFault::new(IoOp::Discard, 0..u64::MAX, 1));
    assert!(swapping.world.vm.swap().discard_area(swapping.disk, &extents, &swapping.world.frames).is_err());
}

#[test]
fn a_file_that_is_mapped_is_not_written_while_it_is_swapped_to() {
    let world = World::new(64, 1);
    let (volume, mm) = (Volume::new(&world), world.context());
    let file = volume.file(&world, 1, 4, BOTH);
    let at = map(&world, mm, file, 4, SHARED);
    world.store(mm, at, 7).unwrap();
    let on_disk = |n| {
        let bytes = volume.disk.peek(volume.fs.sector(1, n).unwrap() * 512, 8);
        u64::from_le_bytes(bytes.try_into().unwrap())
    };
    assert_ne!(on_disk(0), 7);
    world.vm.claim_swapfile(file.inode(), &world.frames).unwrap();
    assert_eq!(on_disk(0), 7, "what was dirty is there");
    // It can be read, and no more: neither a page that was written before nor another.
    assert_eq!(world.load(mm, at), Ok(7));
    for n in [0, 2] {
        assert_eq!(world.vm.touch(mm, page(at, n), Access::Write, &world.frames), Fault::Sigbus);
    }
    assert_eq!(world.vm.claim_swapfile(file.inode(), &world.frames), Err(Errno::Ebusy));
    volume.disk.poke(volume.fs.sector(1, 0).unwrap() * 512, &[1; 8]);
    world.vm.fsync(file, false, &world.frames).unwrap();
    assert_eq!(on_disk(0), 0x0101_0101_0101_0101, "nothing of the file is written over a slot");
    world.vm.release_swapfile(file.inode());
    world.store(mm, at, 8).unwrap();
    assert_eq!(world.load(mm, at), Ok(8));
}
