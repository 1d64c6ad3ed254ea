//! Sizes as people write and read them.

use std::fmt;

/// Binary suffixes, each 1024 times the one before.
const SUFFIXES: [char; 5] = ['K', 'M', 'G', 'T', 'P'];

/// Parses `512M`, `1G`, `4096`, `2MiB`: a decimal number and an optional binary suffix, in bytes.
/// Gives `None` for anything else, and for more bytes than 64 bits count.
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let mut letters = suffix.chars();
    let Some(letter) = letters.next() else { return Some(number) };
    if !matches!(letters.as_str(), "" | "B" | "iB") {
        return None;
    }
    let power = SUFFIXES.iter().position(|s| *s == letter.to_ascii_uppercase())? + 1;
    number.checked_mul(1024_u64.checked_pow(power as u32)?)
}

/// Shows a number of bytes in the largest unit that divides it: `512 MiB`.
pub struct SizeText(pub u64);

impl fmt::Display for SizeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(mut value) = *self;
        let mut unit = None;
        for suffix in SUFFIXES {
            if value == 0 || value % 1024 != 0 {
                break;
            }
            value /= 1024;
            unit = Some(suffix);
        }
        match unit {
            Some(letter) => write!(f, "{value} {letter}iB"),
            None => write!(f, "{value} bytes"),
        }
    }
}

#[cfg(test)]
mod tests;
