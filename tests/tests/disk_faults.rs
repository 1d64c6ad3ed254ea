//! Disks that misbehave on purpose, and the ways of doing I/O: what the guest sees is what was asked for.

use std::os::unix::fs::FileExt;

use tempfile::NamedTempFile;
use tests::{Guest, Host, Run, any_host, kvm};

const SECTOR: u64 = 512;
const MIB: u64 = 1 << 20;

fn image(bytes: u64) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    images::write_pattern(&mut file.reopen().unwrap(), bytes, 7).unwrap();
    file
}

/// Runs `commands` with one disk of `options` on KVM, where our own disk is; `None` without KVM.
fn run(options: &str, commands: &[&str], status: i32) -> Option<Run> {
    let guest = Guest::on(kvm()?).option("--disk", options).option("--swap", "none").flag("--stats");
    Some(guest.run(commands).start().assert_status(status))
}

#[test]
fn a_latency_is_kept_by_every_request() {
    let command = "disk bench vda mode=randread bs=4K depth=1 seconds=1";
    let Some(run) = run("latency=5ms", &[command, "disk fill vda sectors=8"], 0) else { return };
    let bench = run.output(0);
    assert!(bench.number("us") >= 5000 * bench.number("requests") && bench.number("requests") > 0, "{run}");
    assert!(bench.number("requests") <= 200, "{run}");
}

#[test]
fn a_limited_rate_is_kept_on_average() {
    let Some(run) = run("bps=4M", &["disk bench vda mode=write bs=64K depth=8 seconds=2"], 0) else { return };
    let bench = run.output(0);
    let rate = bench.number("bytes") * 1_000_000 / bench.number("us");
    // Never faster; slower only by what a busy machine adds.
    assert!(rate <= 4 * MIB + 4 * MIB / 50, "{rate}\n{run}");
    assert!(rate >= MIB, "{rate}\n{run}");
}

#[test]
fn bad_sectors_fail_what_touches_them_and_nothing_else() {
    let file = image(2 * MIB);
    let options = format!("{},error=write@sector:2048,error=read@sector:100", file.path().display());
    let before = std::fs::read(file.path()).unwrap();
    for (command, fails) in [
        ("disk fill vda seed=1 sector=2040 sectors=9", true),
        ("disk fill vda seed=1 sector=2049 sectors=8", false),
        ("disk crc vda sector=2048 sectors=8", false),
        ("disk crc vda sector=100 sectors=1", true),
        ("disk crc vda sector=101 sectors=64", false),
    ] {
        let Some(run) = run(&options, &[command], i32::from(fails)) else { return };
        assert_eq!(run.all().has_line("error: vda: Io"), fails, "{command}\n{run}");
    }
    let mut sector = [0; 512];
    file.as_file().read_exact_at(&mut sector, 2048 * SECTOR).unwrap();
    assert_eq!(sector[..], before[2048 * 512..2049 * 512], "a bad sector is never written");
}

#[test]
fn a_torn_write_leaves_its_first_half() {
    let file = image(MIB);
    let before = std::fs::read(file.path()).unwrap();
    let options = format!("{},torn=2", file.path().display());
    // Two requests of 64 KiB.
    let Some(run) = run(&options, &["disk fill vda seed=3 sectors=256"], 1) else { return };
    assert!(run.all().has_line("error: vda: Io"), "{run}");
    let after = std::fs::read(file.path()).unwrap();
    let changed = |from: usize, to: usize| {
        let pairs = before[from..to].chunks(512).zip(after[from..to].chunks(512));
        pairs.filter(|(old, new)| old != new).count()
    };
    assert_eq!((changed(0, 65536), changed(65536, 98304), changed(98304, 1 << 20)), (128, 64, 0));
}

#[test]
fn the_nth_request_fails_once() {
    let Some(run) = run("fail_nth=3", &["disk crc vda sectors=256", "disk crc vda sectors=256"], 1) else {
        return;
    };
    assert_ne!(run.output(0).fact("crc32"), "", "two requests are fine\n{run}");
    assert!(run.output(1).has_line("error: vda: Io"), "{run}");
}

/// Every way of doing I/O moves the same bytes, and both sides count the same.
#[test]
fn all_ways_of_io_agree() {
    let Some(host) = kvm() else { return };
    for options in ["io=uring", "io=threads", "cache=none", "cache=none,io=threads", "cache=writeback"] {
        let file = image(4 * MIB);
        let commands = [
            "disk fill vda seed=5 sector=3 sectors=4001",
            "disk crc vda sector=3 sectors=4001",
            "disk bench vda mode=randread bs=4K depth=64 seconds=1",
            "disk bench vda mode=randwrite bs=512 depth=64 seconds=1",
            "disk list",
        ];
        let guest = Guest::on(host).disk(file.path(), &format!(",{options}")).option("--swap", "none");
        let run = guest.cpus(2).flag("--stats").run(&commands).start().assert_ok();
        assert_eq!(run.output(0).fact("crc32"), run.output(1).fact("crc32"), "{options}\n{run}");
        let list = run.output(4);
        assert_eq!(list.number("queues"), 2, "{run}");
        for what in ["read_bytes", "write_bytes"] {
            assert_eq!(
                list.number(what),
                run.all().number(&format!("disk.disk0.{what}")),
                "{options} {what}\n{run}"
            );
        }
    }
}

/// Every disk has its own thread, and requests of several disks do not get mixed up.
#[test]
fn several_disks_at_once() {
    let Some(host) = kvm() else { return };
    let files: Vec<_> = (1..=4).map(|n| (image(n * MIB), n)).collect();
    let mut guest = Guest::on(host).option("--swap", "none").cpus(2);
    for (file, n) in &files {
        guest = guest.disk(file.path(), &format!(",id=disk-{n}"));
    }
    let fills: Vec<_> =
        ('a'..='d').map(|disk| format!("disk fill vd{disk} seed={}", u32::from(disk))).collect();
    let checks = ('a'..='d').map(|disk| format!("disk crc vd{disk}"));
    let commands: Vec<_> = fills.into_iter().chain(checks).collect();
    let run = guest.run(&commands.iter().map(String::as_str).collect::<Vec<_>>()).start().assert_ok();
    for n in 0..4 {
        assert_eq!(run.output(n).fact("crc32"), run.output(n + 4).fact("crc32"), "{run}");
    }
}

#[test]
fn a_disk_without_io_uring_says_so_only_if_asked() {
    let run = Guest::unbooted().option("--disk", "io=aio").start().assert_status(2);
    assert_eq!(run.error_line(), "--disk: io=\"aio\" is not possible; write uring or threads");
    let run = Guest::unbooted().option("--disk", "ro,size=4M").start().assert_status(2);
    assert_eq!(
        run.error_line(),
        "--disk: unknown option \"size=4M\"; known are ro, id=NAME, cache=writeback|none, io=uring|threads, \
         latency=TIME, bps=SIZE, error=read|write@sector:N, torn=N and fail_nth=N"
    );
}

#[test]
fn qemu_has_no_disk_that_fails_on_purpose() {
    if any_host() == Host::TcgMax
        || std::process::Command::new("qemu-system-x86_64").arg("--version").output().is_ok()
    {
        let guest = Guest::on(Host::TcgMax).option("--disk", "latency=5ms").script("echo never");
        let run = guest.start().assert_status(2);
        assert_eq!(run.error_line(), "--disk: latency= needs KVM; leave it out, or use a host with KVM");
    }
}
