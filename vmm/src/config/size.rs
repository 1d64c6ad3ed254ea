//! Sizes as people read them. What they write is parsed by `shared::params::parse_size`.

use std::fmt;

/// Binary suffixes, each 1024 times the one before.
const SUFFIXES: [char; 5] = ['K', 'M', 'G', 'T', 'P'];

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
