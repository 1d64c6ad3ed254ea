//! Every thread of a running monitor is confined, and one that makes a forbidden call ends the process with a line
//! that names both. The calls are made by the real threads: a debugger's interface (ptrace) puts them into their
//! registers, as an attacker who has taken over a thread would. Nothing in `vmm` itself helps with it.

use std::fs;
use std::io::Read;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::{accelerators, kernel, vmm};
use tempfile::NamedTempFile;

const PATIENCE: Duration = Duration::from_secs(60);
const SIGSYS_STATUS: i32 = 159;

/// A thread: its id and its name.
type Thread = (i32, String);

/// A monitor whose guest has printed its line and halted, with all threads in their filters.
fn running(accel: &str, words: &[&str]) -> (Child, NamedTempFile) {
    let kernel = kernel(false);
    let path = kernel.path().to_str().unwrap();
    let machine = ["--accel", accel, "--kernel", path, "--mem", "64M", "--cpus", "2", "--append", "h"];
    let mut command = vmm(&[&machine, words].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut byte = [0];
    child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
    (child, kernel)
}

/// The threads of the monitor itself. Those of the kernel that KVM adds run none of its code.
fn threads(child: &Child) -> Vec<Thread> {
    let tasks = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    let ids = tasks.map(|task| task.unwrap().file_name().to_str().unwrap().parse().unwrap());
    let name = |id: i32| fs::read_to_string(format!("/proc/{id}/comm")).unwrap().trim_end().to_owned();
    ids.map(|id| (id, name(id))).filter(|(_, name)| !name.starts_with("kvm-")).collect()
}

/// A line of `/proc/ID/status`.
fn status(id: i32, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.trim_start_matches(':').trim().to_owned()
}

/// Waits until every thread has a filter; fails when one stays without.
fn confined(child: &Child) -> Vec<Thread> {
    let start = Instant::now();
    loop {
        let all = threads(child);
        let free: Vec<_> = all.iter().filter(|(id, _)| status(*id, "Seccomp") != "2").collect();
        if free.is_empty() {
            return all;
        }
        assert!(start.elapsed() < PATIENCE, "threads without a filter: {free:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn trace(request: libc::c_uint, thread: i32, data: *mut libc::user_regs_struct) {
    // SAFETY: `data` is null or points to a whole set of registers, which is what these requests take; the traced
    // thread is one of another process.
    let result = unsafe { libc::ptrace(request, thread, 0, data) };
    assert_ne!(result, -1, "request {request}: {}", std::io::Error::last_os_error());
}

/// Stops a thread in the system call that it waits in, and returns its registers. One that is found at work is let go
/// and stopped again: it has no call to come back to.
fn stop_in_call(thread: i32) -> libc::user_regs_struct {
    let start = Instant::now();
    loop {
        trace(libc::PTRACE_SEIZE, thread, std::ptr::null_mut());
        trace(libc::PTRACE_INTERRUPT, thread, std::ptr::null_mut());
        let mut stopped = 0;
        // SAFETY: `stopped` takes the status; the thread is traced by this one.
        assert_eq!(unsafe { libc::waitpid(thread, &raw mut stopped, libc::__WALL) }, thread);
        assert!(libc::WIFSTOPPED(stopped), "{stopped:#x}");
        // SAFETY: registers are plain data.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        trace(libc::PTRACE_GETREGS, thread, &raw mut registers);
        if registers.orig_rax != u64::MAX {
            return registers;
        }
        trace(libc::PTRACE_DETACH, thread, std::ptr::null_mut());
        assert!(start.elapsed() < PATIENCE, "thread {thread} never waits");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Has a thread that waits in a system call make another one: `call` with the first argument `argument`.
fn force(thread: i32, call: i64, argument: u64) {
    let mut registers = stop_in_call(thread);
    // Two bytes back is the instruction that the thread came in by; -1 says that no call is to be restarted.
    registers.rip -= 2;
    registers.rax = call.cast_unsigned();
    registers.orig_rax = u64::MAX;
    registers.rdi = argument;
    registers.rsi = 0;
    registers.rdx = 0;
    trace(libc::PTRACE_SETREGS, thread, &raw mut registers);
    trace(libc::PTRACE_DETACH, thread, std::ptr::null_mut());
}

/// Waits for the end and returns the exit status and what was printed to standard error.
fn ended(mut child: Child) -> (Option<i32>, String) {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    (child.wait().unwrap().code(), text)
}

/// The threads by name that a monitor on `accel` has.
fn names(accel: &str) -> &'static [&'static str] {
    match accel {
        "kvm" => &["console", "disk-data", "disk-swap", "vcpu0", "vcpu1", "vmm"],
        _ => &["vmm"],
    }
}

#[test]
fn every_thread_has_a_filter_and_cannot_gain_privileges() {
    for accel in accelerators() {
        let (mut child, _kernel) = running(accel, &[]);
        let threads = confined(&child);
        let mut found: Vec<_> = threads.iter().map(|(_, name)| name.as_str()).collect();
        found.sort_unstable();
        assert_eq!(found, names(accel), "{accel}");
        for (id, name) in &threads {
            assert_eq!(status(*id, "NoNewPrivs"), "1", "{accel}: {name}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_forbidden_call_of_any_thread_ends_the_process_with_a_line() {
    let calls = [(libc::SYS_socket, "socket"), (libc::SYS_openat, "openat"), (libc::SYS_getppid, "getppid")];
    for accel in accelerators() {
        for (wanted, (call, name)) in names(accel).iter().zip(calls.into_iter().cycle()) {
            let (child, _kernel) = running(accel, &[]);
            let threads = confined(&child);
            let (id, _) = threads.iter().find(|(_, name)| name == wanted).unwrap();
            force(*id, call, 2);
            let (code, text) = ended(child);
            assert_eq!(code, Some(SIGSYS_STATUS), "{accel}, {wanted}: {text}");
            let kind = match *wanted {
                "vmm" => "main",
                "vcpu0" | "vcpu1" => "vCPU",
                "disk-data" | "disk-swap" => "disk",
                other => other,
            };
            let line = format!("vmm: the {kind} thread made the forbidden system call {name}; ");
            assert!(text.starts_with(&line) && text.lines().count() == 1, "{accel}, {wanted}: {text}");
        }
    }
}

#[test]
fn helpers_of_a_disk_are_confined_too() {
    if !accelerators().contains(&"kvm") {
        return;
    }
    let (child, _kernel) = running("kvm", &["--disk", "io=threads"]);
    let (id, _) = confined(&child).into_iter().find(|(_, name)| name == "diskio").unwrap();
    force(id, libc::SYS_openat, 2);
    let (code, text) = ended(child);
    assert_eq!(code, Some(SIGSYS_STATUS), "{text}");
    assert!(
        text.starts_with("vmm: the disk helper thread made the forbidden system call openat; "),
        "{text}"
    );
}

#[test]
fn arguments_count_too() {
    for accel in accelerators() {
        let (child, _kernel) = running(accel, &[]);
        let (id, _) = confined(&child)[0].clone();
        // A signal to a process other than itself.
        force(id, libc::SYS_tgkill, 1);
        let (code, text) = ended(child);
        assert_eq!(code, Some(SIGSYS_STATUS), "{accel}: {text}");
        assert!(text.contains("forbidden system call tgkill; "), "{accel}: {text}");
    }
}

/// Waits until a main thread has started all there is to start and waits in its event loop.
fn wait_for_loop(main: i32) {
    let start = Instant::now();
    let in_loop = || {
        let call = fs::read_to_string(format!("/proc/{main}/syscall")).unwrap();
        let number = call.split_whitespace().next().and_then(|number| number.parse().ok());
        number.is_some_and(|number: i64| [libc::SYS_epoll_wait, libc::SYS_epoll_pwait].contains(&number))
    };
    while !in_loop() {
        assert!(start.elapsed() < PATIENCE, "the main thread never comes to its loop");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Shows that it is the filter that ends the process in the tests above, and that the switch works.
#[test]
fn without_seccomp_the_same_call_does_nothing() {
    for accel in accelerators() {
        let (mut child, _kernel) = running(accel, &["--no-seccomp"]);
        for (id, name) in threads(&child) {
            assert_eq!(status(id, "Seccomp"), "0", "{accel}: {name}");
        }
        let main = child.id().cast_signed();
        wait_for_loop(main);
        // Forbidden, and without a filter the loop takes its result, 0, for "no event".
        force(main, libc::SYS_munlockall, 0);
        std::thread::sleep(Duration::from_millis(200));
        assert!(child.try_wait().unwrap().is_none(), "{accel}");
        // SAFETY: sends a signal to a child that has not been waited for.
        unsafe { libc::kill(main, libc::SIGTERM) };
        assert_eq!(ended(child).0, Some(130), "{accel}");
    }
}
