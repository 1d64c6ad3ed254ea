//! T53, T23, T59 to T61: files through mappings: one copy for all, faults that read and that do not, msync, names.

use std::fs;
use std::path::{Path, PathBuf};

use images::{Content, DataSpec, Existing, FileSpec, SwapSpec};
use tempfile::TempDir;
use tests::linux::meminfo;
use tests::{Guest, Run, any_host, for_each_host, kvm};

const PAGE: u64 = 4096;

/// A volume with a file `f` of a pattern and an empty one; its path, and the pattern's CRC.
fn volume(folder: &TempDir, bytes: u64) -> (PathBuf, u32) {
    let content = folder.path().join("f.bin");
    let crc = images::write_pattern(&mut fs::File::create(&content).unwrap(), bytes, 5).unwrap();
    let file = |name: &str, content| FileSpec { name: name.into(), content, room: 0, sparse: false };
    let files = vec![file("f", Content::Host(content)), file("g", Content::Zeros(1 << 20))];
    let spec = DataSpec { size: Some((16 << 20) + bytes), uuid: None, files, partitions: vec![] };
    let image = folder.path().join("data.img");
    images::make_data(&image, &spec, Existing::Keep).unwrap();
    (image, crc)
}

fn guest(image: &Path, commands: &[&str]) -> Guest {
    Guest::on(any_host()).mem("128M").disk(image, "").run(commands)
}

/// What the run says of `PATH` with `file as`.
fn pages(run: &Run, command: usize) -> [u64; 5] {
    let line = run.output(command).line_with("nrpages=");
    ["nrpages", "dirty", "writeback", "shadows", "mmaps"].map(|name| line.number(name))
}

#[test]
fn t53_reads_and_mappings_share_one_copy() {
    let folder = TempDir::new().unwrap();
    let (image, crc) = volume(&folder, 1 << 20);
    for_each_host(|host| {
        let text = "cat /proc/meminfo";
        let commands = [text, "file read f", "file mmap-sum f", text, "file as f", "mm verify"];
        let run = Guest::on(host).mem("128M").disk(&image, ",ro").run(&commands).start().assert_ok();
        let (read, mapped) = (run.output(1).line_with("read="), run.output(2).line_with("mapped="));
        let expected = format!("0x{crc:08x}");
        assert_eq!((read.fact("crc32"), mapped.fact("crc32")), (&*expected, &*expected), "{run}");
        // All of it is mapped, nothing is read again and nothing is there twice.
        let counts = ["pgmajfault", "disk_kb", "cached_kb", "rss_file_kb"].map(|name| mapped.number(name));
        assert_eq!(counts, [0, 0, 0, 1024], "{run}");
        // A fault maps what lies around it: 16 pages.
        assert_eq!(mapped.number("pgfault"), 256 / 16, "{run}");
        let [before, after] = [0, 3].map(|n| meminfo(run.output(n), "Cached"));
        assert_eq!(after - before, 1024, "{run}");
        assert_eq!(pages(&run, 4), [256, 0, 0, 0, 0], "{run}");
    });
}

#[test]
fn t53_what_is_written_through_a_mapping_is_read_without_a_sync() {
    for_each_host(|host| {
        let folder = TempDir::new().unwrap();
        let (image, _) = volume(&folder, 1 << 20);
        let commands = [
            "file mmap-sum g",
            "file mmap-write g 64K at=12K seed=9",
            "file read g 64K at=12K",
            "file as g",
            "file write g 8K at=512K seed=3",
            "file mmap-sum g",
            "file read g",
            "file sync",
            "mm verify",
        ];
        let run = Guest::on(host).mem("128M").disk(&image, "").run(&commands).start().assert_ok();
        let (written, read) = (run.output(1).line_with("written="), run.output(2).line_with("read="));
        assert_eq!((written.fact("crc32"), read.number("hit")), (read.fact("crc32"), 16), "{run}");
        assert_eq!(pages(&run, 3)[1], 16, "{run}");
        let (mapped, read) = (run.output(5).line_with("mapped="), run.output(6).line_with("read="));
        assert_eq!(mapped.fact("crc32"), read.fact("crc32"), "{run}");
        assert_ne!(mapped.fact("crc32"), run.output(0).line_with("mapped=").fact("crc32"), "{run}");
        // The disk has it, too.
        let mut bytes = Vec::new();
        images::extract(&image, "g", &mut bytes).unwrap();
        let mut copy = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut copy, &bytes).unwrap();
        let crc = images::crc32(&mut copy, 0, bytes.len() as u64).unwrap();
        assert_eq!(u64::from(crc), read.number("crc32"), "{run}");
    });
}

