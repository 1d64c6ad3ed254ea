//! The ACPI parser against tables built by hand.
//!
//! Owns: the little machine below, whose tables the other files bend and break.

mod broken;
mod mutated;
mod whole;

use shared::acpi::{AcpiError, PhysRead, Platform};
use std::cell::Cell;

/// Where the tables of the test machine start.
const BASE: u64 = 0xe_0000;

/// Physical memory that holds nothing but tables, and counts how often it is read.
struct Memory {
    bytes: Vec<u8>,
    reads: Cell<u64>,
}

impl Memory {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, reads: Cell::new(0) }
    }

    fn parse(&self) -> Result<Platform, AcpiError> {
        Platform::read(self, BASE)
    }
}

impl PhysRead for Memory {
    fn read(&self, addr: u64, buf: &mut [u8]) -> bool {
        self.reads.set(self.reads.get() + 1);
        let Some(start) = addr.checked_sub(BASE).and_then(|at| usize::try_from(at).ok()) else {
            return false;
        };
        match start.checked_add(buf.len()).and_then(|end| self.bytes.get(start..end)) {
            Some(bytes) => {
                buf.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }
}

/// How the root points at the tables.
#[derive(Clone, Copy, PartialEq)]
enum RootVersion {
    /// Version 1 with an RSDT.
    Rsdt,
    /// Version 2 with an XSDT.
    Xsdt,
}

/// A machine's tables before they are laid out: signature, revision, contents after the header.
struct Machine {
    root: RootVersion,
    tables: Vec<([u8; 4], u8, Vec<u8>)>,
}

impl Machine {
    fn new(root: RootVersion) -> Self {
        Self { root, tables: Vec::new() }
    }

    fn table(mut self, signature: &[u8; 4], revision: u8, contents: Vec<u8>) -> Self {
        self.tables.push((*signature, revision, contents));
        self
    }

    fn madt(self, rows: &[Vec<u8>]) -> Self {
        let mut contents = 0xfee0_0000u32.to_le_bytes().to_vec();
        contents.extend([0; 4]);
        contents.extend(rows.concat());
        self.table(b"APIC", 4, contents)
    }

    fn srat(self, rows: &[Vec<u8>]) -> Self {
        let mut contents = 1u32.to_le_bytes().to_vec();
        contents.extend([0; 8]);
        contents.extend(rows.concat());
        self.table(b"SRAT", 3, contents)
    }

    fn slit(self, distances: &[&[u8]]) -> Self {
        let mut contents = (distances.len() as u64).to_le_bytes().to_vec();
        contents.extend(distances.concat());
        self.table(b"SLIT", 1, contents)
    }

    /// The bytes from [`BASE`] on: root pointer, list of tables, tables.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        let mut addresses = Vec::new();
        for (signature, revision, contents) in &self.tables {
            addresses.push(append(&mut bytes, signature, *revision, contents));
        }
        let list = match self.root {
            RootVersion::Xsdt => {
                let list: Vec<u8> = addresses.iter().flat_map(|a| a.to_le_bytes()).collect();
                append(&mut bytes, b"XSDT", 1, &list)
            }
            RootVersion::Rsdt => {
                let list: Vec<u8> = addresses.iter().flat_map(|a| (*a as u32).to_le_bytes()).collect();
                append(&mut bytes, b"RSDT", 1, &list)
            }
        };
        bytes[..36].copy_from_slice(&root_pointer(self.root, list));
        bytes
    }

    fn memory(&self) -> Memory {
        Memory::new(self.bytes())
    }
}

fn root_pointer(version: RootVersion, list: u64) -> [u8; 36] {
    let mut root = [0; 36];
    root[..8].copy_from_slice(b"RSD PTR ");
    match version {
        RootVersion::Rsdt => root[16..20].copy_from_slice(&(list as u32).to_le_bytes()),
        RootVersion::Xsdt => {
            root[15] = 2;
            root[20] = 36;
            root[24..32].copy_from_slice(&list.to_le_bytes());
        }
    }
    seal_root(&mut root);
    root
}

/// Sets both checksums.
fn seal_root(root: &mut [u8]) {
    root[8] = 0;
    root[8] = complement(&root[..20]);
    root[32] = 0;
    root[32] = complement(&root[..36]);
}

/// The byte that makes the sum of `bytes` and itself 0.
fn complement(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, &byte| sum.wrapping_sub(byte))
}

