//! The value of `--numa`: `node=0,cpus=0-1,mem=256M[,distance=1:20]`.
//!
//! Owns: the syntax. Stays outside: whether the nodes make a machine (`topology`).

use shared::params::parse_size;

use super::topology::MAX_CPUS;

/// One NUMA node as the command line describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// The node's number.
    pub id: u32,
    /// Its vCPUs; none for a node of memory only.
    pub cpus: Vec<u32>,
    /// Its RAM in bytes; 0 for a node of vCPUs only.
    pub memory: u64,
    /// Distances to other nodes: node number, distance. The node's own number stands for all others.
    pub distances: Vec<(u32, u8)>,
}

/// What is wrong with a value of `--numa`; each text is a complete line.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NumaError {
    /// A word without `=`, or with an unknown name.
    #[error("--numa: unknown option {0:?}; known are node=, cpus=, mem= and distance=")]
    UnknownOption(String),
    /// A value that cannot be read.
    #[error("--numa: bad value {value:?} for {name}=; write {example}")]
    BadValue {
        /// The option.
        name: &'static str,
        /// Its value.
        value: String,
        /// A value that can be read.
        example: &'static str,
    },
    /// No `node=`.
    #[error("--numa {0:?} does not say which node; start with node=NUMBER")]
    NoNode(String),
    /// No `mem=`.
    #[error("--numa: node {0} does not say how much memory it has; add mem=SIZE (mem=0 for none)")]
    NoMemory(u32),
}

/// Parses one `--numa` value. `cpus=` and `distance=` may be repeated.
pub fn parse_node(text: &str) -> Result<NodeSpec, NumaError> {
    let (mut id, mut memory, mut cpus, mut distances) = (None, None, Vec::new(), Vec::new());
    for option in text.split(',') {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let bad = |name, example| NumaError::BadValue { name, value: value.to_owned(), example };
        match name {
            "node" => id = Some(value.parse().map_err(|_| bad("node", "node=0"))?),
            "mem" => memory = Some(parse_size(value).ok_or_else(|| bad("mem", "mem=256M"))?),
            "cpus" => cpus.extend(parse_cpus(value).ok_or_else(|| bad("cpus", "cpus=0-1 or cpus=3"))?),
            "distance" => {
                distances.push(parse_distance(value).ok_or_else(|| bad("distance", "distance=1:20"))?);
            }
            _ => return Err(NumaError::UnknownOption(option.to_owned())),
        }
    }
    let id = id.ok_or_else(|| NumaError::NoNode(text.to_owned()))?;
    let memory = memory.ok_or(NumaError::NoMemory(id))?;
    Ok(NodeSpec { id, cpus, memory, distances })
}

/// `0-3` or `5`. Bounded, so that a slip of the finger cannot ask for four billion numbers.
fn parse_cpus(text: &str) -> Option<std::ops::RangeInclusive<u32>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last - first < MAX_CPUS).then_some(first..=last)
}

/// `1:20`: node 1 is 20 away.
fn parse_distance(text: &str) -> Option<(u32, u8)> {
    let (node, distance) = text.split_once(':')?;
    Some((node.parse().ok()?, distance.parse().ok()?))
}

#[cfg(test)]
mod tests;