#[test]
fn t23b_faults_of_files_and_swap_take_their_ways_and_are_major_if_they_read() {
    let folder = TempDir::new().unwrap();
    let (image, _) = volume(&folder, 1 << 20);
    let swap = folder.path().join("swap.img");
    let spec = SwapSpec { size: 16 << 20, label: String::new(), uuid: None, bad_pages: vec![] };
    images::make_swap(&swap, &spec, Existing::Keep).unwrap();
    for_each_host(|host| {
        let guest = Guest::on(host).mem("128M").disk(&image, "").disk(&swap, "").append("swap=vdb");
        let run = guest.run(&["fault flavours", "file sync", "mm verify"]).start().assert_ok();
        let major = |way: &str| run.output(0).line_with(&format!("{way}=1 major=")).number("major");
        let ways = ["read", "read_cached", "cow_file", "shared_file", "swap"].map(major);
        assert_eq!(ways, [1, 0, 1, 1, 1], "{run}");
        run.output(0).assert_line("around=15");
        assert_eq!(run.output(0).line_with("anon_zero=").number("pgmajfault"), 0, "{run}");
    });
    // Without files and without swap there is nothing of either.
    let run = Guest::on(any_host())
        .mem("128M")
        .option("--swap", "none")
        .run(&["fault flavours"])
        .start()
        .assert_ok();
    assert!(run.output(0).lines_with("major=").is_empty(), "{run}");
}

#[test]
fn t23b_so_much_is_mapped_around_as_fault_around_bytes_says() {
    let folder = TempDir::new().unwrap();
    let (image, crc) = volume(&folder, 1 << 20);
    for (bytes, faults) in [("4K", 256), ("16K", 64), ("128K", 8)] {
        let guest = guest(&image, &["file read f", "file mmap-sum f"]);
        let run = guest.append(&format!("fault_around_bytes={bytes}")).start().assert_ok();
        let mapped = run.output(1).line_with("mapped=");
        assert_eq!(
            (mapped.number("pgfault"), mapped.fact("crc32")),
            (faults, &*format!("0x{crc:08x}")),
            "{bytes}: {run}"
        );
        assert!(
            run.all().lines_with("fault_around_bytes").is_empty(),
            "it is no setting without effect: {run}"
        );
    }
}

#[test]
fn t59_msync_tells_of_an_error_once_and_refuses_as_linux_does() {
    // Only our monitor's disks fail on purpose.
    let Some(host) = kvm() else { return };
    let folder = TempDir::new().unwrap();
    let (image, _) = volume(&folder, 64 << 10);
    let commands = [
        "file create h",
        "file truncate h 64K",
        "vm map 64K file=h shared rw",
        "vm map 64K file=h shared rw",
        "touch 1/1",
        "vm msync async",
        "file as h",
        "vm msync sync expect=EIO",
        "vm msync sync",
        "vm msync sync,async expect=EINVAL",
        "vm verify",
        "vm unmap",
        // The other mapping opened the file for itself, and was not told yet.
        "vm msync sync,invalidate expect=EIO",
        "vm msync sync,invalidate",
        "file as h",
        "vm msync sync 0x1000 4K expect=ENOMEM",
        "mm verify",
    ];
    // The first block that no file has.
    let free = images::inspect(&image).unwrap().partitions[0].first_lba + 32 * 8 + 8 * (16 + 256);
    let options = format!(",error=write@sector:{free}");
    let run = Guest::on(host).mem("64M").cpus(1).disk(&image, &options).run(&commands).start().assert_ok();
    assert_eq!(pages(&run, 6), [16, 16, 0, 0, 2], "{run}");
    assert_eq!(pages(&run, 14), [16, 0, 0, 0, 1], "{run}");
    assert_eq!(run.output(10).line_with("verify=").fact("verify"), "ok", "{run}");
}

#[test]
fn t61_what_maps_a_file_is_counted_and_what_is_cut_off_is_gone() {
    let folder = TempDir::new().unwrap();
    let (image, _) = volume(&folder, 1 << 20);
    let commands = [
        "file read f",
        "vm map 1M file=f shared",
        "file as f",
        "file truncate f 0",
        "file as f",
        "vm unmap",
        "file as f",
        "file read g",
        "vm map 64K shared",
        "touch 1/1",
        "file as all",
        "mm verify",
    ];
    let run = guest(&image, &commands).start().assert_ok();
    let all = run.output(10).line_with("nr_file_pages=");
    let parts = ["nrpages", "shmem", "swapper", "nr_file_pages"].map(|name| all.number(name));
    assert_eq!(parts, [256, 16, 0, 272], "{run}");
    assert_eq!(pages(&run, 2), [256, 0, 0, 0, 1], "{run}");
    assert_eq!(pages(&run, 4), [0, 0, 0, 0, 1], "{run}");
    assert_eq!(pages(&run, 6), [0; 5], "{run}");
}

