//! The unit a size is shown in.

use super::*;

#[test]
fn sizes_are_shown_in_the_largest_exact_unit() {
    let cases = [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1 << 20, "1 MiB"),
        (1536 << 20, "1536 MiB"),
        (3 << 30, "3 GiB"),
    ];
    for (bytes, text) in cases {
        assert_eq!(SizeText(bytes).to_string(), text);
    }
}
