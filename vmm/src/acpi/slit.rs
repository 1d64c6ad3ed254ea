//! SLIT: the distance between every two nodes.
//!
//! Source: ACPI specification 6.4, section 5.2.17.

use acpi_tables::slit::SLIT;

use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID};
use crate::config::Topology;

/// The table for the nodes of `topology`, whose distances are symmetric with 10 on the diagonal.
pub(super) fn table(topology: &Topology) -> SLIT {
    let nodes = topology.nodes().len();
    let mut slit = SLIT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION, nodes as u32);
    for from in 0..nodes {
        // The diagonal is preset to 10; setting it again would spoil the builder's checksum.
        for to in from + 1..nodes {
            slit.set_distance(from, to, topology.distance(from, to));
        }
    }
    slit
}
