//! Bad input of every kind, end to end: one line on standard error that says what to do, status 2, nothing booted,
//! nothing panicked. What single options refuse is tested beside them in `vmm`; here is one of each kind.

use std::fs;
use std::io::Write;

use tempfile::{NamedTempFile, TempDir};
use tests::{Guest, Run, any_host, vmm};

/// Runs what must be refused before boot.
#[track_caller]
fn refused(guest: Guest) -> Run {
    let run = guest.start().assert_status(2);
    assert_eq!(run.stdout, "", "{run}");
    run
}

#[test]
fn b30c_bad_parameters_are_refused_with_the_nearest_name() {
    let cases = [
        ("swapiness=10", "Did you mean \"sysctl.vm.swappiness\"?"),
        ("sysctl.vm.swapiness=10", "Did you mean \"sysctl.vm.swappiness\"?"),
        ("sysctl.vm.swappiness=300", "0..200"),
        ("sysctl.vm.swappiness=", "0..200"),
        ("sysctl.vm.swappiness=much", "0..200"),
        ("ring=2", "auto,0,3"),
        ("debug_pagealloc=maybe", "0,1,y,n,on,off"),
        ("mem=lots", "mem"),
    ];
    for (parameter, hint) in cases {
        let run = refused(Guest::unbooted().append(parameter));
        let line = run.error_line();
        let name = parameter.split('=').next().unwrap_or(parameter);
        assert!(line.contains(name) && line.contains(hint), "{parameter}: {line}");
    }
}

#[test]
fn b30c_every_bad_parameter_gets_its_own_line() {
    let run = refused(Guest::unbooted().append("swapiness=1 nosuchthing=2 sysctl.vm.swappiness=5"));
    let lines: Vec<_> = run.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{run}");
    assert!(lines[0].contains("swapiness") && lines[1].contains("nosuchthing"), "{run}");
}

#[test]
fn b30d_lenient_guests_complain_and_go_on() {
    let guest = Guest::on(any_host()).append("swapiness=10").option("--params", "lenient");
    let run = guest.script("sysctl vm.swappiness; echo alive").start().assert_ok();
    let complaint = run.all().line_with("swapiness=10");
    assert!(complaint.as_str().contains("swappiness"), "{run}");
    run.all().assert_line("vm.swappiness = 60");
    run.all().assert_line("alive");
}

#[test]
fn b30d_good_parameters_reach_the_guest() {
    let run = Guest::on(any_host())
        .append("sysctl.vm.swappiness=10")
        .script("sysctl vm.swappiness")
        .start()
        .assert_ok();
    run.all().assert_line("vm.swappiness = 10");
}

#[test]
fn flags_that_do_not_exist_get_the_nearest_one() {
    for (flag, nearest) in [("--memm", "--mem"), ("--cpu", "--cpus"), ("--numas", "--numa")] {
        let run = refused(Guest::unbooted().option(flag, "2"));
        assert!(run.error_line().contains(nearest), "{run}");
    }
    for (name, value) in [("--accel", "kwm"), ("--ring", "1"), ("--cpus", "many"), ("--timeout", "soon")] {
        let run = refused(Guest::unbooted().option(name, value));
        assert!(run.error_line().contains(value), "{run}");
    }
}

#[test]
fn t01f_sizes_are_refused_with_the_reason() {
    let cases = [
        ("1M", "memory size 1 MiB is below the minimum 16 MiB"),
        ("0", "memory size 0 bytes is below the minimum 16 MiB"),
        ("33M", "memory size 33 MiB is not a multiple of 2 MiB"),
        ("1024P", ""),
        ("-1", ""),
        ("12Q", "--mem \"12Q\" is not a size; write a number with K, M or G, like 512M"),
    ];
    for (size, expected) in cases {
        let run = refused(Guest::unbooted().flag(&format!("--mem={size}")));
        assert!(expected.is_empty() || run.error_line() == expected, "{size}: {run}");
        let _ = run.error_line();
    }
}

#[test]
fn t79c_bad_topologies_are_refused_before_boot() {
    let cases: [(&[&str], &str); 6] = [
        (&["node=0,cpus=0,mem=32M,distance=1:9", "node=1,cpus=1,mem=32M"], "invalid SLIT entry: "),
        (
            &["node=0,cpus=0,mem=32M,distance=1:20", "node=1,cpus=1,mem=32M,distance=0:30"],
            "invalid SLIT entry: distance of node 0 to node 1 is 20 but 30 back",
        ),
        (&["node=0,cpus=0,mem=32M,distance=0:255", "node=1,cpus=1,mem=32M"], "invalid SLIT entry: "),
        (&["node=0,cpus=0-1,mem=32M", "node=1,cpus=1,mem=32M"], "vCPU 1 is in more than one NUMA node"),
        (&["node=0,cpus=0,mem=32M", "node=2,cpus=1,mem=32M"], "NUMA nodes must be numbered 0 to 1"),
        (&["node=0,cpus=0,mem=32M,size=1"], "--numa: unknown option \"size=1\""),
    ];
    for (nodes, start) in cases {
        let run = refused(nodes.iter().fold(Guest::unbooted(), |guest, node| guest.numa(node)));
        assert!(run.error_line().starts_with(start), "{run}");
    }
}

