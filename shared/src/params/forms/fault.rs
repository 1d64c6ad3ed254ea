//! `failslab=` and its like. Source: Linux `lib/fault-inject.c` (`setup_fault_attr`).

use crate::params::range::int_in;
use crate::params::spec::{Problem, Range};

/// Numbers in the list.
const FIELDS: usize = 4;

/// A checked fault-injection attribute: `interval,probability,space,times`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultAttr {
    /// At most one failure per so many calls.
    pub interval: u32,
    /// Chance of a failure in percent, 0 to 100.
    pub probability: u32,
    /// Bytes (or pages) that pass before the first failure.
    pub space: u32,
    /// Most failures; -1 means no limit.
    pub times: i32,
}

impl FaultAttr {
    pub(in crate::params) fn parse(text: &str) -> Result<Self, Problem> {
        const COUNT: Range = Range::new(0, i32::MAX as i64);
        let mut words = text.split(',');
        let mut next = |range| int_in(range, words.next().ok_or(Problem::Malformed)?);
        let interval = next(COUNT)?;
        let probability = next(Range::new(0, 100))?;
        let space = next(COUNT)?;
        let times = next(Range::new(-1, i32::MAX as i64))?;
        if text.split(',').count() != FIELDS {
            return Err(Problem::Malformed);
        }
        let narrow = |value: i64| u32::try_from(value).map_err(|_| Problem::TooLarge);
        Ok(Self {
            interval: narrow(interval)?,
            probability: narrow(probability)?,
            space: narrow(space)?,
            times: i32::try_from(times).map_err(|_| Problem::TooLarge)?,
        })
    }
}
