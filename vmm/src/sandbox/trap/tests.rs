//! The line about a forbidden call.

use super::*;

fn text(line: &Line) -> &str {
    str::from_utf8(&line.bytes[..line.used]).unwrap()
}

#[test]
fn the_report_is_one_whole_line_that_names_thread_and_call() {
    let line = report("vCPU", libc::SYS_socket as libc::c_int);
    assert!(text(&line).starts_with("vmm: the vCPU thread made the forbidden system call socket; "));
    assert!(text(&line).ends_with("--no-seccomp if you trust the guest\n"));
    assert_eq!(text(&line).lines().count(), 1);
}

#[test]
fn a_call_without_a_name_is_a_number() {
    let line = report("main", 1_999_999_999);
    assert!(text(&line).contains("forbidden system call number 1999999999; "), "{}", text(&line));
    assert!(text(&report("console", 0)).contains(" call read;"));
}

#[test]
fn a_line_too_long_is_cut_not_written_past_its_end() {
    let mut line = Line { bytes: [0; LINE], used: 0 };
    for _ in 0..100 {
        line.push("0123456789");
    }
    assert_eq!(line.used, LINE);
}

#[test]
fn the_layout_of_the_signal_is_that_of_the_kernel() {
    assert_eq!(mem::offset_of!(SysInfo, code), 8);
    assert_eq!(mem::offset_of!(SysInfo, call_address), 16);
    assert_eq!(mem::offset_of!(SysInfo, call), 24);
    assert!(size_of::<SysInfo>() <= size_of::<libc::siginfo_t>());
}
