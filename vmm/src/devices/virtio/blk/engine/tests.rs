//! Both engines: many operations at once, each comes back once with the kernel's result.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use super::*;

const CAPACITY: u16 = 64;

fn for_each_engine(test: impl Fn(&mut dyn Engine)) {
    for kind in [EngineKind::Threads, EngineKind::Uring] {
        match open(kind, CAPACITY, None) {
            Ok(mut engine) => test(&mut *engine),
            Err(error) => assert_eq!(kind, EngineKind::Uring, "threads are refused: {error}"),
        }
    }
}

/// Runs `jobs` to their ends; results by slot.
fn run(engine: &mut dyn Engine, jobs: &[Job]) -> Vec<i32> {
    for job in jobs {
        // SAFETY: the callers keep files and vectors until this returns, which is after the last job is done.
        unsafe { engine.push(*job) };
    }
    assert!(engine.submit());
    let mut done = Vec::new();
    while done.len() < jobs.len() {
        engine.wait();
        engine.reap(&mut done);
    }
    done.sort_by_key(|done| done.slot);
    let slots: Vec<_> = done.iter().map(|done| done.slot).collect();
    assert_eq!(slots, (0..jobs.len() as u16).collect::<Vec<_>>());
    done.iter().map(|done| done.result).collect()
}

fn vector(bytes: &mut [u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }
}

fn list(vectors: &[libc::iovec]) -> Vectors {
    Vectors { first: vectors.as_ptr(), count: vectors.len() as u32 }
}

#[test]
fn writes_then_reads_of_many_slots() {
    for_each_engine(|engine| {
        let file = tempfile::tempfile().unwrap();
        let fd = file.as_raw_fd();
        let mut out: Vec<Vec<u8>> = (0..u8::try_from(CAPACITY).unwrap()).map(|n| vec![n; 512]).collect();
        let vectors: Vec<_> = out.iter_mut().map(|bytes| [vector(bytes)]).collect();
        let jobs: Vec<_> = (0..CAPACITY)
            .map(|slot| {
                let at = 512 * u64::from(slot);
                let vectors = list(&vectors[usize::from(slot)]);
                let op = if slot % 2 == 0 { Op::Write(vectors, at) } else { Op::WriteThrough(vectors, at) };
                Job { slot, fd, op }
            })
            .collect();
        assert_eq!(run(engine, &jobs), vec![512; usize::from(CAPACITY)]);
        assert_eq!(run(engine, &[Job { slot: 0, fd, op: Op::Sync }]), [0]);

        let (mut left, mut right) = ([0; 700], [0; 324]);
        let pieces = [vector(&mut left), vector(&mut right)];
        let read = Job { slot: 0, fd, op: Op::Read(list(&pieces), 512) };
        assert_eq!(run(engine, &[read]), [1024]);
        assert_eq!([&left[..], &right[..]].concat(), [vec![1; 512], vec![2; 512]].concat());
    });
}

#[test]
fn results_are_the_kernels() {
    for_each_engine(|engine| {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[7; 1000], 0).unwrap();
        let read_only = File::open("/proc/self/exe").unwrap();
        let mut bytes = [0; 512];
        let pieces = [vector(&mut bytes)];
        let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let jobs = [
            Job { slot: 0, fd: file.as_raw_fd(), op: Op::Read(list(&pieces), 900) },
            Job { slot: 1, fd: file.as_raw_fd(), op: Op::Read(list(&pieces), 1000) },
            Job { slot: 2, fd: read_only.as_raw_fd(), op: Op::Write(list(&pieces), 0) },
            Job { slot: 3, fd: file.as_raw_fd(), op: Op::Allocate { mode: punch, offset: 0, len: 0 } },
        ];
        let results = jobs.map(|job| run(engine, &[Job { slot: 0, ..job }])[0]);
        assert_eq!(results, [100, 0, -libc::EBADF, -libc::EINVAL]);
        let hole =
            Job { slot: 0, fd: file.as_raw_fd(), op: Op::Allocate { mode: punch, offset: 0, len: 1000 } };
        assert_eq!(run(engine, &[hole]), [0]);
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(bytes, [0; 512]);
    });
}

#[test]
fn a_look_reads_one_byte_if_there_is_one() {
    for_each_engine(|engine| {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[7; 1000], 0).unwrap();
        let look = |fd, offset| Job { slot: 0, fd, op: Op::Look(offset) };
        for (offset, result) in [(0, 1), (999, 1), (1000, 0)] {
            assert_eq!(run(engine, &[look(file.as_raw_fd(), offset)]), [result]);
        }
        assert_eq!(run(engine, &[look(-1, 0)]), [-libc::EBADF]);
    });
}

#[test]
fn the_event_tells_of_completions() {
    let readable = |fd| {
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd that outlives the call.
        unsafe { libc::poll(&mut poll, 1, 0) == 1 }
    };
    for_each_engine(|engine| {
        let file = tempfile::tempfile().unwrap();
        assert!(!readable(engine.event()));
        // SAFETY: no vectors, and the file outlives the operation, which is waited for.
        unsafe { engine.push(Job { slot: 9, fd: file.as_raw_fd(), op: Op::Sync }) };
        engine.submit();
        engine.wait();
        assert!(readable(engine.event()));
        let mut done = Vec::new();
        engine.reap(&mut done);
        assert_eq!(done, [Done { slot: 9, result: 0 }]);
        assert!(!readable(engine.event()));
    });
}
