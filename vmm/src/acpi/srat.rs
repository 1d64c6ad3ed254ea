//! SRAT: which node each vCPU and each stretch of RAM belongs to.
//!
//! Source: ACPI specification 6.4, section 5.2.16. The rows are our own types because the table
//! builder of `acpi_tables` has no row for an x86 CPU.

use acpi_tables::sdt::Sdt;
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID};
use crate::config::Topology;
use crate::config::apic::ApicPlace;
use crate::memory::RamRange;

/// Standard header plus 12 reserved bytes, of which the first four read 1.
const HEADER_SIZE: u32 = 48;
const RESERVED_OFFSET: usize = 36;
/// Revision 3 is the first with 32-bit proximity domains in CPU rows.
const REVISION: u8 = 3;
/// The row is valid.
const ENABLED: u32 = 1;

/// "Processor Local APIC/SAPIC Affinity", type 0.
#[repr(C, packed)]
#[derive(IntoBytes, Immutable, FromBytes)]
struct CpuAffinity {
    kind: u8,
    length: u8,
    domain_low: u8,
    apic_id: u8,
    flags: U32,
    sapic_eid: u8,
    domain_high: [u8; 3],
    clock_domain: U32,
}

/// "Memory Affinity", type 1.
#[repr(C, packed)]
#[derive(IntoBytes, Immutable, FromBytes)]
struct MemoryAffinity {
    kind: u8,
    length: u8,
    domain: U32,
    reserved1: U16,
    base: U64,
    size: U64,
    reserved2: U32,
    flags: U32,
    reserved3: U64,
}

const _: () = assert!(size_of::<CpuAffinity>() == 16 && size_of::<MemoryAffinity>() == 40);

/// The table for the CPUs of `topology`, which have these `places`, and the RAM in `ram`.
pub(super) fn table(topology: &Topology, places: &[ApicPlace], ram: &[RamRange]) -> Sdt {
    let mut srat = Sdt::new(*b"SRAT", HEADER_SIZE, REVISION, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    srat.write_u32(RESERVED_OFFSET, 1);
    for (place, node) in places.iter().zip(topology.cpu_nodes()) {
        let [low, high @ ..] = node.to_le_bytes();
        srat.append(CpuAffinity {
            kind: 0,
            length: size_of::<CpuAffinity>() as u8,
            domain_low: low,
            apic_id: place.id,
            flags: ENABLED.into(),
            sapic_eid: 0,
            domain_high: high,
            clock_domain: 0.into(),
        });
    }
    for range in ram {
        srat.append(MemoryAffinity {
            kind: 1,
            length: size_of::<MemoryAffinity>() as u8,
            domain: range.node.into(),
            reserved1: 0.into(),
            base: range.base.into(),
            size: range.size.into(),
            reserved2: 0.into(),
            flags: ENABLED.into(),
            reserved3: 0.into(),
        });
    }
    srat
}