/// Adds a table at the next multiple of 16 and returns its physical address.
fn append(bytes: &mut Vec<u8>, signature: &[u8; 4], revision: u8, contents: &[u8]) -> u64 {
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    let start = bytes.len();
    bytes.extend(signature);
    bytes.extend((36 + contents.len() as u32).to_le_bytes());
    bytes.extend([revision, 0]);
    bytes.extend(b"TESTERTESTTABL");
    bytes.extend([0; 12]);
    bytes.extend(contents);
    bytes[start + 9] = complement(&bytes[start..]);
    BASE + start as u64
}

/// Where the table called `signature` starts in a machine's bytes.
fn find(bytes: &[u8], signature: &[u8; 4]) -> usize {
    let at = bytes.windows(4).position(|window| window == signature);
    at.unwrap_or_else(|| panic!("no {signature:?}"))
}

/// Makes the checksum of the table at `start` right again, for as much of its length as there is.
fn reseal(bytes: &mut [u8], start: usize) {
    let length = u32::from_le_bytes(bytes[start + 4..start + 8].try_into().unwrap()) as usize;
    let end = (start + length).min(bytes.len());
    if let Some(table) = bytes.get_mut(start..end).filter(|table| table.len() >= 36) {
        table[9] = 0;
        table[9] = complement(table);
    }
}

// ---- rows, field by field as the specification lists them ----

fn local_apic(uid: u8, apic_id: u8, flags: u32) -> Vec<u8> {
    [&[0, 8, uid, apic_id][..], &flags.to_le_bytes()].concat()
}

fn x2apic(apic_id: u32, flags: u32, uid: u32) -> Vec<u8> {
    [&[9, 16, 0, 0][..], &apic_id.to_le_bytes(), &flags.to_le_bytes(), &uid.to_le_bytes()].concat()
}

fn io_apic(id: u8, address: u32, gsi_base: u32) -> Vec<u8> {
    [&[1, 12, id, 0][..], &address.to_le_bytes(), &gsi_base.to_le_bytes()].concat()
}

fn source_override(source: u8, gsi: u32, flags: u16) -> Vec<u8> {
    [&[2, 10, 0, source][..], &gsi.to_le_bytes(), &flags.to_le_bytes()].concat()
}

fn cpu_affinity(domain: u32, apic_id: u8, flags: u32) -> Vec<u8> {
    let [low, high @ ..] = domain.to_le_bytes();
    [&[0, 16, low, apic_id][..], &flags.to_le_bytes(), &[0], &high, &[0; 4]].concat()
}

fn x2apic_affinity(domain: u32, apic_id: u32, flags: u32) -> Vec<u8> {
    let fields = [domain.to_le_bytes(), apic_id.to_le_bytes(), flags.to_le_bytes(), [0; 4], [0; 4]];
    [&[2, 24, 0, 0][..], &fields.concat()].concat()
}

fn memory_affinity(domain: u32, base: u64, size: u64, flags: u32) -> Vec<u8> {
    let mut row = vec![1, 40];
    row.extend(domain.to_le_bytes());
    row.extend([0; 2]);
    row.extend(base.to_le_bytes());
    row.extend(size.to_le_bytes());
    row.extend([0; 4]);
    row.extend(flags.to_le_bytes());
    row.extend([0; 8]);
    row
}

const MIB: u64 = 1 << 20;

/// Two CPUs, two nodes, one I/O APIC, an override and a distance of 21.
fn two_nodes(root: RootVersion) -> Machine {
    Machine::new(root)
        .table(b"FACP", 6, vec![0; 240])
        .madt(&[
            local_apic(0, 0, 1),
            local_apic(1, 1, 1),
            io_apic(0, 0xfec0_0000, 0),
            source_override(0, 2, 0),
        ])
        .srat(&[
            cpu_affinity(0, 0, 1),
            cpu_affinity(1, 1, 1),
            memory_affinity(0, 0, 640 << 10, 1),
            memory_affinity(0, MIB, 255 * MIB, 1),
            memory_affinity(1, 256 * MIB, 256 * MIB, 1),
        ])
        .slit(&[&[10, 21], &[21, 10]])
}
