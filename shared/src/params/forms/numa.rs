//! `numa=`. Source: Linux `mm/numa_emulation.c` and `arch/x86/mm/numa.c`.

use crate::params::number::{memparse, parse_u64};
use crate::params::spec::Problem;

/// Most emulated nodes, as in Linux (`MAX_NUMNODES` with the usual `NODES_SHIFT` of 6).
const FAKE_NODES_MAX: u64 = 64;

/// A checked `numa=` value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumaOption {
    /// `on`: the nodes that ACPI names.
    On,
    /// `off`: one node.
    Off,
    /// `noacpi`: do not read SRAT and SLIT.
    NoAcpi,
    /// `fake=N`: so many nodes of equal size.
    FakeNodes(u32),
    /// `fake=size[MG]`: nodes of this many bytes.
    FakeSize(u64),
    /// `fake=NU`: split every real node into so many.
    FakePerNode(u32),
}

impl NumaOption {
    pub(in crate::params) fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "on" => return Ok(Self::On),
            "off" => return Ok(Self::Off),
            "noacpi" => return Ok(Self::NoAcpi),
            _ => {}
        }
        let fake = text.strip_prefix("fake=").ok_or(Problem::NotListed)?;
        if let Some(count) = fake.strip_suffix(['U', 'u']) {
            return node_number(count).map(Self::FakePerNode);
        }
        if fake.ends_with(['M', 'm', 'G', 'g']) {
            return match memparse(fake) {
                Some((size, "")) if size > 0 => Ok(Self::FakeSize(size)),
                _ => Err(Problem::Malformed),
            };
        }
        node_number(fake).map(Self::FakeNodes)
    }
}

fn node_number(text: &str) -> Result<u32, Problem> {
    match parse_u64(text).ok_or(Problem::Malformed)? {
        0 => Err(Problem::TooSmall),
        count if count > FAKE_NODES_MAX => Err(Problem::TooLarge),
        count => u32::try_from(count).map_err(|_| Problem::TooLarge),
    }
}
