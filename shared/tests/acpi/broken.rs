//! Broken tables: each breakage is named, and only what depends on it is lost.

use super::*;
use shared::acpi::Signature;

fn broken(signature: &[u8; 4], breakage: impl Fn(&mut [u8])) -> Result<Platform, AcpiError> {
    let mut bytes = two_nodes(RootVersion::Xsdt).bytes();
    let start = find(&bytes, signature);
    breakage(&mut bytes[start..]);
    Memory::new(bytes).parse()
}

fn broken_and_sealed(signature: &[u8; 4], breakage: impl Fn(&mut [u8])) -> Result<Platform, AcpiError> {
    broken(signature, |table| {
        breakage(table);
        reseal(table, 0);
    })
}

#[test]
fn the_root() {
    let root = |breakage: fn(&mut [u8])| {
        let mut bytes = two_nodes(RootVersion::Xsdt).bytes();
        breakage(&mut bytes);
        Memory::new(bytes).parse().err()
    };
    let table = Signature::RSDP;
    assert_eq!(root(|bytes| bytes[0] = b'r'), Some(AcpiError::Signature { table, address: BASE }));
    assert_eq!(root(|bytes| bytes[9] ^= 1), Some(AcpiError::Checksum { table, address: BASE }));
    // Byte 33 is covered by the second checksum only.
    assert_eq!(root(|bytes| bytes[33] ^= 1), Some(AcpiError::Checksum { table, address: BASE }));
    for length in [0, 35, 0xffff_ffff] {
        let mut bytes = two_nodes(RootVersion::Xsdt).bytes();
        bytes[20..24].copy_from_slice(&u32::to_le_bytes(length));
        seal_root(&mut bytes);
        assert_eq!(Memory::new(bytes).parse().err(), Some(AcpiError::Length { table, length }));
    }
    let empty = Memory::new(Vec::new());
    assert_eq!(empty.parse().err(), Some(AcpiError::Unreadable { table, address: BASE }));
    assert_eq!(
        Platform::read(&empty, u64::MAX - 3).err(),
        Some(AcpiError::Unreadable { table, address: u64::MAX - 3 })
    );
}

#[test]
fn an_unset_xsdt_falls_back_to_the_rsdt() {
    let mut bytes = two_nodes(RootVersion::Rsdt).bytes();
    bytes[15] = 2;
    bytes[20] = 36;
    seal_root(&mut bytes);
    assert_eq!(Memory::new(bytes).parse().unwrap().madt.cpus.len(), 2);
}

#[test]
fn the_list_of_tables() {
    let table = Signature::XSDT;
    assert!(matches!(broken(b"XSDT", |t| t[0] = b'Y').err(), Some(AcpiError::Signature { .. })));
    assert!(matches!(broken(b"XSDT", |t| t[10] ^= 1).err(), Some(AcpiError::Checksum { .. })));
    assert_eq!(broken(b"XSDT", |t| t[4] = 35).err(), Some(AcpiError::Length { table, length: 35 }));
    // Half a pointer at the end is left out.
    assert!(broken_and_sealed(b"XSDT", |t| t[4] -= 4).unwrap().numa.unwrap().distance_error.is_some());
    // A pointer to nowhere and a null pointer are passed over: the MADT comes second, the SRAT third.
    let far = broken_and_sealed(b"XSDT", |t| t[36..44].fill(0xff)).unwrap();
    assert_eq!(far.madt.cpus.len(), 2);
    let null = broken_and_sealed(b"XSDT", |t| t[52..60].fill(0)).unwrap();
    assert_eq!(null.numa.err(), Some(AcpiError::Missing { table: Signature::SRAT }));
    let no_madt = broken_and_sealed(b"XSDT", |t| t[44..52].fill(0));
    assert_eq!(no_madt.err(), Some(AcpiError::Missing { table: Signature::MADT }));
}

#[test]
fn the_header_of_a_table() {
    assert!(matches!(broken(b"APIC", |t| t[40] ^= 1).err(), Some(AcpiError::Checksum { .. })));
    let table = Signature::MADT;
    for length in [0u32, 35, (1 << 20) + 1, u32::MAX] {
        let error = broken(b"APIC", |t| t[4..8].copy_from_slice(&length.to_le_bytes())).err();
        assert_eq!(error, Some(AcpiError::Length { table, length }));
    }
    // A length that is possible but leads out of memory.
    let error = broken(b"APIC", |t| t[4..8].copy_from_slice(&0x10_0000u32.to_le_bytes())).err();
    assert!(matches!(error, Some(AcpiError::Unreadable { .. })), "{error:?}");
    // A header without the address of the local APICs.
    let short = broken_and_sealed(b"APIC", |t| t[4] = 38);
    assert_eq!(short.err(), Some(AcpiError::Length { table, length: 38 }));
}

