//! The root system description pointer. Source: ACPI 6.4, section 5.2.5.3.

use super::PhysRead;
use super::error::{AcpiError, Signature};
use super::table::sums_to_zero;

/// Bytes of the first version, which the first checksum covers.
const BYTES_V1: usize = 20;
/// Bytes of the second version, which the second checksum covers.
const BYTES_V2: usize = 36;
/// Longest structure that is summed up, in bytes.
const MAX_BYTES: u32 = 4096;

/// Which list of tables the machine has, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Root {
    /// 64-bit addresses.
    Xsdt(u64),
    /// 32-bit addresses.
    Rsdt(u32),
}

impl Root {
    /// Reads the structure at physical address `address`.
    pub(super) fn read(memory: &impl PhysRead, address: u64) -> Result<Self, AcpiError> {
        let table = Signature::RSDP;
        let mut bytes = [0; BYTES_V2];
        let (v1, v2) = bytes.split_at_mut(BYTES_V1);
        if !memory.read(address, v1) {
            return Err(AcpiError::Unreadable { table, address });
        }
        if !v1.starts_with(b"RSD PTR ") {
            return Err(AcpiError::Signature { table, address });
        }
        if !sums_to_zero(memory, table, address, BYTES_V1 as u32)? {
            return Err(AcpiError::Checksum { table, address });
        }
        let &mut [.., revision, r0, r1, r2, r3] = v1 else {
            return Err(AcpiError::Signature { table, address });
        };
        let rsdt = Self::Rsdt(u32::from_le_bytes([r0, r1, r2, r3]));
        if revision < 2 {
            return Ok(rsdt);
        }
        let tail = address.saturating_add(BYTES_V1 as u64);
        if !memory.read(tail, v2) {
            return Err(AcpiError::Unreadable { table, address: tail });
        }
        let &mut [l0, l1, l2, l3, x0, x1, x2, x3, x4, x5, x6, x7, ..] = v2 else {
            return Err(AcpiError::Signature { table, address });
        };
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        if !(BYTES_V2 as u32..=MAX_BYTES).contains(&length) {
            return Err(AcpiError::Length { table, length });
        }
        if !sums_to_zero(memory, table, address, length)? {
            return Err(AcpiError::Checksum { table, address });
        }
        match u64::from_le_bytes([x0, x1, x2, x3, x4, x5, x6, x7]) {
            0 => Ok(rsdt),
            xsdt => Ok(Self::Xsdt(xsdt)),
        }
    }

    /// Physical address of the list.
    pub(super) fn address(&self) -> u64 {
        match *self {
            Self::Xsdt(address) => address,
            Self::Rsdt(address) => address.into(),
        }
    }

    /// Name of the list.
    pub(super) fn signature(&self) -> Signature {
        match self {
            Self::Xsdt(_) => Signature::XSDT,
            Self::Rsdt(_) => Signature::RSDT,
        }
    }

    /// Bytes of one address in the list.
    pub(super) fn pointer_bytes(&self) -> u32 {
        match self {
            Self::Xsdt(_) => 8,
            Self::Rsdt(_) => 4,
        }
    }
}
