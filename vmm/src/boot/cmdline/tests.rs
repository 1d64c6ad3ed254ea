//! Order, quoting and limits.

use super::*;
use crate::devices::virtio_slots;

#[test]
fn parts_come_in_order() {
    let user = user_part(Some(3), " swappiness=10  quiet ", "cat /proc/meminfo; tour").unwrap();
    assert_eq!(user, "ring=3 swappiness=10  quiet run=\"cat /proc/meminfo; tour\"");
    assert_eq!(
        with_devices(&user, &virtio_slots(2)),
        format!("{user} virtio_mmio.device=4K@0xd0000000:5 virtio_mmio.device=4K@0xd0001000:6")
    );
}

#[test]
fn empty_parts_leave_no_word() {
    assert_eq!(user_part(None, "", "").unwrap(), "");
    assert_eq!(with_devices("", &virtio_slots(1)), "virtio_mmio.device=4K@0xd0000000:5");
    assert_eq!(with_devices("quiet", &[]), "quiet");
}

#[test]
fn limits_are_exact() {
    assert!(user_part(None, "", &"x".repeat(MAX_RUN)).is_ok());
    assert_eq!(user_part(None, "", &"x".repeat(MAX_RUN + 1)), Err(CmdlineError::RunTooLong(1501)));
    assert!(user_part(None, &"x".repeat(2048), "").is_ok());
    assert_eq!(user_part(None, &"x".repeat(2049), ""), Err(CmdlineError::TooLong(2049)));
}

#[test]
fn bytes_that_would_break_the_line_are_refused() {
    for run in ["say \"hi\"", "a\nb", "a\0b", "a\rb"] {
        assert_eq!(user_part(None, "", run), Err(CmdlineError::RunQuotes));
    }
    for append in ["a\nb", "a\0b", "a\rb"] {
        assert_eq!(user_part(None, append, ""), Err(CmdlineError::AppendBreaks));
    }
}
