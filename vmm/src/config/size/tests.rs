//! Sizes in and out.

use super::*;

#[test]
fn sizes_are_parsed() {
    let cases = [
        ("0", Some(0)),
        ("4096", Some(4096)),
        ("1k", Some(1024)),
        ("512M", Some(512 << 20)),
        ("512MiB", Some(512 << 20)),
        ("2GB", Some(2 << 30)),
        ("3T", Some(3 << 40)),
        ("16383P", Some(16383 << 50)),
        ("16384P", None),
        ("", None),
        ("M", None),
        ("-1M", None),
        ("1.5G", None),
        ("1MM", None),
        ("1M ", None),
        ("99999999999999999999", None),
        ("1µ", None),
    ];
    for (text, expected) in cases {
        assert_eq!(parse_size(text), expected, "{text:?}");
    }
}

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
