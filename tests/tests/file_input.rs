//! Bad input of files: volumes that are full, that cannot be written or whose table is damaged, direct transfers that are no whole
//! sectors, reads past the end. Each has its errno, and nothing is lost.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use images::{Content, DataSpec, Existing, FileSpec};
use tempfile::TempDir;
use tests::{Guest, any_host, for_each_host};

/// A volume of `size` bytes with a file `f` of 1 MiB of a pattern, and what that is.
fn volume(folder: &TempDir, size: u64) -> (PathBuf, Vec<u8>) {
    let content = folder.path().join("f.bin");
    images::write_pattern(&mut fs::File::create(&content).unwrap(), 1 << 20, 5).unwrap();
    let file = FileSpec { name: "f".into(), content: Content::Host(content.clone()), room: 0, sparse: false };
    let spec = DataSpec { size: Some(size), uuid: None, files: vec![file], partitions: vec![] };
    let image = folder.path().join("data.img");
    images::make_data(&image, &spec, Existing::Replace).unwrap();
    (image, fs::read(content).unwrap())
}

fn guest(image: &Path, options: &str, commands: &[&str]) -> Guest {
    Guest::on(any_host()).mem("64M").disk(image, options).run(commands)
}

/// The file `name` as it is on the image.
fn extracted(image: &Path, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    images::extract(image, name, &mut bytes).unwrap();
    bytes
}

fn crc(bytes: &[u8]) -> u64 {
    let mut copy = tempfile::tempfile().unwrap();
    copy.write_all(bytes).unwrap();
    images::crc32(&mut copy, 0, bytes.len() as u64).unwrap().into()
}

#[test]
fn a_full_volume_says_so_and_loses_nothing() {
    let folder = TempDir::new().unwrap();
    for_each_host(|host| {
        let (image, f) = volume(&folder, 4 << 20);
        let commands = [
            "file create g",
            "file create h",
            "file ls",
            "file write g 8M bs=64K expect=ENOSPC",
            "file dwrite h 64K expect=ENOSPC",
            "file sync",
            "file read g",
            "file truncate g 256K",
            "file sync",
            "file write h 64K",
            "file sync",
            "mm verify",
        ];
        let run = Guest::on(host).mem("64M").disk(&image, "").run(&commands).start().assert_ok();
        let free = run.output(2).line_with("free_blocks=").number("free_blocks") * 4096;
        let (written, read) = (run.output(3).line_with("written="), run.output(6).line_with("read="));
        assert_eq!(written.number("written"), free, "all that there is room for: {run}");
        assert_eq!((read.number("read"), read.number("crc32")), (free, written.number("crc32")), "{run}");
        assert_eq!(extracted(&image, "g").len(), 256 << 10, "{run}");
        // What was given up is room for others.
        assert_eq!(
            crc(&extracted(&image, "h")),
            run.output(9).line_with("written=").number("crc32"),
            "{run}"
        );
        assert!(extracted(&image, "f") == f, "another file is as it was\n{run}");
    });
}

/// Blocks that a file gave up are free when the table says so: the table is written for that.
#[test]
fn what_a_file_gave_up_is_room_for_it_at_once() {
    let folder = TempDir::new().unwrap();
    for_each_host(|host| {
        let (image, f) = volume(&folder, 4 << 20);
        let commands = [
            "file create g",
            "file write g 640K",
            "file fsync g",
            "file truncate g 0",
            "file write g 640K",
            "file truncate g 0",
            "file dwrite g 640K",
            "file fsync g",
            "mm verify",
        ];
        let run = Guest::on(host).mem("64M").disk(&image, "").run(&commands).start().assert_ok();
        let written = run.output(6).line_with("dwritten=");
        assert_eq!(written.number("dwritten"), 640 << 10, "{run}");
        assert_eq!(crc(&extracted(&image, "g")), written.number("crc32"), "{run}");
        assert!(extracted(&image, "f") == f, "another file is as it was\n{run}");
    });
}

#[test]
fn a_disk_that_cannot_be_written_is_read_all_the_same() {
    let folder = TempDir::new().unwrap();
    let (image, f) = volume(&folder, 4 << 20);
    let before = fs::read(&image).unwrap();
    let words = ["file write f 4K", "file truncate f 0", "file dwrite f 4K", "file create g"];
    for word in words {
        let run = guest(&image, ",ro", &["file read f", "file fsync f", word]).start().assert_status(1);
        assert_eq!(run.output(0).line_with("read=").number("crc32"), crc(&f), "{run}");
        let file = word.split(' ').nth(2).unwrap();
        run.output(2).assert_line(&format!("error: {file}: EROFS"));
    }
    guest(&image, ",ro", &["file rm f"]).start().assert_status(1).output(0).assert_line("error: f: EROFS");
    assert!(fs::read(&image).unwrap() == before, "the image is as it was");
}

