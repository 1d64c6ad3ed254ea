//! Values against a range or a list of words.
//!
//! Owns the comparison of one number or word with what is allowed; used by the plain kinds and by the forms
//! with a syntax of their own.

use super::number::{parse_i64, parse_size};
use super::spec::{Problem, Range, SizeRange};

/// The listed word equal to `text`.
pub(super) fn word_of(words: &'static [&'static str], text: &str) -> Option<&'static str> {
    words.iter().copied().find(|w| *w == text)
}

/// An integer inside `range`.
pub(super) fn int_in(range: Range, text: &str) -> Result<i64, Problem> {
    let value = parse_i64(text).ok_or(Problem::Malformed)?;
    if range.or_zero && value == 0 {
        Ok(0)
    } else if value < range.min {
        Err(Problem::TooSmall)
    } else if value > range.max {
        Err(Problem::TooLarge)
    } else {
        Ok(value)
    }
}

/// A size inside `range`, in bytes.
pub(super) fn size_in(range: SizeRange, text: &str) -> Result<u64, Problem> {
    let size = parse_size(text).ok_or(Problem::Malformed)?;
    bounded(range, size)
}

/// `size`, if it lies inside `range`.
pub(super) fn bounded(range: SizeRange, size: u64) -> Result<u64, Problem> {
    if range.or_zero && size == 0 {
        Ok(0)
    } else if size < range.min {
        Err(Problem::TooSmall)
    } else if size > range.max {
        Err(Problem::TooLarge)
    } else if !size.is_multiple_of(range.multiple) {
        Err(Problem::Misaligned)
    } else {
        Ok(size)
    }
}
