//! Boots a tiny kernel through the `vmm` binary, on every accelerator this host has.

use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{accelerators, boot, error_line, kernel, vmm};

#[test]
fn the_status_of_the_guest_is_the_status_of_the_process() {
    for accel in accelerators() {
        for code in 0..=8 {
            let (output, _) = boot(accel, &code.to_string(), &[]);
            assert_eq!(output.status.code(), Some(code), "{accel}: {output:?}");
            assert!(output.stderr.is_empty(), "{accel}: {output:?}");
        }
    }
}

#[test]
fn the_guest_gets_its_command_line_in_order() {
    for accel in accelerators() {
        let devices = match accel {
            "kvm" => "virtio_mmio.device=4K@0xd0000000:5 virtio_mmio.device=4K@0xd0001000:6",
            _ => "virtio_mmio.device=512@0xfeb00000:16 virtio_mmio.device=512@0xfeb00200:17",
        };
        let line = |ballast, options: &[&str]| {
            let kernel = kernel(ballast);
            let mut command = vmm(&["--accel", accel, "--kernel", kernel.path().to_str().unwrap()]);
            command
                .args(["--append", "0 first second", "--params", "lenient", "--swap", "none", "--mem", "16M"])
                .args(options);
            String::from_utf8_lossy(&command.output().unwrap().stdout).replace('\r', "")
        };
        assert_eq!(line(true, &["--run", "a; b"]), format!("0 first second run=\"a; b\" {devices}\n"));
        assert_eq!(line(true, &[]), format!("0 first second run=\"tour\" {devices}\n"));
        assert_eq!(line(false, &[]), format!("0 first second {devices}\n"), "our commands are not for it");
    }
}

#[test]
fn commands_for_another_kernel_are_refused() {
    let foreign = kernel(false);
    let output = vmm(&["--kernel", foreign.path().to_str().unwrap(), "--run", "tour"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        error_line(&output).contains("is not our kernel and takes no commands; use --append"),
        "{output:?}"
    );
}

#[test]
fn a_triple_fault_is_reported_in_one_line() {
    for accel in accelerators() {
        let (output, _) = boot(accel, "c", &[]);
        assert_eq!(output.status.code(), Some(6), "{accel}: {output:?}");
        let line = error_line(&output);
        assert!(line.starts_with("the guest crashed: ") && line.contains("triple fault"), "{accel}: {line}");
        if accel == "kvm" {
            assert!(line.contains("rip=0x1000") && line.contains("cr0=0x"), "{line}");
        }
    }
}

#[test]
fn a_reset_is_an_orderly_end_and_an_unknown_status_is_not() {
    for accel in accelerators() {
        let (output, _) = boot(accel, "r", &[]);
        assert_eq!(output.status.code(), Some(0), "{accel}: {output:?}");
    }
    if accelerators().contains(&"kvm") {
        let (output, _) = boot("kvm", "u", &[]);
        assert_eq!(output.status.code(), Some(6), "{output:?}");
        assert_eq!(error_line(&output), "the guest ended with the unknown status 256");
    }
}

#[test]
fn the_time_limit_ends_spinning_and_halted_guests() {
    for accel in accelerators() {
        for what in ["s", "h"] {
            let start = Instant::now();
            let (output, _) = boot(accel, what, &["--timeout", "0.4"]);
            assert_eq!(output.status.code(), Some(7), "{accel} {what}: {output:?}");
            assert_eq!(error_line(&output), "time limit reached; raise or drop --timeout");
            assert!((0.4..20.0).contains(&start.elapsed().as_secs_f64()), "{accel} {what}");
        }
    }
}

#[test]
fn a_signal_ends_the_machine_at_once() {
    for accel in accelerators() {
        for signal in [libc::SIGINT, libc::SIGTERM] {
            let kernel = kernel(false);
            let path = kernel.path().to_str().unwrap();
            let mut command = vmm(&["--accel", accel, "--kernel", path, "--cpus", "1", "--append", "s"]);
            let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let start = Instant::now();
            // SAFETY: sends a signal to our own child, which has not been waited for.
            unsafe { libc::kill(child.id() as i32, signal) };
            assert_eq!(child.wait().unwrap().code(), Some(130), "{accel}");
            // The status is the proof; without the signal it would run for ever.
            assert!(start.elapsed() < Duration::from_secs(20), "{accel}");
        }
    }
}

#[test]
fn a_reader_that_goes_away_does_not_change_the_status() {
    for accel in accelerators() {
        let kernel = kernel(false);
        let path = kernel.path().to_str().unwrap();
        let mut command = vmm(&["--accel", accel, "--kernel", path, "--cpus", "1", "--append", "5"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(5), "{accel}");
    }
}

#[test]
fn a_stuck_reader_does_not_stop_the_time_limit() {
    for accel in accelerators() {
        let kernel = kernel(false);
        let path = kernel.path().to_str().unwrap();
        let words = ["--accel", accel, "--kernel", path, "--cpus", "1", "--append", "p", "--timeout", "2"];
        let mut command = vmm(&words);
        let start = Instant::now();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let pipe = child.stdout.take().unwrap();
        // SAFETY: changes the size of a pipe that we own. A small one is full at once.
        assert!(unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) } > 0);
        assert_eq!(child.wait().unwrap().code(), Some(7), "{accel}");
        assert!(start.elapsed() < Duration::from_secs(10), "{accel}");
    }
}

