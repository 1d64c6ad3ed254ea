//! Hosts that lack something: rights, KVM, QEMU, room, a reader. One line, the right status, nothing lost.
//!
//! Several of these need root, to take rights away or to make a small file system. Without it they say so.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use tests::{any_host, vmm};

const NOBODY: u32 = 65534;
const MIB: u64 = 1 << 20;

/// `vmm run` with `words`, not started yet.
fn run(words: &[&str]) -> Command {
    let mut command = Command::new(vmm());
    command.arg("run").args(["--timeout", "120"]).args(words).stdin(Stdio::null());
    command
}

/// The only line on standard error, without its prefix.
#[track_caller]
fn line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(text.lines().count(), 1, "{output:?}");
    text.trim_end().strip_prefix("vmm: ").unwrap_or_else(|| panic!("{text}")).to_owned()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Says that `what` is not tested, around the capture of test output.
fn not_tested(what: &str) {
    let _ = writeln!(std::io::stderr(), "\nNOT TESTED without root: {what}");
}

fn has_qemu() -> bool {
    Command::new("qemu-system-x86_64").arg("--version").output().is_ok()
}

/// A directory that anybody can use, with a copy of `vmm` in it.
fn open_directory() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
    let copy = directory.path().join("vmm");
    fs::copy(vmm(), &copy).unwrap();
    fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
    (directory, copy)
}

/// `words` of `vmm run` as a user without rights.
fn as_nobody(vmm: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(vmm);
    command.arg("run").args(["--timeout", "120"]).args(words).stdin(Stdio::null());
    command.uid(NOBODY).gid(NOBODY).output().unwrap()
}

#[test]
fn without_permission_for_kvm_auto_falls_back_and_kvm_refuses() {
    if !is_root() {
        return not_tested("a user without permission for /dev/kvm");
    }
    if fs::metadata("/dev/kvm").map_or(true, |device| device.permissions().mode() & 0o006 != 0) {
        return not_tested(
            "a user without permission for /dev/kvm, which is missing or open to everybody here",
        );
    }
    let (_directory, vmm) = open_directory();
    let refused = as_nobody(&vmm, &["--accel", "kvm"]);
    assert_eq!(refused.status.code(), Some(8), "{refused:?}");
    assert_eq!(
        line(&refused),
        "no permission for /dev/kvm; add yourself to its group (usually kvm) or use --accel tcg"
    );
    assert!(refused.stdout.is_empty(), "{refused:?}");
    if has_qemu() {
        let fallen_back = as_nobody(&vmm, &["--run", "echo alive"]);
        assert_eq!(fallen_back.status.code(), Some(0), "{fallen_back:?}");
        assert!(line(&fallen_back).starts_with("warning: no permission for /dev/kvm; "), "{fallen_back:?}");
        assert!(String::from_utf8_lossy(&fallen_back.stdout).contains("alive"), "{fallen_back:?}");
    }
}