#[test]
fn a_row_without_length_ends_the_table() {
    let table = Signature::MADT;
    for length in [0, 1] {
        let error = broken_and_sealed(b"APIC", |t| t[44 + 8 + 1] = length).err();
        assert_eq!(error, Some(AcpiError::Row { table, offset: 52 }));
    }
    // The last row, at 44 + 8 + 8 + 12, reaches past the table.
    let error = broken_and_sealed(b"APIC", |t| t[44 + 28 + 1] = 11).err();
    assert_eq!(error, Some(AcpiError::Row { table, offset: 72 }));
    // One byte of a row is left.
    let error = broken_and_sealed(b"APIC", |t| t[4] -= 9).err();
    assert_eq!(error, Some(AcpiError::Row { table, offset: 72 }));
}

#[test]
fn a_row_too_short_for_its_type_is_skipped() {
    let stub = |kind: u8| vec![kind, 2];
    let madt = Machine::new(RootVersion::Xsdt)
        .madt(&[stub(0), stub(1), stub(2), stub(5), stub(9), local_apic(0, 6, 1)])
        .memory()
        .parse()
        .unwrap()
        .madt;
    assert_eq!((madt.cpus.len(), madt.io_apics.len(), madt.overrides.len(), madt.skipped_rows), (1, 0, 0, 5));
    let numa = Machine::new(RootVersion::Xsdt)
        .madt(&[])
        .srat(&[stub(0), stub(1), stub(2), cpu_affinity(3, 6, 1)])
        .memory()
        .parse()
        .unwrap()
        .numa
        .unwrap();
    assert_eq!((numa.node_of_cpu(6), numa.memory.len(), numa.skipped_rows), (Some(0), 0, 3));
}

#[test]
fn memory_that_wraps_is_skipped_and_memory_in_two_nodes_spoils_the_table() {
    let numa = |rows: &[Vec<u8>]| {
        Machine::new(RootVersion::Xsdt).madt(&[]).srat(rows).memory().parse().unwrap().numa
    };
    let wrapped =
        numa(&[memory_affinity(0, u64::MAX - MIB + 1, MIB, 1), memory_affinity(0, 0, MIB, 1)]).unwrap();
    assert_eq!((wrapped.memory.len(), wrapped.skipped_rows), (1, 1));
    let twice = [memory_affinity(0, 0, 2 * MIB, 1), memory_affinity(1, MIB, MIB, 1)];
    assert_eq!(numa(&twice).err(), Some(AcpiError::Overlap { first: 0, second: MIB }));
    for touching in [[0, MIB], [MIB, 0]] {
        let rows = [memory_affinity(0, touching[0], MIB, 1), memory_affinity(1, touching[1], MIB, 1)];
        assert_eq!(numa(&rows).unwrap().memory.len(), 2);
    }
    let same_node = [memory_affinity(0, 0, 2 * MIB, 1), memory_affinity(0, MIB, MIB, 1)];
    assert_eq!(numa(&same_node).unwrap().memory.len(), 2);
}

#[test]
fn a_bad_srat_costs_the_nodes_only() {
    let platform = broken(b"SRAT", |t| t[40] ^= 1).unwrap();
    assert_eq!(platform.madt.cpus.len(), 2);
    assert!(matches!(platform.numa.err(), Some(AcpiError::Checksum { table: Signature::SRAT, .. })));
}

#[test]
fn a_bad_slit_costs_the_distances_only() {
    let error = |platform: Result<Platform, AcpiError>| {
        let numa = platform.unwrap().numa.unwrap();
        assert_eq!(
            (numa.distance(0, 1), numa.distance(1, 0), numa.distance(1, 1)),
            (Some(20), Some(20), Some(10))
        );
        numa.distance_error.unwrap()
    };
    let table = Signature::SLIT;
    assert!(matches!(error(broken(b"SLIT", |t| t[44] ^= 1)), AcpiError::Checksum { .. }));
    // Three domains do not fit a matrix of two; nor do 2^32 + 2 or 2^16, whose squares wrap.
    for domains in [3, (1 << 32) + 2, 1 << 16] {
        let cut = broken_and_sealed(b"SLIT", |t| t[36..44].copy_from_slice(&u64::to_le_bytes(domains)));
        assert_eq!(error(cut), AcpiError::Length { table, length: 48 });
    }
    let distance = |at: usize, value: u8| error(broken_and_sealed(b"SLIT", |t| t[44 + at] = value));
    assert_eq!(distance(0, 11), AcpiError::Distance { from: 0, to: 0, value: 11 });
    assert_eq!(distance(1, 10), AcpiError::Distance { from: 0, to: 1, value: 10 });
    assert_eq!(distance(2, 0), AcpiError::Distance { from: 1, to: 0, value: 0 });
}

#[test]
fn every_error_is_one_line() {
    let table = Signature::MADT;
    for error in [
        AcpiError::Missing { table },
        AcpiError::Unreadable { table, address: 1 },
        AcpiError::Signature { table, address: 1 },
        AcpiError::Length { table, length: 1 },
        AcpiError::Checksum { table, address: 1 },
        AcpiError::Row { table, offset: 1 },
        AcpiError::Overlap { first: 1, second: 2 },
        AcpiError::Distance { from: 1, to: 2, value: 3 },
    ] {
        let line = error.to_string();
        assert!(line.contains("ACPI table") && !line.contains('\n'), "{line}");
    }
    assert_eq!(AcpiError::Missing { table }.to_string(), "the machine has no ACPI table APIC");
}
