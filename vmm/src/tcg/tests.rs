//! What the ways QEMU can end mean.

use super::*;

/// A process that left with `code`.
fn left(code: i32) -> ExitStatus {
    ExitStatus::from_raw(code << 8)
}

#[test]
fn guest_statuses_come_through() {
    for code in 0..=8 {
        assert_eq!(interpret(left(code << 1 | 1), "", ""), End::Guest(code as u32));
    }
    let warning = "qemu-system-x86_64: warning: host does not support x\n";
    assert_eq!(interpret(left(1), "", warning), End::Guest(0));
    assert_eq!(interpret(left(0), "CPU Reset (CPU 0)\nRAX=0", ""), End::Reset);
}

#[test]
fn a_triple_fault_is_a_crash() {
    let log = "CPU Reset (CPU 0)\nRAX=0\nTriple fault\n";
    assert!(matches!(interpret(left(0), log, ""), End::Crash(text) if text.starts_with("triple fault")));
}

#[test]
fn failures_of_qemu_are_not_the_guests() {
    let line = "qemu-system-x86_64: unable to find CPU model 'x'";
    assert_eq!(interpret(left(1), "", &format!("{line}\nmore\n")), End::Failure(line.into()));
    assert!(matches!(interpret(left(2), "", ""), End::Failure(_)));
    assert!(
        matches!(interpret(ExitStatus::from_raw(9), "", ""), End::Failure(text) if text.contains("signal 9"))
    );
}
