//! T57: who writes behind, one task for each disk or a pool for all.

use std::path::PathBuf;

use images::{DataSpec, Existing};
use tempfile::TempDir;
use tests::{Guest, any_host, kvm};

/// A volume without files.
fn volume(folder: &TempDir, name: &str) -> PathBuf {
    let spec = DataSpec { size: Some(16 << 20), uuid: None, files: vec![], partitions: vec![] };
    let image = folder.path().join(name);
    images::make_data(&image, &spec, Existing::Replace).unwrap();
    image
}

#[test]
fn t57_each_disk_has_a_flusher_of_its_own() {
    let folder = TempDir::new().unwrap();
    let (first, second) = (volume(&folder, "a.img"), volume(&folder, "b.img"));
    let commands = [
        "file create a",
        "file create /mnt/1/b",
        "file write a 4K",
        "file write /mnt/1/b 4K",
        "ps",
        "cat /proc/sys/vm/nr_pdflush_threads",
    ];
    let guest = Guest::on(any_host()).mem("64M").cpus(2).disk(&first, "").disk(&second, "").run(&commands);
    let run = guest.append("root=vda disk.1.fs=vdb").start().assert_ok();
    for name in ["name=flush-254:0 ", "name=flush-254:16 "] {
        assert_eq!(run.output(4).lines_with(name).len(), 1, "{run}");
    }
    run.output(5).assert_line("0");
    let bad = Guest::unbooted().append("writeback=foo").run(&["ps"]).start().assert_status(2);
    assert!(bad.error_line().contains("writeback: bad value \"foo\""), "{bad}");
}

#[test]
fn t57_a_pool_grows_while_two_disks_are_busy_and_shrinks_when_they_are_not() {
    // Only our monitor's disks are slow on purpose.
    let Some(host) = kvm() else { return };
    let folder = TempDir::new().unwrap();
    let (first, second) = (volume(&folder, "a.img"), volume(&folder, "b.img"));
    let threads = "cat /proc/sys/vm/nr_pdflush_threads";
    let commands = [
        "file create a",
        "file create /mnt/1/b",
        "file read a",
        "file read /mnt/1/b",
        threads,
        "file write a 4M bs=64K",
        "file write /mnt/1/b 4M bs=64K",
        "sleep 5",
        threads,
        "ps",
        "file sync",
        "sleep 4",
        threads,
        "ps",
    ];
    let guest = Guest::on(host).mem("128M").cpus(2).disk(&first, ",bps=400K").disk(&second, ",bps=400K");
    let settings = "writeback=pdflush root=vda disk.1.fs=vdb sysctl.vm.dirty_background_bytes=65536 \
                    sysctl.vm.dirty_bytes=33554432 sysctl.vm.dirty_expire_centisecs=50 \
                    sysctl.vm.dirty_writeback_centisecs=50";
    let run = guest.append(settings).run(&commands).start().assert_ok();
    run.output(4).assert_line("2");
    run.output(8).assert_line("4");
    run.output(12).assert_line("2");
    for (at, count) in [(9, 4), (13, 2)] {
        let listed = run.output(at).lines_with("name=pdflush ");
        let live = listed.iter().filter(|line| line.fact("state") != "dead").count();
        assert_eq!(live, count, "{run}");
    }
    assert!(run.output(9).lines_with("name=flush-").is_empty(), "{run}");
}
