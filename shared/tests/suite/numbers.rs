//! Numbers and sizes.

use proptest::prelude::*;
use shared::params::{SizeText, memparse, parse_bool, parse_i64, parse_size, parse_u64};

#[test]
fn memparse_takes_a_number_and_a_suffix() {
    assert_eq!(memparse("64K@1M"), Some((65536, "@1M")));
    assert_eq!(memparse("2g"), Some((2 << 30, "")));
    assert_eq!(memparse("0x10M rest"), Some((16 << 20, " rest")));
    assert_eq!(memparse("0x1e"), Some((30, "")), "E is a digit in a hexadecimal number");
    assert_eq!(memparse("1E"), Some((1 << 60, "")));
    assert_eq!(memparse("010"), Some((10, "")), "a leading 0 is decimal");
    assert_eq!(memparse("0xg"), Some((0, "xg")));
    assert_eq!(memparse("10KK"), Some((10240, "K")));
    assert_eq!(memparse("16E"), None, "above 64 bits");
    assert_eq!(memparse("18446744073709551616"), None);
    for text in ["", "K", "-1", " 1", "+1"] {
        assert_eq!(memparse(text), None, "{text:?}");
    }
}

#[test]
fn whole_numbers_leave_nothing_over() {
    assert_eq!(parse_size("1M "), None);
    assert_eq!(parse_u64("0xFFFFFFFFFFFFFFFF"), Some(u64::MAX));
    assert_eq!(parse_u64("1K"), None);
    assert_eq!(parse_i64("-9223372036854775808"), Some(i64::MIN));
    assert_eq!(parse_i64("9223372036854775808"), None);
    assert_eq!(parse_i64("--1"), None);
    assert_eq!(parse_i64("-0x10"), Some(-16));
}

#[test]
fn truth_values_are_words() {
    for text in ["1", "y", "Y", "yes", "on", "ON", "t", "true"] {
        assert_eq!(parse_bool(text), Some(true), "{text}");
    }
    for text in ["0", "n", "N", "no", "off", "f", "False"] {
        assert_eq!(parse_bool(text), Some(false), "{text}");
    }
    for text in ["", "2", "yellow", "o", "10"] {
        assert_eq!(parse_bool(text), None, "{text:?}");
    }
}

proptest! {
    #[test]
    fn size_text_reads_back(size in any::<u64>(), shift in 0u32..64) {
        for bytes in [size, (size >> shift) << shift] {
            prop_assert_eq!(parse_size(&SizeText(bytes).to_string()), Some(bytes));
        }
    }

    #[test]
    fn memparse_agrees_with_plain_arithmetic(value in any::<u64>(), suffix in 0usize..7, hex in any::<bool>()) {
        let letter = ["", "K", "m", "G", "t", "P", "e"][suffix];
        // A hexadecimal number swallows an E.
        prop_assume!(!(hex && letter == "e"));
        let text = if hex { format!("{value:#x}{letter}") } else { format!("{value}{letter}") };
        let expected = value.checked_mul(1 << (10 * suffix));
        prop_assert_eq!(memparse(&text), expected.map(|bytes| (bytes, "")));
    }

    #[test]
    fn signed_numbers_read_back(value in any::<i64>()) {
        prop_assert_eq!(parse_i64(&value.to_string()), Some(value));
    }
}
