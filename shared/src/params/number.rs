//! Numbers and sizes as boot parameters write them.
//!
//! Owns text to number and size to text. Ranges stay with [`super::check`]. Source: Linux `lib/cmdline.c`
//! (`memparse`) and `lib/kstrtox.c`, except that a leading 0 is decimal, not octal.

use core::fmt;

/// Suffixes of [`memparse`], each 1024 times the one before.
const SUFFIXES: [u8; 6] = *b"KMGTPE";

/// Parses an unsigned number (decimal or 0x) and an optional suffix K, M, G, T, P or E in either case.
/// Returns the number of bytes and what follows. `None` without a digit, or above 64 bits.
#[must_use]
pub fn memparse(text: &str) -> Option<(u64, &str)> {
    let (value, rest) = leading_u64(text)?;
    let shift = rest
        .bytes()
        .next()
        .and_then(|c| SUFFIXES.iter().position(|s| *s == c.to_ascii_uppercase()))
        .map(|i| 10 * (i as u32 + 1));
    match shift {
        None => Some((value, rest)),
        Some(bits) => Some((value.checked_mul(1 << bits)?, rest.get(1..)?)),
    }
}

/// Parses a size that is the whole text. `None` as for [`memparse`], or when anything follows.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    match memparse(text) {
        Some((value, "")) => Some(value),
        _ => None,
    }
}

/// Parses an unsigned number, decimal or 0x, that is the whole text.
#[must_use]
pub fn parse_u64(text: &str) -> Option<u64> {
    match leading_u64(text) {
        Some((value, "")) => Some(value),
        _ => None,
    }
}

/// Parses a signed number, decimal or 0x, that is the whole text.
#[must_use]
pub fn parse_i64(text: &str) -> Option<i64> {
    match text.strip_prefix('-') {
        Some(digits) => 0i64.checked_sub_unsigned(parse_u64(digits)?),
        None => i64::try_from(parse_u64(text)?).ok(),
    }
}

/// Parses a truth value as Linux `kstrtobool` does: by the first letter, `on` and `off` by the second.
/// Unlike Linux the rest of the text must fit too, so that `yellow` is an error.
#[must_use]
pub fn parse_bool(text: &str) -> Option<bool> {
    const YES: [&str; 6] = ["1", "y", "yes", "t", "true", "on"];
    const NO: [&str; 6] = ["0", "n", "no", "f", "false", "off"];
    let is = |words: &[&str]| words.iter().any(|w| w.eq_ignore_ascii_case(text));
    if is(&YES) {
        Some(true)
    } else if is(&NO) {
        Some(false)
    } else {
        None
    }
}

/// Splits a leading unsigned number off; `None` without a digit or above 64 bits.
pub(super) fn leading_u64(text: &str) -> Option<(u64, &str)> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = match hex {
        Some(digits) if digits.starts_with(|c: char| c.is_ascii_hexdigit()) => (digits, 16),
        _ => (text, 10),
    };
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    let (number, rest) = digits.split_at_checked(end)?;
    // An empty number is refused by from_str_radix; a sign cannot occur because it is no digit.
    Some((u64::from_str_radix(number, radix).ok()?, rest))
}

/// A size in bytes, shown with the largest suffix that loses nothing (`65536` as `64K`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeText(pub u64);

impl fmt::Display for SizeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0;
        let mut suffix = None;
        for letter in SUFFIXES {
            if value == 0 || !value.is_multiple_of(1024) {
                break;
            }
            value /= 1024;
            suffix = Some(char::from(letter));
        }
        match suffix {
            Some(letter) => write!(f, "{value}{letter}"),
            None => write!(f, "{value}"),
        }
    }
}
