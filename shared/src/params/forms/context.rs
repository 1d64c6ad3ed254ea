//! `ctx=`: a context that the guest makes at boot. Limits carry the names of the cgroup memory controller.

use crate::params::number::parse_size;
use crate::params::range::{int_in, word_of};
use crate::params::spec::{Problem, Range};

/// Longest context name in bytes (Linux `TASK_COMM_LEN` less the NUL).
const NAME_MAX: usize = 15;

/// Values of `thp=` in a context, and of `transparent_hugepage=`.
pub const THP_POLICIES: &[&str] = &["always", "madvise", "never"];

/// A checked `ctx=` value. Sizes are in bytes; `None` means not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextSpec<'a> {
    /// Name, 1 to 15 letters, digits, `-`, `_` or `.`.
    pub name: &'a str,
    /// Size of the region it starts with.
    pub mem: Option<u64>,
    /// Memory that reclaim never takes (`memory.min`).
    pub min: Option<u64>,
    /// Memory that reclaim takes last (`memory.low`).
    pub low: Option<u64>,
    /// Throttling limit (`memory.high`).
    pub high: Option<u64>,
    /// Hard limit (`memory.max`).
    pub max: Option<u64>,
    /// Nice value, -20 to 19.
    pub nice: Option<i8>,
    /// OOM score adjustment, -1000 to 1000.
    pub oom_score_adj: Option<i16>,
    /// Preferred node.
    pub node: Option<u32>,
    /// THP policy: one of [`THP_POLICIES`].
    pub thp: Option<&'static str>,
}

impl<'a> ContextSpec<'a> {
    pub(in crate::params) fn parse(text: &'a str) -> Result<Self, Problem> {
        let (name, options) = text.split_once(':').unwrap_or((text, ""));
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || !name.chars().all(named) {
            return Err(Problem::Malformed);
        }
        if name.len() > NAME_MAX {
            return Err(Problem::TooLarge);
        }
        let mut spec = Self {
            name,
            mem: None,
            min: None,
            low: None,
            high: None,
            max: None,
            nice: None,
            oom_score_adj: None,
            node: None,
            thp: None,
        };
        if name.len() < text.len() {
            options.split(',').try_for_each(|option| spec.set(option))?;
        }
        Ok(spec)
    }

    /// Takes one `key=value`.
    fn set(&mut self, option: &str) -> Result<(), Problem> {
        let (key, value) = option.split_once('=').ok_or(Problem::Malformed)?;
        let narrow = |_| Problem::TooLarge;
        match key {
            "mem" => fill(&mut self.mem, size(value)?),
            "min" => fill(&mut self.min, size(value)?),
            "low" => fill(&mut self.low, size(value)?),
            "high" => fill(&mut self.high, size(value)?),
            "max" => fill(&mut self.max, size(value)?),
            "nice" => {
                let nice = int_in(Range::new(-20, 19), value)?;
                fill(&mut self.nice, i8::try_from(nice).map_err(narrow)?)
            }
            "oom_score_adj" => {
                let adj = int_in(Range::new(-1000, 1000), value)?;
                fill(&mut self.oom_score_adj, i16::try_from(adj).map_err(narrow)?)
            }
            "node" => {
                let node = int_in(Range::new(0, i64::from(u32::MAX)), value)?;
                fill(&mut self.node, u32::try_from(node).map_err(narrow)?)
            }
            "thp" => fill(&mut self.thp, word_of(THP_POLICIES, value).ok_or(Problem::NotListed)?),
            _ => Err(Problem::NotListed),
        }
    }
}

fn size(text: &str) -> Result<u64, Problem> {
    parse_size(text).ok_or(Problem::Malformed)
}

/// Sets a field once: a key that is given twice is a mistake, not a choice.
fn fill<T>(field: &mut Option<T>, value: T) -> Result<(), Problem> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(Problem::Malformed),
    }
}
