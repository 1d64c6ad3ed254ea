//! Order, quoting and limits.

use super::*;
use crate::devices::virtio_slots;

#[test]
fn parts_come_in_order() {
    let user = user_part(Some(3), " swappiness=10  quiet ", None, None, "cat /proc/meminfo; tour").unwrap();
    assert_eq!(user, "ring=3 swappiness=10  quiet run=\"cat /proc/meminfo; tour\"");
    assert_eq!(
        with_devices(&user, &virtio_slots(2)),
        format!("{user} virtio_mmio.device=4K@0xd0000000:5 virtio_mmio.device=4K@0xd0001000:6")
    );
}

#[test]
fn empty_parts_leave_no_word() {
    assert_eq!(user_part(None, "", None, None, "").unwrap(), "");
    assert_eq!(with_devices("", &virtio_slots(1)), "virtio_mmio.device=4K@0xd0000000:5");
    assert_eq!(with_devices("quiet", &[]), "quiet");
}

#[test]
fn limits_are_exact() {
    let script = |size| user_part(None, "", None, None, &"x".repeat(size));
    assert!(script(MAX_RUN).unwrap().starts_with("run=\"xxx"));
    assert_eq!(script(MAX_RUN + 1).unwrap(), "run_bytes=1501");
    assert_eq!(script(MAX_SCRIPT).unwrap(), "run_bytes=1048576");
    assert_eq!(script(MAX_SCRIPT + 1), Err(CmdlineError::RunTooLong(MAX_SCRIPT + 1)));
    assert!(user_part(None, &"x".repeat(2048), None, None, "").is_ok());
    assert_eq!(user_part(None, &"x".repeat(2049), None, None, ""), Err(CmdlineError::TooLong(2049)));
}

#[test]
fn scripts_that_cannot_be_quoted_go_over_the_console() {
    let line =
        user_part(None, "quiet", Some(Duration::from_millis(100)), None, "echo \"a; b\"\necho c").unwrap();
    assert_eq!(line, "stats.interval_ms=100 quiet run_bytes=18");
    assert!(fits("echo a; echo b") && !fits("a\nb") && !fits("\"") && !fits("a\tb"));
}

#[test]
fn bytes_that_would_break_the_line_are_refused() {
    for run in ["a\0b", "a\rb", "\u{1}x", "\u{4}"] {
        assert_eq!(user_part(None, "", None, None, run), Err(CmdlineError::RunControl));
    }
    for append in ["a\nb", "a\0b", "a\rb"] {
        assert_eq!(user_part(None, append, None, None, ""), Err(CmdlineError::AppendBreaks));
    }
}
