//! Several machines on one host, and what a machine leaves behind when it is killed.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::{NamedTempFile, TempDir};
use tests::{Guest, any_host, for_each_host, vmm};

const SECTOR: u64 = 512;
const MIB: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

fn image(bytes: u64, seed: u64) -> (NamedTempFile, u32) {
    let file = NamedTempFile::new().unwrap();
    let crc = images::write_pattern(&mut file.reopen().unwrap(), bytes, seed).unwrap();
    (file, crc)
}

fn host_crc(path: &Path, sectors: u64) -> String {
    format!("0x{:08x}", images::crc32(&mut fs::File::open(path).unwrap(), 0, sectors * SECTOR).unwrap())
}

#[test]
fn machines_side_by_side_do_not_disturb_each_other() {
    let (shared, crc) = image(4 * MIB, 1);
    let own: Vec<_> = (0..2).map(|n| image(2 * MIB, 10 + n).0).collect();
    std::thread::scope(|scope| {
        for (seed, disk) in (20..).zip(&own) {
            let shared = shared.path();
            scope.spawn(move || {
                let fill = format!("disk fill vdb seed={seed} sector=0 sectors=4096");
                let commands = [
                    "disk crc vda sector=0 sectors=8192",
                    fill.as_str(),
                    "disk crc vdb sector=0 sectors=4096",
                    "disk crc vda sector=0 sectors=8192",
                ];
                let guest = Guest::on(any_host()).disk(shared, ",ro").disk(disk.path(), "");
                let run = guest.run(&commands).start().assert_ok();
                for n in [0, 3] {
                    assert_eq!(run.output(n).fact("crc32"), format!("0x{crc:08x}"), "{run}");
                }
                assert_eq!(run.output(1).fact("crc32"), run.output(2).fact("crc32"), "{run}");
                assert_eq!(run.output(2).fact("crc32"), host_crc(disk.path(), 4096), "{run}");
            });
        }
    });
    assert_ne!(host_crc(own[0].path(), 4096), host_crc(own[1].path(), 4096));
}

/// A monitor whose guest runs for ever, with its temporary files in `directory`.
fn running(host: tests::Host, directory: &Path, disk: &Path) -> Child {
    let accel = if host.is_kvm() { "kvm" } else { "tcg" };
    let mut command = Command::new(vmm());
    command.args(["run", "--accel", accel, "--run", "echo begun; crash hang"]).arg("--disk").arg(disk);
    command.env("TMPDIR", directory).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut reader = std::io::BufReader::new(child.stdout.as_mut().unwrap());
    let mut line = String::new();
    while !line.contains("begun") {
        line.clear();
        assert_ne!(
            std::io::BufRead::read_line(&mut reader, &mut line).unwrap(),
            0,
            "the guest did not begin"
        );
    }
    child
}

/// Processes whose parent is `parent`.
fn children(parent: u32) -> Vec<u32> {
    let ids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    ids.filter(|id: &u32| parent_of(*id) == Some(parent)).collect()
}

/// The parent of a process that is alive.
fn parent_of(id: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name before it can hold anything, brackets too.
    let mut rest = text.rsplit_once(") ")?.1.split(' ');
    let state = rest.next()?;
    rest.next()?.parse().ok().filter(|_| state != "Z" && state != "X")
}

#[test]
fn a_monitor_that_is_killed_leaves_nothing_behind() {
    for_each_host(|host| {
        let directory = TempDir::new().unwrap();
        let (disk, _) = image(MIB, 1);
        let mut child = running(host, directory.path(), disk.path());
        let helpers = children(child.id());
        assert_eq!(helpers.len(), usize::from(!host.is_kvm()), "QEMU and nothing else");
        // While it runs, its files have no names, and nobody else gets its disk.
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "{host}");
        let other = Guest::on(host).disk(disk.path(), "").script("disk list").start().assert_status(2);
        assert!(other.error_line().contains("is in use by another process"), "{other}");
        child.kill().unwrap();
        child.wait().unwrap();
        let start = Instant::now();
        for id in helpers {
            while parent_of(id).is_some() {
                assert!(start.elapsed() < PATIENCE, "{host}: process {id} lives on");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "{host}");
        // The lock went with the process.
        Guest::on(host).disk(disk.path(), "").script("disk list").start().assert_ok();
    });
}
