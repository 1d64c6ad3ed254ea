//! Opening disk images: locks, sizes, and one clear line for every mistake.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use super::blk::{S_IOERR, request};
use super::driver::*;
use crate::devices::virtio::blk::{Access, Block, DiskImage};
use std::sync::{Arc, Mutex};

fn image(bytes: u64) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(bytes).unwrap();
    file
}

fn error(path: &Path, access: Access) -> String {
    let text = DiskImage::open(path, access).unwrap_err().to_string();
    assert!(!text.contains('\n'), "{text}");
    assert!(text.contains(&*path.to_string_lossy()), "{text}");
    text
}

#[test]
fn opens_and_measures() {
    let file = image(3 * 512);
    let disk = DiskImage::open(file.path(), Access::ReadWrite).unwrap();
    assert_eq!((disk.size(), disk.access()), (1536, Access::ReadWrite));
}

#[test]
fn writers_exclude_everybody_and_readers_share() {
    let file = image(512);
    let writer = DiskImage::open(file.path(), Access::ReadWrite).unwrap();
    for access in [Access::ReadWrite, Access::ReadOnly] {
        let text = error(file.path(), access);
        let expected = format!("disk image {} is in use by another process", file.path().display());
        assert!(text.starts_with(&expected), "{text}");
    }
    drop(writer);
    let reader = DiskImage::open(file.path(), Access::ReadOnly).unwrap();
    let other = DiskImage::open(file.path(), Access::ReadOnly).unwrap();
    assert!(error(file.path(), Access::ReadWrite).contains("in use"));
    drop((reader, other));
    DiskImage::open(file.path(), Access::ReadWrite).unwrap();
}

#[test]
fn odd_sizes_are_refused() {
    for size in [0, 1, 511, 513] {
        let file = image(size);
        let text = error(file.path(), Access::ReadWrite);
        assert!(text.contains(&format!("has {size} bytes")) && text.contains("multiple of 512"), "{text}");
        // The failed attempt has not left a lock behind.
        file.as_file().set_len(512).unwrap();
        DiskImage::open(file.path(), Access::ReadWrite).unwrap();
    }
}

#[test]
fn other_things_than_files_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    assert!(error(directory.path(), Access::ReadOnly).contains("is a directory"));
    assert!(error(&directory.path().join("no"), Access::ReadWrite).contains("does not exist"));
    assert!(error(Path::new("/dev/null"), Access::ReadWrite).contains("not a regular file"));
    let fifo = directory.path().join("fifo");
    let name = std::ffi::CString::new(fifo.to_str().unwrap()).unwrap();
    // SAFETY: `name` is a valid C string.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    assert!(error(&fifo, Access::ReadOnly).contains("not a regular file"));
    // A file in the place of a directory.
    let inside = image(512);
    assert!(error(&inside.path().join("x"), Access::ReadOnly).contains("cannot open disk image"));
}

#[test]
fn missing_permission_is_named() {
    // sysfs refuses to open a read-only attribute for writing even for root.
    let path = Path::new("/sys/kernel/uevent_seqnum");
    let text = error(path, Access::ReadWrite);
    assert!(text.contains("no permission to write") && text.contains("`ro`"), "{text}");
}

#[test]
fn temporary_disks_are_sparse_and_zero() {
    let size = 1u64 << 32;
    let block = Block::new(DiskImage::temporary(size).unwrap(), "").unwrap();
    let mut rig = Rig::ready(Arc::new(Mutex::new(block)), 0, 1);
    assert_eq!(rig.config(0), (size / 512).to_le_bytes());
    rig.put(BUFFERS + 0x1000, &[0xee; 512]);
    assert_eq!(request(&mut rig, 0, size / 512 - 1, &[into(BUFFERS + 0x1000, 512)]), (0, 513));
    assert_eq!(rig.get(BUFFERS + 0x1000, 512), [0; 512]);
    for size in [0, 1, 513] {
        assert!(DiskImage::temporary(size).unwrap_err().to_string().contains("multiple of 512"));
    }
    let text = DiskImage::temporary(u64::MAX - 511).unwrap_err().to_string();
    assert!(text.contains("cannot make a temporary disk") && text.contains("TMPDIR"), "{text}");
}

#[test]
fn a_file_that_refuses_writes_gives_errors() {
    // SAFETY: a valid name; the result is checked and owned below.
    let fd = unsafe { libc::memfd_create(c"disk".as_ptr(), libc::MFD_ALLOW_SEALING) };
    assert!(fd >= 0);
    // SAFETY: a fresh descriptor that nobody else owns.
    let mut file = unsafe { <File as std::os::fd::FromRawFd>::from_raw_fd(fd) };
    file.write_all(&[0x11; 1024]).unwrap();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let disk = Block::new(DiskImage::open(Path::new(&path), Access::ReadWrite).unwrap(), "").unwrap();
    let counters = disk.counters();
    let mut rig = Rig::ready(Arc::new(Mutex::new(disk)), 1 << 9, 1);
    // SAFETY: sealing takes no pointers.
    assert_eq!(unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, libc::F_SEAL_WRITE) }, 0);
    assert_eq!(request(&mut rig, 1, 0, &[out(BUFFERS + 0x1000, 512)]), (S_IOERR, 1));
    assert_eq!(request(&mut rig, 0, 0, &[into(BUFFERS + 0x1000, 512)]), (0, 513));
    assert_eq!((counters.totals().errors, counters.totals().writes), (1, 0));
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, [0x11; 1024]);
}
