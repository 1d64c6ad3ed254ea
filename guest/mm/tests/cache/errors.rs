//! Disks that fail, and memory that is short.

use super::{Files, INO, expected};
use mm::addr::PAGE_SIZE;
use mm::cache::FileAdvice;
use mm::errno::Errno;
use mm::fault_inject::FaultConfig;
use mm::port::{IoOp, PAGE_SECTORS};
use sim::DiskFault;

fn page(n: u64) -> std::ops::Range<u64> {
    n * PAGE_SECTORS..(n + 1) * PAGE_SECTORS
}

/// A page that could not be read ahead is read again by whoever needs it, and only if that fails he is told.
#[test]
fn a_page_that_failed_is_read_again() {
    let files = Files::with_file(1, 1, 16);
    let file = files.open();
    files.disk.fail(DiskFault::new(IoOp::Read, page(2), 1));
    assert_eq!(files.read(file, 0, 16 * PAGE_SIZE).unwrap(), expected(0, 16 * PAGE_SIZE));
    let runs = files.runs();
    let again: Vec<_> = runs.iter().filter(|run| run.1 == 1).collect();
    // The first window had failed as a whole, and each of its pages was read by itself.
    assert!(again.contains(&&(2, 1)), "{runs:?}");
}

/// An error is told when nothing was shown; what comes before it is shown first.
#[test]
fn errors_are_told() {
    let files = Files::with_file(1, 2, 16);
    let file = files.open();
    files.disk.fail(DiskFault::new(IoOp::Read, page(5), u32::MAX));
    assert_eq!(files.read(file, 0, 16 * PAGE_SIZE).unwrap(), expected(0, 5 * PAGE_SIZE));
    assert_eq!(files.read(file, 5 * PAGE_SIZE, 10), Err(Errno::Eio));
    assert_eq!(files.read(file, 5 * PAGE_SIZE, 10), Err(Errno::Eio));
    assert_eq!(files.read(file, 6 * PAGE_SIZE, 10).unwrap(), expected(6 * PAGE_SIZE, 10));
    files.disk.heal();
    assert_eq!(files.read(file, 0, 16 * PAGE_SIZE).unwrap(), expected(0, 16 * PAGE_SIZE));
    files.verify(&[file.inode()]);
}

/// After errors less is read at once, until somebody says that all is normal.
#[test]
fn windows_shrink_after_errors() {
    let files = Files::with_file(1, 3, 256);
    let file = files.open();
    files.disk.fail(DiskFault::new(IoOp::Read, page(100), 2));
    assert_eq!(files.read(file, 100 * PAGE_SIZE, 1), Err(Errno::Eio));
    let _ = files.requests();
    files.read(file, 200 * PAGE_SIZE, 8 * PAGE_SIZE).unwrap();
    assert_eq!(files.requests(), [8], "the window is a quarter");
    files.cache().fadvise(file, 0, 0, FileAdvice::Normal, &files.world.frames);
    files.read(file, 0, 64 * PAGE_SIZE).unwrap();
    assert!(files.requests().iter().any(|&pages| pages >= 32));
}

/// A file system that knows of no such file says so, and the page can be read once it does.
#[test]
fn what_the_file_system_says_is_told() {
    let files = Files::new(1, 4);
    let file = files.open_on(files.fs, INO, 4 * PAGE_SIZE);
    assert_eq!(files.read(file, 0, 1), Err(Errno::Enoent));
    files.fs.create(INO, 4 * PAGE_SIZE);
    files.fs.place(INO, 0, 4, 0);
    assert_eq!(files.read(file, 0, 10).unwrap(), expected(0, 10));
}

/// Whatever allocation fails, a read shows what is on the disk or says that there is no memory; afterwards all is well.
#[test]
fn memory_may_be_short_anywhere() {
    for credit in 0..40 {
        let files = Files::with_file(1, 5, 64);
        let file = files.open();
        files.world.frames.set_credit(credit);
        match files.read(file, 0, 64 * PAGE_SIZE) {
            Ok(bytes) => assert_eq!(bytes, expected(0, bytes.len() as u64)),
            Err(error) => assert_eq!(error, Errno::Enomem),
        }
        files.world.frames.set_credit(i64::MAX);
        assert_eq!(files.read(file, 0, 64 * PAGE_SIZE).unwrap(), expected(0, 64 * PAGE_SIZE));
        files.verify(&[file.inode()]);
        files.drop_pages(file.inode());
    }
}

/// Requests fail as `fail_make_request=` says, without the disk being asked; whoever needs a page asks again once.
#[test]
fn requests_fail_as_configured() {
    let files = Files::with_file(1, 6, 64);
    let (file, io) = (files.open(), files.cache().io());
    let always = FaultConfig { interval: 1, probability: 100, space: 0, times: -1 };
    // One failure: of the window, and what is needed of it is read by itself.
    io.set_fail_make_request(FaultConfig { times: 1, ..always });
    assert_eq!(files.read(file, 0, 10).unwrap(), expected(0, 10));
    assert_eq!(files.requests(), [1]);
    io.set_fail_make_request(always);
    assert_eq!(files.read(file, PAGE_SIZE, 10), Err(Errno::Eio));
    assert!(files.requests().is_empty(), "the disk was asked");
    // Bytes pass first.
    files.cache().fadvise(file, 0, 0, FileAdvice::Random, &files.world.frames);
    io.set_fail_make_request(FaultConfig { space: 3 * PAGE_SIZE as u32 + 1, ..always });
    assert_eq!(
        files.read(file, 20 * PAGE_SIZE, 10 * PAGE_SIZE).unwrap(),
        expected(20 * PAGE_SIZE, 3 * PAGE_SIZE)
    );
    assert_eq!(files.requests(), [1; 3]);
    // One call in three fails, which is made again: 44 calls for 30 pages.
    io.set_fail_make_request(FaultConfig { interval: 3, ..always });
    let before = files.sectors_in();
    for n in 30..60 {
        assert_eq!(files.read(file, n * PAGE_SIZE, 10).unwrap(), expected(n * PAGE_SIZE, 10));
    }
    assert_eq!(files.requests(), [1; 30]);
    assert_eq!(files.sectors_in() - before, 44 * PAGE_SECTORS);
    io.set_fail_make_request(FaultConfig::OFF);
    assert_eq!(files.read(file, 0, 64 * PAGE_SIZE).unwrap(), expected(0, 64 * PAGE_SIZE));
    files.verify(&[file.inode()]);
}
