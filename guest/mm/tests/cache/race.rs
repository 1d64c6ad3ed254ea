//! Several CPUs in the cache at once.

use super::{Files, expected};
use crate::vm::cpu;
use mm::addr::PAGE_SIZE;
use mm::port::Machine as _;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// Two CPUs that read the same pages at the same time ask the disk once for each.
#[test]
fn two_readers_of_a_page_cost_one_request() {
    for seed in 0..20 {
        let files = Files::with_file(2, seed, 64);
        let start = Barrier::new(2);
        thread::scope(|scope| {
            for id in 0..2 {
                let (files, start) = (&files, &start);
                scope.spawn(move || {
                    files.world.machine().cpu().run_on(cpu(id), || {
                        let file = files.open();
                        start.wait();
                        for page in 0..64 {
                            let bytes = files.read(file, page * PAGE_SIZE, PAGE_SIZE).unwrap();
                            assert_eq!(bytes, expected(page * PAGE_SIZE, PAGE_SIZE));
                        }
                    });
                });
            }
        });
        files.settle();
        let mut read: Vec<u64> = files.runs().iter().flat_map(|&(at, pages)| at..at + pages).collect();
        read.sort_unstable();
        assert_eq!(read, (0..64).collect::<Vec<_>>());
    }
}

/// While one CPU takes pages out others find them, or read them again: what is shown is always what is on the disk.
#[test]
fn pages_go_while_they_are_read() {
    for seed in 0..6 {
        let files = Files::with_file(3, seed, 40);
        let (stop, gone) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            for id in 1..3_u64 {
                let (files, stop, gone) = (&files, &stop, &gone);
                scope.spawn(move || {
                    files.world.machine().cpu().run_on(cpu(id as u32), || {
                        let file = files.open();
                        // On a busy machine the other CPU may not run for a while.
                        let enough = |n| n >= 400 && gone.load(Ordering::Relaxed) > 10;
                        for n in (0..1_000_000_u64).take_while(|n| !enough(*n)) {
                            let pos = n.wrapping_mul(2_654_435_761 + id) % (39 * PAGE_SIZE);
                            let len = 1 + n * 37 % 9000;
                            let end = (pos + len).min(40 * PAGE_SIZE);
                            assert_eq!(files.read(file, pos, len).unwrap(), expected(pos, end - pos));
                        }
                        stop.store(true, Ordering::Relaxed);
                    });
                });
            }
            let file = files.open();
            while !stop.load(Ordering::Relaxed) {
                for index in 0..40 {
                    let went = files.cache().evict_page(file.inode(), index);
                    gone.fetch_add(u64::from(went), Ordering::Relaxed);
                }
            }
            let gone = gone.load(Ordering::Relaxed);
            assert!(gone > 10, "{gone} pages went");
        });
        let file = files.open();
        files.settle();
        files.verify(&[file.inode()]);
        files.drop_pages(file.inode());
    }
}

/// Two CPUs that open and close the same files share their inodes.
#[test]
fn inodes_are_made_once() {
    let files = Files::new(2, 3);
    thread::scope(|scope| {
        for id in 0..2 {
            let files = &files;
            scope.spawn(move || {
                files.world.machine().cpu().run_on(cpu(id), || {
                    for number in 0..500 {
                        let inode =
                            files.cache().iget(files.fs, number % 50, 0, &files.world.frames).unwrap();
                        assert_eq!(inode.number(), number % 50);
                        files.cache().iput(inode);
                    }
                });
            });
        }
    });
    let mut seen = Vec::new();
    files.cache().for_each_inode(|inode| seen.push((inode.number(), inode.refs())));
    seen.sort_unstable();
    // Each has the reference of the visit and of the table's first caller given back.
    assert_eq!(seen, (0..50).map(|number| (number, 1)).collect::<Vec<_>>());
}