#[test]
fn of_a_table_with_one_sound_copy_nothing_is_lost_and_without_one_it_is_said_once() {
    let folder = TempDir::new().unwrap();
    let (image, f) = volume(&folder, 4 << 20);
    let first = images::inspect(&image).unwrap().partitions[0].first_lba * 512;
    let damage = |slot: u64| {
        let file = fs::File::options().read(true).write(true).open(&image).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, first + slot * 65536 + 20).unwrap();
        file.write_all_at(&[byte[0] ^ 0xff], first + slot * 65536 + 20).unwrap();
    };
    // Each copy is the newer one once.
    guest(&image, "", &["file create g 4K"]).start().assert_ok();
    guest(&image, "", &["file create h 4K"]).start().assert_ok();
    damage(0);
    let run = guest(&image, "", &["file ls", "file read f"]).append("root=vda").start().assert_ok();
    assert_eq!(run.output(1).line_with("read=").number("crc32"), crc(&f), "{run}");
    assert!(!run.output(0).lines_with("name=g").is_empty(), "{run}");
    damage(1);
    let before = fs::read(&image).unwrap();
    let run = guest(&image, "", &["file ls", "file read f"]).append("root=vda").start().assert_status(1);
    assert_eq!(run.all().lines_with("file table").len(), 1, "{run}");
    run.all().assert_line("root=: vda: file table: bad checksum");
    run.output(1).assert_line("error: f: ENOENT");
    assert!(fs::read(&image).unwrap() == before, "nothing was written over it");
}

#[test]
fn direct_transfers_are_whole_sectors_and_end_where_the_file_does() {
    let folder = TempDir::new().unwrap();
    for_each_host(|host| {
        let (image, mut f) = volume(&folder, 4 << 20);
        let commands = [
            "file dread f 512 at=100 expect=EINVAL",
            "file dread f 100 expect=EINVAL",
            "file dwrite f 4K at=1000 expect=EINVAL",
            "file dwrite f 1000 expect=EINVAL",
            "file dread f",
            "file read f 64K",
            "file dwrite f 6K at=3584",
            "file read f 64K",
            "file dread f 64K at=512",
            "file read f 4K at=1M",
            "file dread f 4K at=1M",
            "file read f 4K at=1G",
            "file dread f 4K at=1048064",
            "file fsync f",
            "mm verify",
        ];
        let run = Guest::on(host).mem("64M").disk(&image, "").run(&commands).start().assert_ok();
        for at in 0..4 {
            run.output(at).assert_line(if at < 2 { "dread=EINVAL" } else { "dwritten=EINVAL" });
        }
        assert_eq!(run.output(4).line_with("dread=").number("crc32"), crc(&f), "{run}");
        let written = run.output(6).line_with("dwritten=");
        assert!(written.number("invalidated") >= 2, "what was in memory has gone: {run}");
        let image_has = extracted(&image, "f");
        assert_eq!(crc(&image_has[3584..3584 + 6144]), written.number("crc32"), "{run}");
        f[3584..3584 + 6144].copy_from_slice(&image_has[3584..3584 + 6144]);
        assert!(image_has == f, "and nothing else\n{run}");
        assert_eq!(run.output(7).line_with("read=").number("crc32"), crc(&f[..64 << 10]), "{run}");
        assert_eq!(run.output(8).line_with("dread=").number("crc32"), crc(&f[512..][..64 << 10]), "{run}");
        for (at, name) in [(9, "read"), (10, "dread"), (11, "read")] {
            assert_eq!(run.output(at).line_with("crc32=").number(name), 0, "{run}");
        }
        assert_eq!(run.output(12).line_with("dread=").number("dread"), 512, "{run}");
    });
}

