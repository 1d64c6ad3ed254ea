//! Short lists of integers, such as `sysctl.vm.lowmem_reserve_ratio=`.

use crate::params::range::int_in;
use crate::params::spec::{Problem, Range};

/// Most numbers in a list: one per zone type.
pub const INT_LIST_MAX: usize = 5;

/// Up to [`INT_LIST_MAX`] integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntList {
    values: [i64; INT_LIST_MAX],
    len: usize,
}

impl IntList {
    /// Parses 1 to `most` numbers between blanks or commas.
    pub(in crate::params) fn parse(text: &str, most: usize, range: Range) -> Result<Self, Problem> {
        let mut list = Self { values: [0; INT_LIST_MAX], len: 0 };
        let words = text.split(|c: char| c == ',' || c.is_ascii_whitespace()).filter(|w| !w.is_empty());
        for word in words {
            let value = int_in(range, word)?;
            let slot = list.values.iter_mut().take(most).nth(list.len).ok_or(Problem::TooLarge)?;
            *slot = value;
            list.len += 1;
        }
        if list.len == 0 { Err(Problem::Malformed) } else { Ok(list) }
    }

    /// The numbers, in order.
    #[must_use]
    pub fn values(&self) -> &[i64] {
        self.values.get(..self.len).unwrap_or(&self.values)
    }
}
