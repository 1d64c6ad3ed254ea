//! Disks: what the guest reads is what the host wrote, and the other way round.

use std::path::Path;

use tempfile::NamedTempFile;
use tests::{Guest, any_host, for_each_host, kvm};

const SECTOR: u64 = 512;
const MIB: u64 = 1 << 20;

fn image(bytes: u64, seed: u64) -> (NamedTempFile, u32) {
    let file = NamedTempFile::new().unwrap();
    let crc = images::write_pattern(&mut file.reopen().unwrap(), bytes, seed).unwrap();
    (file, crc)
}

fn host_crc(path: &Path, sector: u64, sectors: u64) -> String {
    let mut file = std::fs::File::open(path).unwrap();
    format!("0x{:08x}", images::crc32(&mut file, sector * SECTOR, sectors * SECTOR).unwrap())
}

#[test]
fn disk_regions_have_the_checksum_of_the_host() {
    let ((first, whole), (second, _)) = (image(4 * MIB, 1), image(3 * MIB + SECTOR, 2));
    let regions = [("vda", 0, 8192), ("vda", 1, 1), ("vda", 8191, 1), ("vdb", 0, 6145), ("vdb", 127, 3001)];
    let commands: Vec<_> = regions
        .iter()
        .map(|(disk, sector, sectors)| format!("disk crc {disk} sector={sector} sectors={sectors}"))
        .collect();
    let commands: Vec<_> = commands.iter().map(String::as_str).collect();
    for_each_host(|host| {
        let guest = Guest::on(host).disk(first.path(), ",ro").disk(second.path(), ",ro,id=second");
        let run = guest.run(&commands).start().assert_ok();
        for (n, (disk, sector, sectors)) in regions.iter().enumerate() {
            let path = if *disk == "vda" { first.path() } else { second.path() };
            assert_eq!(run.output(n).fact("crc32"), host_crc(path, *sector, *sectors), "{run}");
        }
        assert_eq!(run.output(0).fact("crc32"), format!("0x{whole:08x}"), "{run}");
    });
}

/// However far the host reads ahead, and whoever moves the bytes, under his filter.
#[test]
fn a_stream_arrives_whole_by_every_way() {
    let Some(host) = kvm() else { return };
    let (file, whole) = image(24 * MIB, 3);
    for options in ["io=uring", "io=threads", "cache=none,io=uring", "cache=none,io=threads"] {
        let guest = Guest::on(host).disk(file.path(), &format!(",ro,{options}"));
        let guest = guest.append("read_ahead_kb=8192");
        let run = guest.run(&["file read /dev/vda bs=64K", "disk crc vda sectors=49152"]).start().assert_ok();
        for n in 0..2 {
            assert_eq!(run.output(n).fact("crc32"), format!("0x{whole:08x}"), "{options}\n{run}");
        }
        assert_eq!(run.output(0).number("disk_kb"), 24 << 10, "{run}");
    }
}

#[test]
fn disk_writes_reach_the_file_of_the_host() {
    for_each_host(|host| {
        let (file, before) = image(2 * MIB, 5);
        let guest = Guest::on(host).disk(file.path(), "");
        let commands =
            ["disk fill vda seed=9 sector=100 sectors=1000", "disk crc vda sector=100 sectors=1000"];
        let run = guest.run(&commands).start().assert_ok();
        let written = run.output(0).fact("crc32");
        assert_eq!(run.output(1).fact("crc32"), written, "{run}");
        assert_eq!(host_crc(file.path(), 100, 1000), written, "{run}");
        // Nothing else has changed.
        let (other, again) = image(2 * MIB, 5);
        assert_eq!(before, again);
        for (sector, sectors) in [(0, 100), (1100, 4096 - 1100)] {
            assert_eq!(
                host_crc(file.path(), sector, sectors),
                host_crc(other.path(), sector, sectors),
                "{run}"
            );
        }
    });
}

#[test]
fn disk_list_tells_size_name_and_rights() {
    let (first, _) = image(MIB, 1);
    for_each_host(|host| {
        let guest = Guest::on(host).disk(first.path(), ",ro,id=left").option("--swap", "none");
        let run = guest.run(&["disk list", "disk crc vda", "disk list"]).start().assert_ok();
        let disk = run.output(0).line_with("disk=");
        assert_eq!((disk.fact("disk"), disk.fact("serial")), ("vda", "left"), "{run}");
        assert_eq!((disk.number("sectors"), disk.number("ro")), (MIB / SECTOR, 1), "{run}");
        assert_eq!(disk.number("read_bytes"), 0, "{run}");
        assert_eq!(run.output(2).number("read_bytes"), MIB, "{run}");
    });
}

#[test]
fn disk_writes_to_a_read_only_disk_fail() {
    let (file, crc) = image(MIB, 1);
    for_each_host(|host| {
        let guest = Guest::on(host).disk(file.path(), ",ro");
        let run = guest.script("disk fill vda seed=1; echo survived").start().assert_status(1);
        assert!(run.all().lines_with("error: vda").len() == 1 && !run.all().has_line("survived"), "{run}");
        assert_eq!(host_crc(file.path(), 0, MIB / SECTOR), format!("0x{crc:08x}"), "{run}");
    });
}

#[test]
fn disk_commands_refuse_what_is_not_there() {
    let run = Guest::on(any_host()).script("disk crc vdz").start().assert_status(1);
    run.all().assert_line("error: vdz: no such device");
    let run = Guest::on(any_host()).script("disk crc vda sector=131072 sectors=1").start().assert_status(2);
    run.all().assert_line("error: vda: 1 sectors at 131072 are not on the disk of 131072");
}
