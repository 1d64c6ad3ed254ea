//! T53 to T61, B1: files through the page cache, and what of it the disk sees.

use std::fs;
use std::path::{Path, PathBuf};

use images::{Content, DataSpec, Existing, FileSpec};
use tempfile::TempDir;
use tests::linux::meminfo;
use tests::{Guest, Run, any_host, for_each_host, kvm};

const PAGE: u64 = 4096;

/// A volume with a file `f` of a pattern; its path, and the pattern's CRC.
pub fn volume(folder: &TempDir, bytes: u64) -> (PathBuf, u32) {
    let content = folder.path().join("f.bin");
    let crc = images::write_pattern(&mut fs::File::create(&content).unwrap(), bytes, 5).unwrap();
    let file = |name: &str, content, sparse| FileSpec { name: name.into(), content, room: 0, sparse };
    let files = vec![
        file("f", Content::Host(content), false),
        file("empty", Content::Zeros(0), false),
        file("dir/hole", Content::Zeros(1 << 20), true),
    ];
    let spec = DataSpec { size: Some((16 << 20) + bytes), uuid: None, files, partitions: vec![] };
    let image = folder.path().join("data.img");
    images::make_data(&image, &spec, Existing::Keep).unwrap();
    (image, crc)
}

fn guest(image: &Path, commands: &[&str]) -> Guest {
    Guest::on(any_host()).mem("128M").disk(image, "").run(commands)
}

/// Bytes of the requests to the first disk, in order, from the first that reads data of a file on.
fn requests(run: &Run, from_sector: u64) -> Vec<u64> {
    let report = run.report();
    let log = report["disks"][0]["log"].as_array().unwrap().clone();
    let of_files = log.iter().filter(|entry| entry["sector"].as_u64().unwrap() >= from_sector);
    of_files.map(|entry| entry["bytes"].as_u64().unwrap()).collect()
}

/// The first sector of the files' blocks, behind the tables.
fn first_sector(image: &Path) -> u64 {
    images::inspect(image).unwrap().partitions[0].first_lba + 32 * 8
}

#[test]
fn t54_the_second_read_comes_from_memory() {
    let folder = TempDir::new().unwrap();
    let (image, crc) = volume(&folder, 1 << 20);
    for_each_host(|host| {
        let (read, disks) = ("file read f", "disk list");
        let commands = [
            read,
            disks,
            "cat /proc/vmstat",
            read,
            disks,
            "file as f",
            "file read dir/hole",
            "file read empty",
        ];
        let run = Guest::on(host)
            .mem("128M")
            .option("--swap", "none")
            .disk(&image, "")
            .run(&commands)
            .start()
            .assert_ok();
        let [first, second] = [0, 3].map(|n| run.output(n).line_with("read="));
        for line in [first, second] {
            assert_eq!(
                (line.number("read"), line.fact("crc32")),
                (1 << 20, &*format!("0x{crc:08x}")),
                "{run}"
            );
        }
        assert_eq!((first.number("miss"), first.number("hit")), (256, 0), "{run}");
        assert_eq!((second.number("miss"), second.number("hit")), (0, 256), "{run}");
        let [before, after] = [1, 4].map(|n| run.output(n).line_with("disk=vda").number("read_bytes"));
        assert_eq!(before, after, "{run}");
        let pgpgin: u64 = run.output(2).line_with("pgpgin ").as_str()[7..].trim().parse().unwrap();
        assert_eq!(pgpgin, before / 1024, "{run}");
        assert_eq!(run.output(5).line_with("nrpages=").number("nrpages"), 256, "{run}");
        // What is no hole of the disk's is zero, and no read.
        let hole = run.output(6).line_with("read=");
        assert_eq!((hole.number("read"), hole.number("disk_kb")), (1 << 20, 0), "{run}");
        assert_eq!(run.output(7).line_with("read=").number("read"), 0, "{run}");
    });
}

#[test]
fn b1_disk_counters_equal_the_monitors_to_the_byte() {
    let Some(host) = kvm() else { return };
    let folder = TempDir::new().unwrap();
    let (image, _) = volume(&folder, 3 << 20);
    let commands = ["file read f 1M", "file read f at=1M bs=64K", "disk crc vda", "disk list"];
    let run = Guest::on(host).disk(&image, "").flag("--stats").run(&commands).start().assert_ok();
    let guest = run.output(3).line_with("disk=vda");
    for name in ["read_bytes", "write_bytes", "errors"] {
        let monitor = run.all().number(&format!("disk.{}.{name}", guest.fact("serial")));
        assert_eq!(monitor, guest.find(name).map_or(0, |value| value.parse().unwrap()), "{name}\n{run}");
    }
}

#[test]
fn t55_windows_grow_with_sequential_reads_and_stay_away_from_random_ones() {
    let Some(host) = kvm() else { return };
    let folder = TempDir::new().unwrap();
    let (image, _) = volume(&folder, 4 << 20);
    let first = first_sector(&image);
    let start = |append: &str, commands: &[&str]| {
        Guest::on(host).disk(&image, ",ro").append(append).report().run(commands).start().assert_ok()
    };
    let run = start("", &["file read f"]);
    let sizes = requests(&run, first);
    assert_eq!(sizes[..4], [16 << 10, 32 << 10, 64 << 10, 128 << 10], "{sizes:?}\n{run}");
    assert!(sizes[4..sizes.len() - 1].iter().all(|&bytes| bytes == 128 << 10), "{sizes:?}\n{run}");
    assert_eq!(sizes.iter().sum::<u64>(), 4 << 20, "{sizes:?}\n{run}");
    let run = start("", &["file fadvise f random", "file read f 1M order=random"]);
    let sizes = requests(&run, first);
    assert!(sizes.len() > 100 && sizes.iter().all(|&bytes| bytes == PAGE), "{sizes:?}\n{run}");
    // Without advice: a few follow each other by chance.
    let run = start("", &["file read f 1M order=random seed=3"]);
    let sizes = requests(&run, first);
    assert!(sizes.iter().sum::<u64>() < sizes.len() as u64 * 2 * PAGE, "{sizes:?}\n{run}");
    let run = start("read_ahead_kb=0", &["file read f 256K"]);
    let sizes = requests(&run, first);
    assert_eq!(sizes, [PAGE; 64], "{run}");
}