fn file(content: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file
}

/// The first `keep` bytes of an x86-64 executable without a PVH note.
fn executable(keep: usize) -> NamedTempFile {
    let bytes = fs::read(vmm()).unwrap();
    file(&bytes[..keep.min(bytes.len())])
}

#[test]
fn kernels_that_cannot_boot_are_refused() {
    let directory = TempDir::new().unwrap();
    let missing = directory.path().join("vmlinux");
    let (empty, text) = (file(b""), file(b"#!/bin/sh\nexit 0\n"));
    let (whole, header, half) = (executable(usize::MAX), executable(32), executable(4096));
    let mut cases = vec![
        (missing.as_path(), "cannot read kernel "),
        (directory.path(), "cannot read kernel "),
        (empty.path(), ""),
        (text.path(), ""),
        (header.path(), ""),
        (half.path(), ""),
        (whole.path(), ""),
    ];
    for (path, start) in cases.drain(..) {
        let run = refused(Guest::on(any_host()).kernel(path));
        let line = run.error_line();
        assert!(line.starts_with(start) && line.contains(&path.display().to_string()), "{run}");
    }
    let neither = refused(Guest::on(any_host()).kernel(text.path()));
    assert!(neither.error_line().contains("is neither an ELF file nor a bzImage"), "{neither}");
    // Linux's mark, and no more of it.
    let mut start = vec![0; 0x300];
    start[0x202..0x206].copy_from_slice(b"HdrS");
    let cut = refused(Guest::on(any_host()).kernel(file(&start).path()));
    assert!(cut.error_line().contains("is a damaged or very old bzImage"), "{cut}");
    let unused = refused(Guest::on(any_host()).option("--initrd", "/dev/null"));
    assert!(unused.error_line().starts_with("--initrd is for other kernels"), "{unused}");
    assert!(refused(Guest::on(any_host()).kernel(whole.path())).error_line().contains("no PVH note"));
}

#[test]
fn disks_that_cannot_be_used_are_refused_on_every_host() {
    let directory = TempDir::new().unwrap();
    let missing = directory.path().join("absent.img");
    let (odd, empty) = (file(&[0; 1000]), file(b""));
    tests::for_each_host(|host| {
        let cases = [
            (missing.as_path(), "does not exist"),
            (directory.path(), "is a directory"),
            (odd.path(), "has 1000 bytes; make its size a non-zero multiple of 512"),
            (empty.path(), "has 0 bytes; make its size a non-zero multiple of 512"),
        ];
        for (path, what) in cases {
            let run = refused(Guest::on(host).disk(path, "").script("disk list"));
            let line = run.error_line();
            assert!(line.starts_with(&format!("disk image {} {what}", path.display())), "{run}");
        }
    });
}

#[test]
fn a_disk_in_use_is_refused() {
    let image = file(&[0; 1 << 20]);
    let start = || Guest::on(any_host()).disk(image.path(), "");
    let both = [start().disk(image.path(), ""), start().disk(image.path(), ",ro")];
    for guest in both {
        let run = refused(guest.script("disk list"));
        assert!(run.error_line().contains("is in use by another process"), "{run}");
    }
    // Readers do not disturb each other.
    let readers = Guest::on(any_host()).disk(image.path(), ",ro").disk(image.path(), ",ro");
    let run = readers.script("disk list").start().assert_ok();
    assert_eq!(run.all().lines_with("ro=1").len(), 2, "{run}");
}

#[test]
fn guest_commands_refuse_in_one_line_with_status_2() {
    let cases = [
        ("nosuchcommand", "error: unknown command 'nosuchcommand'"),
        ("disk", "error: disk: expected "),
        ("disk crc vda sector=99999999999", "error: vda: "),
        ("traps stress seconds=0", "error: traps: bad time "),
        ("crash sideways", "error: crash: expected one of "),
        ("sysctl vm.swapiness", "error: "),
        ("help me", "error: help: unexpected argument 'me'"),
    ];
    for (command, start) in cases {
        let script = format!("echo begin; {command}; echo survived");
        let run = Guest::on(any_host()).script(&script).start().assert_status(2);
        let errors = run.all().lines_with("error: ");
        assert_eq!(errors.len(), 1, "{run}");
        assert!(errors[0].as_str().starts_with(start), "{run}");
        // The first failing command ends the run.
        assert!(run.all().has_line("begin") && !run.all().has_line("survived"), "{run}");
        assert_eq!(run.stderr, "", "{run}");
    }
}

/// A parameter whose mechanism does not exist yet is taken with a line that says so; one that works is taken in silence.
#[test]
fn b30_a_parameter_without_effect_says_so() {
    let run = Guest::on(any_host())
        .append("psi=1 zones.dma32=64M")
        .run(&["sysctl vm.swappiness"])
        .start()
        .assert_ok();
    run.all().assert_line("mm: psi: accepted, without effect in this version");
    assert!(run.all().lines_with("zones.dma32").is_empty());
}