#[test]
fn what_cannot_boot_is_refused_in_one_line() {
    let kernel = kernel(false);
    let path = kernel.path().to_str().unwrap();
    let cases: [(&[&str], i32, &str); 4] = [
        (&["--kernel", "/nonexistent"], 2, "cannot read kernel /nonexistent: "),
        (
            &["--kernel", "/etc/passwd"],
            2,
            "/etc/passwd is neither an ELF file nor a bzImage; give an ELF kernel with a PVH note",
        ),
        (&["--kernel", "/proc/self/exe"], 2, "/proc/self/exe has no PVH note; "),
        (&["--kernel", path, "--disk", "/nonexistent"], 2, "disk image /nonexistent does not exist"),
    ];
    for (words, status, start) in cases {
        let output = vmm(words).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{words:?}: {output:?}");
        let line = error_line(&output);
        assert!(line.starts_with(start), "{line}");
    }
}

#[test]
fn bad_parameters_of_our_own_guest_are_refused_before_boot() {
    let ballast = kernel(true);
    let path = ballast.path().to_str().unwrap();
    let strict = vmm(&["--kernel", path, "--append", "0 nosuchparameter=1"]).output().unwrap();
    assert_eq!(strict.status.code(), Some(2), "{strict:?}");
    assert!(strict.stdout.is_empty());
    let foreign = kernel(false);
    for words in [
        ["--kernel", path, "--append", "0 nosuchparameter=1", "--params", "lenient"],
        [
            "--kernel",
            foreign.path().to_str().unwrap(),
            "--append",
            "0 nosuchparameter=1",
            "--params",
            "strict",
        ],
    ] {
        if !accelerators().is_empty() {
            assert_eq!(vmm(&words).output().unwrap().status.code(), Some(0), "{words:?}");
        }
    }
}

#[test]
fn a_missing_qemu_is_said_with_what_to_install() {
    let kernel = kernel(false);
    let mut command = vmm(&["--accel", "tcg", "--kernel", kernel.path().to_str().unwrap()]);
    let output = command.env("PATH", "/nonexistent").output().unwrap();
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    assert!(error_line(&output).contains("apt install qemu-system-x86"), "{output:?}");
}

#[test]
fn the_memory_map_is_printed_without_booting() {
    let output = vmm(&["--dump-e820", "--mem", "16M"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable\n\
         BIOS-e820: [mem 0x000000000009fc00-0x00000000000fffff] reserved\n\
         BIOS-e820: [mem 0x0000000000100000-0x0000000000ffffff] usable\n"
    );
}
