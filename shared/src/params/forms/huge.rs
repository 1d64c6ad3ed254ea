//! `hugepages=` and `thp_anon=`. Source: Linux `mm/hugetlb.c`, `mm/huge_memory.c` and
//! `Documentation/admin-guide/mm/transhuge.rst`.

use crate::params::number::{memparse, parse_u64};
use crate::params::range::word_of;
use crate::params::spec::Problem;

/// A checked `hugepages=` value: how many pages of the size chosen by the `hugepagesz=` before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HugePages<'a> {
    /// `N`: so many pages over all nodes.
    Total(u64),
    /// `node:N,...`: so many pages on each node.
    PerNode(NodeCounts<'a>),
}

/// The `node:N` pairs of `hugepages=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeCounts<'a> {
    text: &'a str,
}

impl<'a> NodeCounts<'a> {
    /// Pairs of node number and page count, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (u32, u64)> + 'a {
        self.text.split(',').filter_map(node_count)
    }
}

impl<'a> HugePages<'a> {
    pub(in crate::params) fn parse(text: &'a str) -> Result<Self, Problem> {
        if !text.contains(':') {
            return parse_u64(text).map(Self::Total).ok_or(Problem::Malformed);
        }
        if text.split(',').all(|pair| node_count(pair).is_some()) {
            Ok(Self::PerNode(NodeCounts { text }))
        } else {
            Err(Problem::Malformed)
        }
    }
}

fn node_count(pair: &str) -> Option<(u32, u64)> {
    let (node, count) = pair.split_once(':')?;
    Some((u32::try_from(parse_u64(node)?).ok()?, parse_u64(count)?))
}

/// Smallest folio size of `thp_anon=`, in bytes: order 2.
const THP_ANON_MIN: u64 = 16 << 10;
/// Largest folio size of `thp_anon=`, in bytes: the PMD size.
const THP_ANON_MAX: u64 = 2 << 20;
/// Policies of one folio size.
const THP_ANON_POLICIES: &[&str] = &["always", "madvise", "never", "inherit"];

/// One rule of `thp_anon=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThpAnonRule {
    /// Smallest folio size in bytes, a power of two.
    pub min: u64,
    /// Largest folio size in bytes, a power of two.
    pub max: u64,
    /// `always`, `madvise`, `never` or `inherit`.
    pub policy: &'static str,
}

/// A checked `thp_anon=` value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThpAnon<'a> {
    text: &'a str,
}

impl<'a> ThpAnon<'a> {
    pub(in crate::params) fn parse(text: &'a str) -> Result<Self, Problem> {
        for part in text.split(';') {
            let (sizes, policy) = part.split_once(':').ok_or(Problem::Malformed)?;
            word_of(THP_ANON_POLICIES, policy).ok_or(Problem::NotListed)?;
            sizes.split(',').try_for_each(|range| size_range(range).map(drop))?;
        }
        Ok(Self { text })
    }

    /// The rules, in order; for one size the last one wins.
    pub fn rules(&self) -> impl Iterator<Item = ThpAnonRule> + 'a {
        let parts = self.text.split(';').filter_map(|part| part.split_once(':'));
        parts.flat_map(|(sizes, policy)| {
            sizes.split(',').filter_map(move |range| {
                let (min, max) = size_range(range).ok()?;
                Some(ThpAnonRule { min, max, policy: word_of(THP_ANON_POLICIES, policy)? })
            })
        })
    }
}

fn size_range(text: &str) -> Result<(u64, u64), Problem> {
    let (min, rest) = memparse(text).ok_or(Problem::Malformed)?;
    let max = match rest.strip_prefix('-') {
        None if rest.is_empty() => min,
        Some(tail) => match memparse(tail) {
            Some((max, "")) => max,
            _ => return Err(Problem::Malformed),
        },
        None => return Err(Problem::Malformed),
    };
    if !min.is_power_of_two() || !max.is_power_of_two() {
        Err(Problem::Misaligned)
    } else if min < THP_ANON_MIN || max < min {
        Err(Problem::TooSmall)
    } else if max > THP_ANON_MAX {
        Err(Problem::TooLarge)
    } else {
        Ok((min, max))
    }
}
