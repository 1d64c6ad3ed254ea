//! What reaches the guest's console: long scripts, and what is typed at a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Stdio;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use tests::{Guest, any_host, for_each_host};

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_script_of_64_kib_goes_over_the_console() {
    let mut script = String::new();
    let mut lines = 0;
    while script.len() < 64 << 10 {
        script.push_str(&format!("echo line {lines}; "));
        lines += 1;
    }
    for_each_host(|host| {
        let run = Guest::on(host).script(&script).report().start().assert_ok();
        let printed: Vec<_> =
            run.all().lines_with("line ").iter().map(|line| line.as_str().to_owned()).collect();
        let expected: Vec<_> = (0..lines).map(|n| format!("line {n}")).collect();
        assert!(printed == expected, "{} lines of {lines}\n{}", printed.len(), run.stderr);
        let report = run.report();
        assert_eq!(report["commands"].as_array().unwrap().len(), 512);
        assert_eq!(report["commands_left_out"], lines - 512);
    });
}

#[test]
fn quotes_and_line_ends_go_over_the_console() {
    for_each_host(|host| {
        let run = Guest::on(host).script("echo \"a; b\"\nnosuchcommand\necho never").start();
        let run = run.assert_status(2);
        run.all().assert_line("\"a; b\"");
        assert!(!run.all().has_line("never"), "the first failing command ends the run\n{run}");
    });
}

#[test]
fn scripts_that_are_too_long_are_refused() {
    // Linux passes at most 128 KiB in one word, so the limit of 1 MiB is a unit test of `vmm`.
    let run = Guest::unbooted().script("echo a\x07").start().assert_status(2);
    assert!(run.error_line().starts_with("--run must not contain control characters"), "{run}");
}

/// A terminal: the side of whoever sits at it, and the side of the program.
fn terminal() -> (File, OwnedFd) {
    let (mut master, mut slave) = (-1, -1);
    let (none, nothing) = (std::ptr::null_mut(), std::ptr::null());
    // SAFETY: the two descriptors are written; name, mode and size are not asked for.
    let made = unsafe { libc::openpty(&raw mut master, &raw mut slave, none, nothing, nothing.cast()) };
    assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: both were just made and belong to nobody else.
    unsafe { (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) }
}

fn mode(terminal: &impl AsRawFd) -> (u32, u32, u32, u32, [u8; 32]) {
    // SAFETY: all zeros is a mode; the call only writes to it.
    let mode = unsafe {
        let mut mode: libc::termios = std::mem::zeroed();
        assert_eq!(libc::tcgetattr(terminal.as_raw_fd(), &raw mut mode), 0);
        mode
    };
    (mode.c_iflag, mode.c_oflag, mode.c_cflag, mode.c_lflag, mode.c_cc)
}

/// Passes on what can be read, as it comes.
fn stream(mut from: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut piece) {
            if send.send(piece[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    receive
}

/// Collects output until it contains `text`.
fn wait_for(text: &str, stream: &Receiver<Vec<u8>>, all: &mut Vec<u8>) {
    while !String::from_utf8_lossy(all).contains(text) {
        let piece = stream.recv_timeout(PATIENCE);
        let printed = String::from_utf8_lossy(all).into_owned();
        all.extend(piece.unwrap_or_else(|error| panic!("{error}: no {text:?} in {printed:?}")));
    }
}

#[test]
fn commands_are_typed_at_a_terminal_and_ctrl_d_ends_it() {
    for_each_host(|host| {
        let (mut keyboard, slave) = terminal();
        let before = mode(&slave);
        let mut command = Guest::on(host).script("").command();
        command.stdin(slave.try_clone().unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = stream(child.stdout.take().unwrap());
        let mut all = Vec::new();
        wait_for("> ", &output, &mut all);
        // The terminal edits the line: the rubout takes the wrong letter back.
        keyboard.write_all(b"echo helloo\x7f\n").unwrap();
        wait_for("hello\n> ", &output, &mut all);
        keyboard.write_all(b"cat /proc/version\n").unwrap();
        wait_for("Ballast version ", &output, &mut all);
        assert_eq!(mode(&slave), before, "the terminal is left as it is while the guest runs");
        keyboard.write_all(&[4]).unwrap();
        let status = child.wait().unwrap();
        output.iter().for_each(|piece| all.extend(piece));
        let text = String::from_utf8(all).unwrap();
        assert_eq!(status.code(), Some(0), "{text}");
        assert_eq!(mode(&slave), before, "and after it");
        assert!(!text.contains("helloo") && !text.contains("\x7f"), "{text:?}");
        if host.is_kvm() {
            assert!(!text.contains('\r'), "a pipe gets what the guest printed, no more: {text:?}");
        }
    });
}

#[test]
fn a_failing_command_is_no_end_of_the_prompt() {
    let (mut keyboard, slave) = terminal();
    let mut command = Guest::on(any_host()).script("").command();
    command.stdin(slave).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let output = stream(child.stdout.take().unwrap());
    let mut all = Vec::new();
    wait_for("> ", &output, &mut all);
    keyboard.write_all(b"nosuchcommand\n").unwrap();
    wait_for("unknown command", &output, &mut all);
    keyboard.write_all(b"echo still here\n").unwrap();
    wait_for("still here\n> ", &output, &mut all);
    keyboard.write_all(b"exit\n").unwrap();
    assert!(child.wait().unwrap().success());
}

/// What a burst leaves on the lists of a CPU goes back to the zones while the CPU waits, a part each
/// `vm.stat_interval`.
#[test]
fn t34d_a_cpu_without_work_shortens_its_lists() {
    let (mut keyboard, slave) = terminal();
    let mut command = Guest::on(any_host()).mem("256M").cpus(1).script("").command();
    command.stdin(slave).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let output = stream(child.stdout.take().unwrap());
    let mut all = Vec::new();
    wait_for("> ", &output, &mut all);
    let mut kept = vec![];
    for (n, line) in ["alloc until-fail gfp=GFP_KERNEL; pcp", "pcp", "pcp", "pcp"].into_iter().enumerate() {
        if n > 0 {
            // Longer than the interval, one second.
            thread::sleep(Duration::from_millis(1100));
        }
        let from = all.len();
        keyboard.write_all(format!("{line}; echo end {n}\n").as_bytes()).unwrap();
        wait_for(&format!("\nend {n}\n"), &output, &mut all);
        let text = String::from_utf8_lossy(&all[from..]).into_owned();
        let counts = text.split_whitespace().filter_map(|word| word.strip_prefix("count="));
        kept.push(counts.map(|count| count.parse::<u64>().unwrap()).sum::<u64>());
    }
    keyboard.write_all(b"exit\n").unwrap();
    assert!(child.wait().unwrap().success());
    assert!(kept.windows(2).all(|pair| pair[1] < pair[0]), "{kept:?}");
}