#[test]
fn t60c_what_the_host_changes_is_read_after_a_rescan_and_what_is_dirty_stays() {
    let folder = TempDir::new().unwrap();
    let (image, _) = volume(&folder, 4 << 20);
    let place = images::inspect(&image).unwrap().partitions[0].first_lba * 512 + 32 * 4096;
    let commands = [
        "file read f 64K",
        "sleep 5",
        "file read f 64K",
        "blk rescan vda",
        "file read f 64K",
        "file write f 4K",
    ];
    let mut command = guest(&image, "", &[&commands[..], &["blk rescan vda"]].concat()).command();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let (mut lines, mut reads, mut line) = (Vec::new(), 0, String::new());
    while output.read_line(&mut line).unwrap() != 0 {
        if line.starts_with("read=") {
            reads += 1;
            if reads == 1 {
                let file = fs::File::options().write(true).open(&image).unwrap();
                file.write_all_at(&[0x5a; 8192], place).unwrap();
            }
        }
        lines.push(std::mem::take(&mut line).trim_end().to_owned());
    }
    assert_eq!(child.wait().unwrap().code(), Some(1), "{lines:#?}");
    let with = |word: &str| -> Vec<&String> { lines.iter().filter(|line| line.starts_with(word)).collect() };
    let crc_of = |line: &str| line.split("crc32=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let crcs: Vec<_> = with("read=").into_iter().map(|line| crc_of(line)).collect();
    assert!(crcs[0] == crcs[1] && crcs[0] != crcs[2], "{lines:#?}");
    assert_eq!(crcs[2], format!("0x{:08x}", crc(&extracted(&image, "f")[..64 << 10])), "{lines:#?}");
    let rescans = with("invalidated=");
    assert!(rescans[0].ends_with(" kept=0") && rescans[1].ends_with(" kept=1"), "{lines:#?}");
    assert!(lines.iter().any(|line| line == "error: vda: EBUSY"), "{lines:#?}");
}

#[test]
fn t60d_a_direct_write_is_seen_through_the_mapping_whose_pages_it_takes_away() {
    let folder = TempDir::new().unwrap();
    for_each_host(|host| {
        let (image, mut f) = volume(&folder, 4 << 20);
        let commands = [
            "vm map 1M file=f shared rw",
            "touch 1/1",
            "file sync",
            "file read f",
            "file dwrite f 32K at=16K seed=2",
            "file as f",
            "file mmap-sum f",
            "sysctl vm.drop_caches=1",
            "file read f",
            "mm verify",
            "vm verify",
        ];
        let run = Guest::on(host).mem("64M").disk(&image, "").run(&commands).start().assert_status(1);
        assert_eq!(run.output(4).line_with("dwritten=").number("invalidated"), 8, "{run}");
        assert_eq!(run.output(5).line_with("nrpages=").number("nrpages"), 256 - 8, "{run}");
        f.copy_from_slice(&extracted(&image, "f"));
        assert_ne!(run.output(3).line_with("read=").number("crc32"), crc(&f), "{run}");
        assert_eq!(run.output(6).line_with("mapped=").number("crc32"), crc(&f), "{run}");
        assert_eq!(run.output(8).line_with("read=").number("crc32"), crc(&f), "{run}");
        // The old mapping shows the same: eight pages are not what was stored through it.
        assert_eq!(run.output(10).line_with("verify=").number("wrong"), 8, "{run}");
    });
}

/// What keeps a volume from being read when it is first asked for is told, and is not a file that is missing.
#[test]
fn a_volume_that_cannot_be_read_is_not_called_missing() {
    let folder = TempDir::new().unwrap();
    let (image, _) = volume(&folder, 4 << 20);
    let nothing = "inject fail_page_alloc=1,100,0,-1 min-order=0 ignore-gfp-highmem=N ignore-gfp-wait=N";
    for (command, expected) in [
        ("file read f", "error: f: ENOMEM"),
        ("file ls", "error: /: ENOMEM"),
        ("vm map 1M file=f", "error: f: ENOMEM"),
    ] {
        let run = guest(&image, "", &["ctx new a", nothing, command]).start().assert_status(1);
        run.output(2).assert_line(expected);
    }
    let run = guest(&image, ",error=read@sector:0", &["file read f"]).start().assert_status(1);
    run.output(0).assert_line("error: f: EIO");
    let run = guest(&image, "", &["file read none"]).start().assert_status(1);
    run.output(0).assert_line("error: none: ENOENT");
}

/// Direct transfers need no large blocks for their memory, and make room for it in swap.
#[test]
fn direct_transfers_find_memory_where_there_are_only_pages() {
    let folder = TempDir::new().unwrap();
    let (image, f) = volume(&folder, 4 << 20);
    let no_blocks = "inject fail_page_alloc=1,100,0,-1 min-order=1 ignore-gfp-highmem=N ignore-gfp-wait=N";
    let commands = [
        "file ls",
        "ctx new big",
        "vm touch 72M",
        no_blocks,
        "file dread f",
        "inject off",
        "vm verify",
        "mm verify",
        "grep oom_kill /proc/vmstat",
    ];
    let small = Guest::on(any_host()).mem("64M").cpus(1).option("--swap", "64M").disk(&image, "");
    let run = small.append("transparent_hugepage=never").run(&commands).start().assert_ok();
    assert_eq!(run.output(4).line_with("dread=").fact("crc32"), format!("0x{:08x}", crc(&f)), "{run}");
    assert_eq!(run.output(6).line_with("verify=").fact("verify"), "ok", "{run}");
    run.output(7).assert_line("buddy=ok zones=ok slab=ok vmalloc=ok leaked=0");
    run.output(8).assert_line("oom_kill 0");
}
