//! Another kernel under our monitor: Debian's Linux boots from its bzImage with an initial RAM disk, sees the machine
//! that our guest sees, and uses its disk.
//!
//! The harness `cargo xtask hwkvm` brings kernel, RAM disk and file system; elsewhere there are none, and software KVM
//! would need hours for Linux's ring 0.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tests::linux::zoneinfo;
use tests::{Guest, Host, Run, kvm, not_tested};

/// What the RAM disk's first program prints, by number.
const NODES: usize = 0;
const ZONES: usize = 1;
const DEVICES: usize = 2;
const DISK: usize = 3;

/// Linux has ten times as much to do as our kernel until its first program runs.
const LIMIT: Duration = Duration::from_secs(300);

/// The folder with kernel, RAM disk and file system; `None` where there is none, which has been said.
fn linux() -> Option<(Host, PathBuf)> {
    match (kvm(), std::env::var_os("LINUX_GUEST")) {
        (Some(host), Some(folder)) => Some((host, PathBuf::from(folder))),
        _ => {
            not_tested("Linux under our monitor", Some("`cargo xtask hwkvm` brings it"));
            None
        }
    }
}

/// Two nodes of two CPUs that are not the same distance apart as usual.
fn machine(host: Host) -> Guest {
    Guest::on(host)
        .cpus(4)
        .mem("1G")
        .numa("node=0,cpus=0-1,mem=512M")
        .numa("node=1,cpus=2-3,mem=512M,distance=1:20")
}

/// `machine` with Linux in it.
fn boot(machine: Guest, folder: &Path, parameters: &str) -> Run {
    let guest = machine
        .kernel(&folder.join("vmlinuz"))
        .option("--initrd", &folder.join("initrd").display().to_string());
    let guest = guest.append(&format!("console=ttyS0 quiet panic=-1 {parameters}")).report();
    guest.limit(LIMIT).start().assert_ok()
}

#[test]
fn linux_sees_the_nodes_our_guest_sees_and_its_disk_is_clean_afterwards() {
    let Some((host, folder)) = linux() else { return };
    let disk = tempfile::NamedTempFile::new().unwrap();
    fs::copy(folder.join("ext4.img"), disk.path()).unwrap();
    let linux = boot(machine(host).disk(disk.path(), ""), &folder, "");
    let nodes = "cat /sys/devices/system/node/node0/cpulist; cat /sys/devices/system/node/node0/distance; \
                 cat /sys/devices/system/node/node1/cpulist; cat /sys/devices/system/node/node1/distance";
    let ours = machine(host).run(&[nodes, "cat /proc/zoneinfo"]).start().assert_ok();
    assert_eq!(linux.output(NODES).as_str(), ours.output(NODES).as_str(), "{linux}\n{ours}");
    // Where the memory of each node begins and ends. Linux keeps the first page to itself.
    let spans = |run: &Run| {
        let zones = zoneinfo(run.output(ZONES));
        let of_node = |node| {
            let zones = zones.iter().filter(move |zone| zone.node == node && zone.spanned > 0);
            let start = zones.clone().map(|zone| zone.start_pfn.saturating_sub(1)).min();
            (start, zones.map(|zone| zone.start_pfn + zone.spanned).max())
        };
        [of_node(0), of_node(1)]
    };
    assert_eq!(spans(&linux), spans(&ours), "{linux}\n{ours}");
    // A node is a package.
    for (cpu, package) in [(0, 0), (1, 0), (2, 1), (3, 1)] {
        linux.output(DEVICES).assert_line(&format!("cpu={cpu} package={package} core={}", cpu % 2));
    }
    assert!(!linux.all().as_str().contains("is not on the same node"), "{linux}");
    // ACPI tells of the disk; without that there would be none.
    linux.output(DEVICES).assert_line("LNRO0005:00");
    linux.output(DISK).assert_line("read: the file on this disk");
    linux.output(DISK).assert_line("written, synced and unmounted");
    let check = Command::new("e2fsck.static").arg("-fn").arg(disk.path()).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}

#[test]
fn linux_resets_the_machine() {
    let Some((host, folder)) = linux() else { return };
    let run = boot(Guest::on(host).cpus(1).mem("256M"), &folder, "end=reset");
    assert_eq!(run.report()["exit"]["reason"], "reset", "{run}");
    // It did so at once, and not by switching off after all else.
    assert!(!run.stdout.contains("==="), "{run}");
}
