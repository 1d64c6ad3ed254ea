//! What the memory manager says that it has read and written, beside what the monitor has: the same bytes on every disk.

use tempfile::TempDir;
use tests::{Guest, Run, kvm};

use crate::page_cache::volume;
use crate::swap_areas::area;

const PAGE: u64 = 4096;

/// A number of `--stats` about a disk.
fn of(run: &Run, disk: &str, name: &str) -> u64 {
    run.all().number(&format!("{disk}.{name}"))
}

#[test]
fn b1_what_was_swapped_and_written_is_what_the_monitor_moved_on_each_disk() {
    let Some(host) = kvm() else { return };
    let folder = TempDir::new().unwrap();
    let ((data, _), swap) = (volume(&folder, 4 << 20), area(&folder, "swap.img", 128));
    let guest = Guest::on(host).mem("64M").option("--swap", "none").flag("--stats");
    let guest = guest.disk(&data, ",id=dat").disk(&swap, ",id=swp,error=write@sector:4096");
    let guest = guest.append("swap=vdb");
    let commands = [
        "file read f",
        "file write f 1M",
        "file sync",
        "file dwrite f 64K",
        "file dread f 64K",
        "disk crc vdb sectors=9",
        "vm touch 96M",
        "vm verify",
        "vm verify",
    ];
    let run = guest.run(&commands).start().assert_ok();
    let swapped = |name| of(&run, "guest.disk.swp", name);
    assert!(swapped("swap_out_pages") > 8192 && swapped("swap_in_pages") > 8192, "{run}");
    assert!(swapped("swap_out_failed_pages") > 0, "a sector fails: {run}");
    assert_eq!(swapped("swap_out_pages") * PAGE, of(&run, "disk.swp", "write_bytes"), "{run}");
    // The header and the sectors of the command, at least.
    assert!(swapped("other_in_bytes") >= PAGE + 9 * 512, "{run}");
    let read = swapped("swap_in_pages") * PAGE + swapped("other_in_bytes");
    assert_eq!(read, of(&run, "disk.swp", "read_bytes"), "{run}");
    let file = |name: &str| of(&run, "guest.disk.dat", name);
    assert_eq!((file("swap_in_pages"), file("swap_out_pages")), (0, 0), "{run}");
    assert!(file("file_in_pages") >= 1024 && file("file_out_pages") >= 256, "{run}");
    assert_eq!((file("direct_out_bytes"), file("direct_in_bytes")), (64 << 10, 64 << 10), "{run}");
    for (direction, total) in [("in", "read_bytes"), ("out", "write_bytes")] {
        let part = |name: &str| file(&name.replace('*', direction));
        let sum = part("file_*_pages") * PAGE - part("file_*_short_bytes");
        let sum = sum + part("direct_*_bytes") + part("other_*_bytes");
        assert_eq!(sum, of(&run, "disk.dat", total), "{run}");
    }
}

#[test]
fn b1_a_page_that_is_counted_wrong_fails_the_run() {
    let Some(host) = kvm() else { return };
    let folder = TempDir::new().unwrap();
    let swap = area(&folder, "swap.img", 64);
    let start = |commands: &[&str]| {
        let guest =
            Guest::on(host).mem("64M").option("--swap", "none").disk(&swap, ",id=swp").append("swap=vda");
        guest.flag("--stats").run(commands).start()
    };
    start(&["vm touch 8M", "swap out"]).assert_ok();
    let run = start(&["vm touch 8M", "swap out", "inject miscount=vda"]).assert_status(1);
    let written = of(&run, "disk.swp", "write_bytes");
    let says =
        format!("disk.swp.write_bytes: the guest has booked {}, the monitor has {written}", written + PAGE);
    assert!(run.stderr.contains(&says), "{run}");
    assert!(
        run.stderr.contains("pswpout: the guest has counted 2048 pages, and booked 2049 on its disks"),
        "{run}"
    );
}

/// Where KVM translates the guest's tables itself it has seen every page fault of the guest: all kinds, on all CPUs.
#[test]
fn b1_page_faults_are_those_that_kvm_has_seen() {
    let Some(host) = kvm() else { return };
    let folder = TempDir::new().unwrap();
    let swap = area(&folder, "swap.img", 64);
    let start = |commands: &[&str]| {
        let guest =
            Guest::on(host).mem("64M").cpus(2).option("--swap", "none").disk(&swap, "").append("swap=vda");
        guest.flag("--stats").run(commands).start()
    };
    let commands =
        ["fault flavours", "cow demo", "traps stress ms=300", "tlb test 1", "vm touch 80M", "vm verify"];
    let run = start(&commands).assert_ok();
    let (told, seen) = (run.all().number("guest.page_faults"), run.all().number("kvm.vcpu.pf_guest"));
    assert!(told > 20_000, "{run}");
    if run.all().number("kvm.vm.mmu_pte_write") != 0 {
        assert_eq!(told, seen, "{run}");
        let run = start(&["vm touch 1M", "inject miscount=page_faults"]).assert_status(1);
        let seen = run.all().number("kvm.vcpu.pf_guest");
        let says = format!("page_faults: the guest has counted {}, KVM {seen}", seen + 1);
        assert!(run.stderr.contains(&says), "{run}");
    }
}