#[test]
fn t53_maps_name_files_as_linux_does() {
    let folder = TempDir::new().unwrap();
    let (image, _) = volume(&folder, 1 << 20);
    let commands = [
        "ctx new A",
        "vm map 64K file=f at=32K r",
        "vm map 64K file=/g shared rw",
        "touch 1/1",
        "vm map 8K file=/dev/vda shared r",
        "cat /proc/self/maps",
        "cat /proc/self/smaps",
    ];
    let run = guest(&image, &commands).start().assert_ok();
    let line = |end: &str| {
        let line =
            run.output(5).lines().find(|line| line.ends_with(end)).unwrap_or_else(|| panic!("{end}: {run}"));
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let number = |name: &str| images::inspect(&image).unwrap().files.iter().position(|f| f.name == name);
    let f = line(" /f");
    assert_eq!(f[1..4], ["r--p", "00008000", "fe:01"], "{run}");
    assert_eq!(f[4].parse::<usize>().ok(), number("f"), "{run}");
    let g = line(" /g");
    assert_eq!(g[1..4], ["rw-s", "00000000", "fe:01"], "{run}");
    assert_eq!(line(" /dev/vda")[1..3], ["r--s", "00000000"], "{run}");
    // Of a file all is counted as the file's, and as written until it is on the disk.
    let smaps = run.output(6);
    let text: Vec<_> = smaps.lines().skip_while(|line| !line.ends_with(" /g")).take(26).collect();
    let kb = |name: &str| -> u64 {
        let line = text.iter().find(|line| line.starts_with(&format!("{name}:"))).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    assert_eq!(["Rss", "Private_Dirty", "Anonymous"].map(kb), [64, 64, 0], "{run}");
    let flags = text.iter().find(|line| line.starts_with("VmFlags:")).unwrap();
    assert_eq!(flags.trim_end(), "VmFlags: rd wr sh mr mw me ms", "{run}");
}

#[test]
fn t38_open_files_are_objects_and_disks_have_inodes_of_their_own() {
    let folder = TempDir::new().unwrap();
    let (image, _) = volume(&folder, 64 << 10);
    let slabs = "cat /proc/slabinfo";
    let commands = [
        "file stat f",
        slabs,
        "file open f count=500",
        slabs,
        "file open /dev/vda",
        slabs,
        "file close all",
        slabs,
    ];
    let run = guest(&image, &commands).start().assert_ok();
    let active = |at: usize, cache: &str| -> i64 {
        let text = run.output(at);
        let line = text
            .lines()
            .find(|line| line.split(' ').next() == Some(cache))
            .unwrap_or_else(|| panic!("{cache}: {run}"));
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let more = |cache, from, to| active(to, cache) - active(from, cache);
    assert_eq!(
        (more("filp", 1, 3), more("inode_cache", 1, 3), more("bdev_cache", 1, 3)),
        (500, 1, 0),
        "{run}"
    );
    assert_eq!((more("filp", 3, 5), more("inode_cache", 3, 5), more("bdev_cache", 3, 5)), (1, 0, 1), "{run}");
    assert_eq!((more("filp", 5, 7), more("inode_cache", 5, 7)), (-501, 0), "{run}");
}

#[test]
fn t04b_a_frame_goes_from_anonymous_memory_to_a_file() {
    let folder = TempDir::new().unwrap();
    let (image, _) = volume(&folder, 16 << 20);
    let commands = [
        "vm map-fixed 0x700000000000 1M nothp populate",
        "mm history va=0x700000000000",
        "vm unmap",
        "mm history last",
        "file read f bs=64K",
        "mm history last",
    ];
    for_each_host(|host| {
        let guest = Guest::on(host).mem("64M").cpus(1).disk(&image, ",ro").append("page_owner=on");
        let run = guest.run(&commands).start().assert_ok();
        let [mapped, free, read] = [1, 3, 5].map(|n| run.output(n).line_with("history=").fact("history"));
        assert!(mapped.ends_with("anon"), "{run}");
        assert_eq!(free, format!("{mapped}->free->"), "{run}");
        assert_eq!(read, format!("{mapped}->free->file"), "{run}");
    });
}

#[test]
fn two_cpus_write_map_cut_and_sync_a_file_and_no_page_is_stale() {
    for_each_host(|host| {
        let folder = TempDir::new().unwrap();
        let (image, _) = volume(&folder, 64 << 10);
        let ms = if host.is_kvm() { 5000 } else { 2000 };
        let commands = ["file create s", &format!("file storm s ms={ms} seed=7"), "file sync", "mm verify"];
        let run = Guest::on(host).mem("128M").cpus(2).disk(&image, "").run(&commands).start().assert_ok();
        let line = run.output(1).line_with("wrong=");
        assert_eq!(["cpus", "wrong", "errors"].map(|name| line.number(name)), [2, 0, 0], "{run}");
        for step in ["store", "load", "write", "read", "map", "cut", "sync", "drop"] {
            assert!(run.output(1).line_with("store=").number(step) > 0, "{step}: {run}");
        }
        let sums = run.output(1).line_with("sum=");
        let sum = sums.fact("sum");
        assert_eq!(["mapped", "cached", "disk"].map(|name| sums.fact(name)), [sum; 3], "{run}");
        // And so the host sees it.
        let mut bytes = Vec::new();
        images::extract(&image, "s", &mut bytes).unwrap();
        let mut copy = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut copy, &bytes).unwrap();
        assert_eq!(bytes.len() as u64, 44 * PAGE, "{run}");
        let crc = images::crc32(&mut copy, 0, bytes.len() as u64).unwrap();
        assert_eq!(u64::from(crc), sums.number("crc32"), "{run}");
    });
}
