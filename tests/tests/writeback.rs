//! T56, T58 to T60: write-behind, what slows writers down, syncs and their errors, dropped and shortened files.

use std::io::Write;
use std::path::{Path, PathBuf};

use images::{DataSpec, Existing};
use tempfile::TempDir;
use tests::{Guest, for_each_host, kvm};

/// A volume without files.
fn volume(folder: &TempDir) -> PathBuf {
    let spec = DataSpec { size: Some(64 << 20), uuid: None, files: vec![], partitions: vec![] };
    let image = folder.path().join("data.img");
    images::make_data(&image, &spec, Existing::Replace).unwrap();
    image
}

/// The file `name` as it is on the image.
fn extracted(image: &Path, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    images::extract(image, name, &mut bytes).unwrap();
    bytes
}

/// The sector of the first block of the first file that is made.
fn first_sector(image: &Path) -> u64 {
    images::inspect(image).unwrap().partitions[0].first_lba + 32 * 8
}

#[test]
fn t56_writes_are_delayed_and_flushed_by_age() {
    for_each_host(|host| {
        let folder = TempDir::new().unwrap();
        let image = volume(&folder);
        let commands = [
            "file create g",
            "file write g 4M",
            "cat /proc/vmstat",
            "sysctl vm.dirty_expire_centisecs=100",
            "sleep 10",
            "cat /proc/vmstat",
            "file stat g",
            "mm verify",
        ];
        // Nothing is old before half a minute, and then a second is old; each half of one it is looked.
        let guest = Guest::on(host).mem("128M").cpus(2).disk(&image, "").run(&commands);
        let run = guest.append("sysctl.vm.dirty_writeback_centisecs=50").start().assert_ok();
        let written = run.output(1).line_with("written=");
        assert_eq!((written.number("written"), written.number("dirty_kb")), (4 << 20, 4096), "{run}");
        let stat = |at: usize, name: &str| -> u64 {
            let text = run.output(at);
            let line = text.lines().find(|line| line.split(' ').next() == Some(name)).unwrap();
            line.split(' ').nth(1).unwrap().parse().unwrap()
        };
        // The table of the volume was written, and nothing of the file.
        assert!(stat(2, "pgpgout") < 64 && stat(2, "nr_dirty") == 1024, "{run}");
        assert_eq!(
            (stat(5, "nr_dirty"), stat(5, "nr_writeback"), stat(5, "nr_written")),
            (0, 0, 1024),
            "{run}"
        );
        assert!(stat(5, "pgpgout") >= 4096, "{run}");
        assert_eq!(run.output(6).line_with("valid=").number("valid"), 4 << 20, "{run}");
        let bytes = extracted(&image, "g");
        let mut copy = tempfile::tempfile().unwrap();
        copy.write_all(&bytes).unwrap();
        let crc = u64::from(images::crc32(&mut copy, 0, bytes.len() as u64).unwrap());
        assert_eq!(
            (bytes.len(), crc),
            (4 << 20, written.number("crc32")),
            "the image has what was written: {run}"
        );
    });
}

#[test]
fn t58_a_writer_is_as_fast_as_its_disk_once_too_much_is_dirty() {
    // A guest that is emulated is slower than the disk.
    let Some(host) = kvm() else { return };
    let folder = TempDir::new().unwrap();
    let image = volume(&folder);
    let commands = ["file create h", "file write h 24M bs=64K", "cat /proc/vmstat"];
    let run = Guest::on(host).mem("64M").cpus(2).disk(&image, ",bps=4M").run(&commands).start().assert_ok();
    let line = run.output(1).line_with("written=");
    assert!(line.number("throttled") > 0, "{run}");
    let waits = line.number("dirty_kb") + line.number("writeback_kb");
    let rate = ((24 << 10) - waits) * 1_000_000 / line.number("us");
    assert!(rate.abs_diff(4096) * 5 <= 4096, "{rate} KiB a second, 20 % off 4096 at most: {run}");
    // At no time was more dirty than may be, and one in a hundred.
    assert!((500..=1010).contains(&line.number("peak_permille")), "{run}");
    // The limit is a fifth of what could be dirty.
    assert!(waits <= 64 * 1024 / 5, "{run}");
}

#[test]
fn t59_an_error_is_told_once_to_each_who_has_the_file_open() {
    // Only our monitor's disks fail on purpose.
    let Some(host) = kvm() else { return };
    let folder = TempDir::new().unwrap();
    let image = volume(&folder);
    let commands = [
        "file create g",
        "file write g 64K",
        "file fsync g expect=EIO",
        "file fsync g",
        "file read g 64K",
        "file as g",
        "file write g 64K seed=2",
        "file fdatasync g",
    ];
    let options = format!(",error=write@sector:{}", first_sector(&image));
    let run = Guest::on(host).mem("64M").cpus(1).disk(&image, &options).run(&commands).start();
    assert_eq!(run.output(2).line_with("fsync=").fact("fsync"), "EIO", "{run}");
    assert_eq!(run.output(3).line_with("fsync=").fact("fsync"), "0", "{run}");
    let (written, read) = (run.output(1).line_with("crc32="), run.output(4).line_with("crc32="));
    assert_eq!((read.number("crc32"), read.number("hit")), (written.number("crc32"), 16), "{run}");
    let pages = run.output(5).line_with("nrpages=");
    assert_eq!(["nrpages", "dirty", "writeback"].map(|name| pages.number(name)), [16, 0, 0], "{run}");
}

#[test]
fn t60b_a_shorter_file_is_shorter_on_the_disk_and_dropped_pages_are_read_again() {
    for_each_host(|host| {
        let folder = TempDir::new().unwrap();
        let image = volume(&folder);
        let commands = [
            "file create g",
            "file write g 4M bs=64K",
            "sysctl vm.drop_caches=1",
            "file as g",
            "file fsync g",
            "sysctl vm.drop_caches=1",
            "file as g",
            "file read g",
            "file truncate g 1M",
            "file as g",
            "file sync",
            "mm verify",
        ];
        let run = Guest::on(host).mem("128M").cpus(1).disk(&image, "").run(&commands).start().assert_ok();
        let pages = |at: usize| {
            let line = run.output(at).line_with("nrpages=");
            ["nrpages", "dirty", "size"].map(|name| line.number(name))
        };
        assert_eq!(pages(3), [1024, 1024, 4 << 20], "what is dirty is not dropped: {run}");
        assert_eq!(pages(6), [0, 0, 4 << 20], "{run}");
        let (written, read) = (run.output(1).line_with("crc32="), run.output(7).line_with("crc32="));
        assert_eq!((read.number("crc32"), read.number("miss")), (written.number("crc32"), 1024), "{run}");
        assert_eq!(pages(9), [256, 0, 1 << 20], "{run}");
        assert_eq!(extracted(&image, "g").len(), 1 << 20, "{run}");
    });
}