#[test]
fn t53_cached_grows_once_by_the_file() {
    let folder = TempDir::new().unwrap();
    let (image, _) = volume(&folder, 2 << 20);
    let text = "cat /proc/meminfo";
    let run = guest(&image, &[text, "file read f", text, "file read f", text]).start().assert_ok();
    let [none, once, twice] = [0, 2, 4].map(|n| meminfo(run.output(n), "Cached"));
    assert_eq!((once - none, twice - once), (2048, 0), "{run}");
}

#[test]
fn volumes_that_are_not_sound_and_files_that_are_not_there_are_refused() {
    let folder = TempDir::new().unwrap();
    let (image, _) = volume(&folder, 1 << 20);
    let run = guest(&image, &["file read none"]).start().assert_status(1);
    run.output(0).assert_line("error: none: ENOENT");
    let run = guest(&image, &["file read /dev/vdz"]).start().assert_status(1);
    run.output(0).assert_line("error: /dev/vdz: ENOENT");
    let run = Guest::on(any_host()).disk(&image, ",ro").run(&["file create g 1M"]).start().assert_status(1);
    run.output(0).assert_line("error: g: EROFS");
    // Both copies of the table are damaged.
    let first = images::inspect(&image).unwrap().partitions[0].first_lba * 512;
    let mut bytes = fs::read(&image).unwrap();
    for slot in [0, 1] {
        bytes[(first + slot * 65536 + 20) as usize] ^= 0xff;
    }
    fs::write(&image, bytes).unwrap();
    let run = guest(&image, &["file ls"]).append("root=vda").start().assert_ok();
    run.all().assert_line("root=: vda: file table: bad checksum");
}

#[test]
fn files_are_made_and_taken_away_for_good() {
    let folder = TempDir::new().unwrap();
    let (image, _) = volume(&folder, 1 << 20);
    let run = guest(&image, &["file create g 5M", "file rm empty", "file create g"]).start().assert_status(1);
    run.output(2).assert_line("error: g: EEXIST");
    let files = images::inspect(&image).unwrap();
    assert!(files.errors.is_empty(), "{:?}", files.errors);
    let run = guest(&image, &["file ls", "file read g 64K", "file rm g", "file ls"]).start().assert_status(1);
    assert_eq!(run.output(0).line_with("name=g ").number("size"), 5 << 20, "{run}");
    assert!(run.output(0).lines_with("name=empty").is_empty(), "{run}");
    run.output(2).assert_line("error: g: EBUSY");
}

/// The monitor compares what both sides have counted, reads ahead that nobody waited for included.
#[test]
fn b1_a_run_whose_counts_differ_fails() {
    let Some(host) = kvm() else { return };
    let folder = TempDir::new().unwrap();
    let (image, _) = volume(&folder, 4 << 20);
    let slow = |commands: &[&str]| {
        Guest::on(host).disk(&image, ",latency=20ms").flag("--stats").run(commands).start().assert_ok()
    };
    let run = slow(&["file fadvise f willneed", "file as f"]);
    // As much as readahead takes at once, on its way when the machine ends.
    assert_eq!(run.output(1).number("nrpages"), 32, "{run}");
    assert!(run.all().number("disk.disk0.read_bytes") > 32 * PAGE, "{run}");
    slow(&["file create g 1M", "file rm g"]);
}

#[test]
fn b11d_fail_make_request_fails_requests_before_the_disk_is_asked() {
    let folder = TempDir::new().unwrap();
    let (image, crc) = volume(&folder, 1 << 20);
    let says = "FAULT_INJECTION: forcing a failure.";
    // The first window fails, and the page that is needed is read again.
    let once = guest(&image, &["file read f", "disk list"]).append("fail_make_request=1,100,0,1");
    let run = once.start().assert_ok();
    assert_eq!(run.output(0).line_with("read=").fact("crc32"), format!("0x{crc:08x}"), "{run}");
    assert_eq!(run.all().lines_with(says).len(), 1, "{run}");
    run.all().assert_line("name fail_make_request, interval 1, probability 100, space 0, times 0");
    // As many bytes pass as it says; what was read stays, and what was not is not there.
    let some =
        guest(&image, &["file fadvise f random", "file read f"]).append("fail_make_request=1,100,8192,-1");
    let run = some.start().assert_status(1);
    run.all().assert_line("error: f: EIO");
    // When it ends all is well.
    let script = ["inject fail_make_request=1,100,0,1", "file read f", "inject off", "file read f"];
    let run = guest(&image, &script).start().assert_ok();
    assert_eq!(run.output(3).line_with("read=").fact("crc32"), format!("0x{crc:08x}"), "{run}");
    let bad = guest(&image, &["inject fail_make_request=1,101,0,1"]).start().assert_status(2);
    assert_eq!(bad.all().lines_with("bad fail_make_request '1,101,0,1'").len(), 1, "{bad}");
}
