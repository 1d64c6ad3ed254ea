//! The tables, read back by the parser that guests use, and byte by byte where it does not look.

use shared::acpi::{PhysRead, Platform};
use shared::layout::{IOAPIC, LAPIC};

use super::*;
use crate::config::numa::parse_node;
use crate::devices::virtio_slots;
use crate::memory::layout::ram_ranges;

const MIB: u64 = 1 << 20;

/// Physical memory that holds the tables and nothing else.
struct Image(Vec<u8>);

impl PhysRead for Image {
    fn read(&self, addr: u64, buf: &mut [u8]) -> bool {
        let start = addr.checked_sub(ACPI_TABLES).map(|offset| offset as usize);
        match start.and_then(|start| self.0.get(start..start + buf.len())) {
            Some(bytes) => buf.copy_from_slice(bytes),
            None => return false,
        }
        true
    }
}

fn topology(numa: &[&str]) -> Topology {
    let nodes: Vec<_> = numa.iter().map(|text| parse_node(text).unwrap()).collect();
    Topology::new(None, None, &nodes).unwrap()
}

fn image(topology: &Topology, devices: u32) -> Image {
    Image(build(topology, &ram_ranges(topology.nodes()), &virtio_slots(devices)).unwrap())
}

/// Every table with its signature, in the order of the block.
fn tables(image: &Image) -> Vec<(&str, &[u8])> {
    let mut found = Vec::new();
    let mut at = Rsdp::len().next_multiple_of(TABLE_ALIGNMENT);
    while at < image.0.len() {
        let length = u32::from_le_bytes(image.0[at + 4..at + 8].try_into().unwrap()) as usize;
        found.push((str::from_utf8(&image.0[at..at + 4]).unwrap(), &image.0[at..at + length]));
        at = (at + length).next_multiple_of(TABLE_ALIGNMENT);
    }
    found
}

fn table<'a>(image: &'a Image, name: &str) -> &'a [u8] {
    tables(image).into_iter().find(|(signature, _)| *signature == name).unwrap().1
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

#[test]
fn every_checksum_is_right() {
    for (numa, devices) in [
        (vec!["node=0,cpus=0,mem=16M"], 0),
        (
            vec![
                "node=0,cpus=0-1,mem=2G,distance=1:33,distance=2:44",
                "node=1,mem=3G",
                "node=2,cpus=2-63,mem=0",
            ],
            19,
        ),
    ] {
        let image = image(&topology(&numa), devices);
        assert_eq!(sum(&image.0[..20]), 0, "RSDP, first part");
        assert_eq!(sum(&image.0[..Rsdp::len()]), 0, "RSDP");
        let tables = tables(&image);
        let names: Vec<_> = tables.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["DSDT", "FACP", "APIC", "SRAT", "SLIT", "XSDT"]);
        for (name, bytes) in tables {
            assert_eq!(sum(bytes), 0, "{name}");
        }
    }
}

#[test]
fn a_guest_reads_back_the_topology() {
    let numa = [
        "node=0,cpus=0,cpus=3,mem=3G,distance=1:30",
        "node=1,cpus=1-2,mem=1G",
        "node=2,mem=16M,distance=1:99",
    ];
    let topology = topology(&numa);
    let platform = Platform::read(&image(&topology, 3), ACPI_TABLES).unwrap();
    assert_eq!(platform.madt.local_apic_address, LAPIC);
    assert_eq!(platform.madt.cpus.iter().map(|cpu| cpu.apic_id).collect::<Vec<_>>(), [0, 8, 9, 1]);
    assert!((0..).zip(platform.madt.cpus.iter()).all(|(uid, cpu)| cpu.acpi_uid == uid));
    assert_eq!(
        platform.madt.io_apics.iter().map(|io| (io.address, io.gsi_base)).collect::<Vec<_>>(),
        [(IOAPIC, 0)]
    );
    assert_eq!(platform.madt.skipped_rows, 0);
    let nodes = platform.numa.unwrap();
    assert_eq!((nodes.skipped_rows, nodes.distance_error), (0, None));
    assert_eq!([0, 8, 9, 1].map(|apic_id| nodes.node_of_cpu(apic_id)), [0, 1, 1, 0].map(Some));
    let memory: Vec<_> = nodes.memory.iter().map(|range| (range.base, range.size, range.node)).collect();
    assert_eq!(memory, [(0, 3072 * MIB, 0), (4096 * MIB, 1024 * MIB, 1), (5120 * MIB, 16 * MIB, 2)]);
    for from in 0..3_u8 {
        for to in 0..3_u8 {
            assert_eq!(nodes.distance(from, to), Some(topology.distance(from.into(), to.into())));
        }
    }
    assert_eq!(
        (nodes.distance(0, 1), nodes.distance(2, 1), nodes.distance(0, 2)),
        (Some(30), Some(99), Some(20))
    );
}

#[test]
fn the_fadt_is_hardware_reduced_and_names_reset_and_dsdt() {
    let image = image(&topology(&["node=0,cpus=0,mem=16M"]), 1);
    let fadt = table(&image, "FACP");
    let flags = u32::from_le_bytes(fadt[112..116].try_into().unwrap());
    assert_eq!(flags, 1 << 20 | 1 << 10);
    // Reset register: I/O port 0x64, one byte, value 0xfe.
    assert_eq!(fadt[116..129], [1, 8, 0, 1, 0x64, 0, 0, 0, 0, 0, 0, 0, 0xfe]);
    let dsdt = u64::from_le_bytes(fadt[140..148].try_into().unwrap());
    let offset = (dsdt - ACPI_TABLES) as usize;
    assert_eq!(&image.0[offset..offset + 4], b"DSDT");
}

#[test]
fn the_dsdt_names_each_virtio_device_with_window_and_interrupt() {
    let image = image(&topology(&["node=0,cpus=0-1,mem=16M"]), 2);
    let dsdt = table(&image, "DSDT");
    let count = |needle: &[u8]| dsdt.windows(needle.len()).filter(|window| *window == needle).count();
    assert_eq!((count(b"LNRO0005"), count(b"ACPI0007")), (2, 2));
    for slot in virtio_slots(2) {
        // Memory32Fixed, read-write; Interrupt: consumer, edge, active high, exclusive.
        let mut resources = vec![0x86, 9, 0, 1];
        resources.extend_from_slice(&(slot.base as u32).to_le_bytes());
        resources.extend_from_slice(&0x1000_u32.to_le_bytes());
        resources.extend_from_slice(&[0x89, 6, 0, 0b11, 1]);
        resources.extend_from_slice(&slot.gsi.to_le_bytes());
        assert_eq!(count(&resources), 1, "{slot:x?}");
    }
}

#[test]
fn the_largest_machine_fits_its_room() {
    let nodes: Vec<String> =
        (0..8).map(|node| format!("node={node},cpus={}-{},mem=16M", node * 8, node * 8 + 7)).collect();
    let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let image = image(&topology(&nodes), shared::layout::VIRTIO_MAX_DEVICES);
    assert!(image.0.len() < (ACPI_TABLES_END - ACPI_TABLES) as usize);
    assert_eq!(Platform::read(&image, ACPI_TABLES).unwrap().madt.cpus.len(), 64);
}