#[test]
fn images_without_permission_are_refused_with_the_way_out() {
    if !is_root() {
        return not_tested("images of somebody else");
    }
    let (directory, vmm) = open_directory();
    let image = directory.path().join("disk.img");
    File::create(&image).unwrap().set_len(MIB).unwrap();
    let path = image.to_str().unwrap();
    for (mode, disk, expected) in [
        (0o444, path.to_owned(), "write disk image {}; change its mode, or open it read-only with `ro`"),
        (0o000, path.to_owned(), "write disk image {}; change its mode, or open it read-only with `ro`"),
        (0o000, format!("{path},ro"), "read disk image {}; change its mode"),
    ] {
        fs::set_permissions(&image, Permissions::from_mode(mode)).unwrap();
        let output = as_nobody(&vmm, &["--accel", "tcg", "--disk", &disk]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert_eq!(line(&output), format!("no permission to {}", expected.replace("{}", path)), "{mode:o}");
    }
}

/// `vmm run` in a mount namespace of its own whose /dev has no kvm.
fn without_kvm(path: &str, words: &[&str]) -> Option<Output> {
    if !is_root() {
        not_tested("a host without /dev/kvm");
        return None;
    }
    let script = "mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && mkdir /dev/shm && export PATH=\"$0\" && \
                  exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, path]).arg(vmm()).arg("run").args(["--timeout", "120"]);
    Some(command.args(words).stdin(Stdio::null()).output().unwrap())
}

#[test]
fn without_kvm_and_without_qemu_one_line_says_both() {
    let empty = TempDir::new().unwrap();
    let Some(output) = without_kvm(empty.path().to_str().unwrap(), &[]) else { return };
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    let line = line(&output);
    assert!(line.starts_with("this host has no /dev/kvm; ") && line.contains("QEMU"), "{line}");
    assert!(output.stdout.is_empty(), "{output:?}");
}

#[test]
fn without_kvm_the_guest_runs_under_qemu() {
    if !has_qemu() {
        return;
    }
    let path = std::env::var("PATH").unwrap();
    let Some(output) = without_kvm(&path, &["--run", "echo alive"]) else { return };
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(line(&output).starts_with("warning: this host has no /dev/kvm; "), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("alive"), "{output:?}");
}

#[test]
fn without_qemu_tcg_is_refused() {
    let output = run(&["--accel", "tcg"]).env("PATH", "/nonexistent").output().unwrap();
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    assert!(line(&output).starts_with("qemu-system-x86_64 is not installed; install it"), "{output:?}");
}

#[test]
fn a_closed_standard_output_changes_no_status() {
    for (script, status) in [("echo nobody reads", 0), ("crash bug", 4), ("nosuchcommand", 2)] {
        let output = shell("exec \"$@\" >&-", &["--run", script]);
        assert_eq!(output.status.code(), Some(status), "{script}: {output:?}");
    }
}

#[test]
fn output_that_finds_no_room_is_a_failure_of_the_host() {
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let host = if any_host().is_kvm() { "kvm" } else { return };
    let output = run(&["--accel", host, "--run", "cat /proc/meminfo"]).stdout(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    let text = line(&output);
    assert!(text.contains(" bytes of guest output are lost: No space left on device"), "{text}");
    // The guest's own bad end comes first.
    let output =
        run(&["--accel", host, "--run", "cat /proc/meminfo; nosuch"]).stdout(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    for words in [&["params"][..], &["probe"], &["run", "--dump-e820"], &["--help"]] {
        let output = Command::new(vmm()).args(words).stdout(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(8), "{words:?}: {output:?}");
        assert!(line(&output).starts_with("cannot write to standard output: No space left"), "{output:?}");
    }
}

#[test]
fn a_standard_error_without_room_changes_no_status() {
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let output = run(&["--mem", "1M"]).stderr(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let output = run(&["--run", "crash triple"]).stderr(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{output:?}");
}

/// Runs a shell script whose arguments are `vmm run` with `words`.
fn shell(script: &str, words: &[&str]) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(vmm()).arg("run").args(["--timeout", "120"]).args(words);
    command.stdin(Stdio::null()).output().unwrap()
}

/// What a guest says whose write the host had no room for; the monitor has nothing to add.
#[track_caller]
fn assert_told(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text.contains("error: ") && !text.contains("survived"), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

const FILL: &str = "disk fill vda seed=1 sector=0 sectors=16384; echo survived";

#[test]
fn a_file_system_without_room_is_an_error_of_the_guests_write() {
    if !is_root() {
        return not_tested("a small file system");
    }
    let small = TempDir::new().unwrap();
    let mount = "mount -t tmpfs -o size=2m none \"$TMPDIR\" && exec \"$@\"";
    let script = format!("TMPDIR={} exec unshare --mount sh -c '{mount}' sh \"$@\"", small.path().display());
    assert_told(&shell(&script, &["--run", FILL]));
}

#[test]
fn a_limit_on_file_sizes_is_an_error_of_the_guests_write() {
    let image = tempfile::NamedTempFile::new().unwrap();
    image.as_file().set_len(8 * MIB).unwrap();
    let disk = image.path().to_str().unwrap();
    // Blocks of 512 bytes: less than the disk has.
    assert_told(&shell("ulimit -f 2048; exec \"$@\"", &["--swap", "none", "--disk", disk, "--run", FILL]));
}

#[test]
fn a_directory_that_cannot_hold_temporary_disks_is_named() {
    let mut command = run(&[]);
    let output = command.env("TMPDIR", "/nonexistent").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(line(&output).contains("cannot make a temporary disk in /nonexistent"), "{output:?}");
}

#[test]
fn a_reader_that_leaves_early_changes_no_status() {
    let mut child = run(&["--run", "help; help; help; crash bug"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 1];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}
