//! What can be wrong with a table.

use core::fmt;

/// The four characters that name a table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 4]);

impl Signature {
    /// Multiple APIC description table: CPUs and interrupt controllers.
    pub const MADT: Self = Self(*b"APIC");
    /// System resource affinity table: the node of each CPU and memory range.
    pub const SRAT: Self = Self(*b"SRAT");
    /// System locality information table: distances.
    pub const SLIT: Self = Self(*b"SLIT");
    /// The list of tables by 64-bit addresses.
    pub const XSDT: Self = Self(*b"XSDT");
    /// The list of tables by 32-bit addresses.
    pub const RSDT: Self = Self(*b"RSDT");
    /// The root pointer; its full signature is `RSD PTR ` with a blank at the end.
    pub const RSDP: Self = Self(*b"RSDP");

    pub(super) const fn new(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a table was not used. Addresses are physical, offsets and lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcpiError {
    /// The machine has no such table.
    Missing {
        /// The table.
        table: Signature,
    },
    /// Memory that should hold the table cannot be read.
    Unreadable {
        /// The table.
        table: Signature,
        /// First address that was asked for.
        address: u64,
    },
    /// Something else is where the table should be.
    Signature {
        /// The table.
        table: Signature,
        /// Where it should be.
        address: u64,
    },
    /// The table's length is impossible.
    Length {
        /// The table.
        table: Signature,
        /// Its own idea of its length.
        length: u32,
    },
    /// The bytes of the table do not sum up to 0.
    Checksum {
        /// The table.
        table: Signature,
        /// Where it is.
        address: u64,
    },
    /// A row is shorter than its own header or reaches past the table.
    Row {
        /// The table.
        table: Signature,
        /// Where the row starts in the table.
        offset: u32,
    },
    /// Two nodes claim the same memory.
    Overlap {
        /// Base of the one range.
        first: u64,
        /// Base of the other.
        second: u64,
    },
    /// A distance that cannot be: a node's distance to itself is 10, all others are above.
    Distance {
        /// Proximity domain of the row.
        from: u32,
        /// Proximity domain of the column.
        to: u32,
        /// The distance.
        value: u8,
    },
}

impl fmt::Display for AcpiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Missing { table } => write!(f, "the machine has no ACPI table {table}"),
            Self::Unreadable { table, address } => {
                write!(f, "ACPI table {table}: cannot read memory at {address:#x}")
            }
            Self::Signature { table, address } => {
                write!(f, "ACPI table {table}: not found at {address:#x}, where the machine says it is")
            }
            Self::Length { table, length } => write!(f, "ACPI table {table}: impossible length {length}"),
            Self::Checksum { table, address } => {
                write!(f, "ACPI table {table} at {address:#x}: bad checksum")
            }
            Self::Row { table, offset } => {
                write!(f, "ACPI table {table}: bad row length at offset {offset}")
            }
            Self::Overlap { first, second } => {
                write!(f, "ACPI table SRAT: memory at {first:#x} and {second:#x} overlaps in two nodes")
            }
            Self::Distance { from, to, value } => {
                write!(f, "ACPI table SLIT: impossible distance {value} from domain {from} to {to}")
            }
        }
    }
}
