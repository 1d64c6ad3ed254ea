//! One table: its header, its checksum, and its rows.
//!
//! Owns: bounds. Nothing is read from outside `address..address + length` of a table, and a table is
//! opened only with a right checksum. Source: ACPI 6.4, section 5.2.6.

use super::PhysRead;
use super::error::{AcpiError, Signature};

/// Bytes of the header that all tables share.
pub(super) const HEADER_BYTES: u32 = 36;
/// Longest table that is read, in bytes; the longest real ones of interest have a few kilobytes.
const MAX_BYTES: u32 = 1 << 20;
const LENGTH_OFFSET: u32 = 4;
const REVISION_OFFSET: u32 = 8;

/// Whether `length` bytes at `address` sum up to 0.
pub(super) fn sums_to_zero(
    memory: &impl PhysRead,
    table: Signature,
    address: u64,
    length: u32,
) -> Result<bool, AcpiError> {
    let mut chunk = [0; 256];
    let (mut at, mut left, mut sum) = (address, length as usize, 0u8);
    while left > 0 {
        let size = left.min(chunk.len());
        let bytes = chunk.get_mut(..size).unwrap_or_default();
        if !memory.read(at, bytes) {
            return Err(AcpiError::Unreadable { table, address: at });
        }
        sum = bytes.iter().fold(sum, |sum, &byte| sum.wrapping_add(byte));
        left -= size;
        at = at.saturating_add(size as u64);
    }
    Ok(sum == 0)
}

/// A table with a right checksum.
pub(super) struct Table<'m, M> {
    memory: &'m M,
    signature: Signature,
    address: u64,
    length: u32,
}

impl<'m, M: PhysRead> Table<'m, M> {
    /// The table at `address`, which must be the one called `signature`.
    pub(super) fn open(memory: &'m M, address: u64, signature: Signature) -> Result<Self, AcpiError> {
        let mut table = Self { memory, signature, address, length: HEADER_BYTES };
        if Signature::new(table.bytes(0)?) != signature {
            return Err(AcpiError::Signature { table: signature, address });
        }
        let length = u32::from_le_bytes(table.bytes(LENGTH_OFFSET)?);
        let end = address.checked_add(length.into());
        if !(HEADER_BYTES..=MAX_BYTES).contains(&length) || end.is_none() {
            return Err(AcpiError::Length { table: signature, length });
        }
        if !sums_to_zero(memory, signature, address, length)? {
            return Err(AcpiError::Checksum { table: signature, address });
        }
        table.length = length;
        Ok(table)
    }

    /// The table's revision.
    pub(super) fn revision(&self) -> Result<u8, AcpiError> {
        self.bytes(REVISION_OFFSET).map(u8::from_le_bytes)
    }

    /// Length in bytes, the header included.
    pub(super) fn length(&self) -> u32 {
        self.length
    }

    /// The error of a table whose length does not fit its contents.
    pub(super) fn bad_length(&self) -> AcpiError {
        AcpiError::Length { table: self.signature, length: self.length }
    }

    /// `N` bytes at `offset`.
    pub(super) fn bytes<const N: usize>(&self, offset: u32) -> Result<[u8; N], AcpiError> {
        let mut bytes = [0; N];
        self.fill(offset, &mut bytes)?;
        Ok(bytes)
    }

    fn fill(&self, offset: u32, bytes: &mut [u8]) -> Result<(), AcpiError> {
        if u64::from(offset) + bytes.len() as u64 > self.length.into() {
            return Err(self.bad_length());
        }
        let unreadable = |address| AcpiError::Unreadable { table: self.signature, address };
        let address = self.address.checked_add(offset.into()).ok_or(unreadable(self.address))?;
        if self.memory.read(address, bytes) { Ok(()) } else { Err(unreadable(address)) }
    }

    /// The physical addresses that follow the header, `size` (4 or 8) bytes each. Null and unreadable ones
    /// are left out.
    pub(super) fn pointers(&self, size: u32) -> impl Iterator<Item = u64> {
        (HEADER_BYTES..self.length)
            .step_by(size as usize)
            .filter_map(move |offset| {
                let mut bytes = [0; 8];
                self.fill(offset, bytes.get_mut(..size as usize)?).ok()?;
                Some(u64::from_le_bytes(bytes))
            })
            .filter(|&address| address != 0)
    }

    /// The rows from `start` on: a byte of type, a byte of length, contents.
    pub(super) fn rows(&self, start: u32) -> Rows<'_, 'm, M> {
        Rows { table: self, next: start }
    }
}

/// Walks the rows of a table. Ends at the table's end, or after one error.
pub(super) struct Rows<'t, 'm, M> {
    table: &'t Table<'m, M>,
    next: u32,
}

impl<M: PhysRead> Rows<'_, '_, M> {
    fn read(&self) -> Result<Row, AcpiError> {
        let offset = self.next;
        let broken = AcpiError::Row { table: self.table.signature, offset };
        let [kind, length] = self.table.bytes(offset).map_err(|_| broken)?;
        if length < 2 || u32::from(length) > self.table.length - offset {
            return Err(broken);
        }
        let mut row = Row { kind, length, bytes: [0; Row::KEPT] };
        let kept = Row::KEPT.min(length.into());
        self.table.fill(offset, row.bytes.get_mut(..kept).unwrap_or_default())?;
        Ok(row)
    }
}

impl<M: PhysRead> Iterator for Rows<'_, '_, M> {
    type Item = Result<Row, AcpiError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.table.length {
            return None;
        }
        let row = self.read();
        self.next = match &row {
            Ok(row) => self.next + u32::from(row.length),
            Err(_) => self.table.length,
        };
        Some(row)
    }
}

/// A row: its type and the bytes that any row of interest can have.
pub(super) struct Row {
    /// What the row is about.
    pub(super) kind: u8,
    length: u8,
    bytes: [u8; Self::KEPT],
}

impl Row {
    /// Longest row that is looked into: memory affinity has 40 bytes.
    const KEPT: usize = 40;

    fn field<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let end = offset.checked_add(N).filter(|&end| end <= self.length.into())?;
        self.bytes.get(offset..end)?.try_into().ok()
    }

    /// The byte at `offset`; `None` when the row is too short.
    pub(super) fn u8(&self, offset: usize) -> Option<u8> {
        self.field(offset).map(u8::from_le_bytes)
    }

    /// Two bytes at `offset`.
    pub(super) fn u16(&self, offset: usize) -> Option<u16> {
        self.field(offset).map(u16::from_le_bytes)
    }

    /// Four bytes at `offset`.
    pub(super) fn u32(&self, offset: usize) -> Option<u32> {
        self.field(offset).map(u32::from_le_bytes)
    }

    /// Eight bytes at `offset`.
    pub(super) fn u64(&self, offset: usize) -> Option<u64> {
        self.field(offset).map(u64::from_le_bytes)
    }
}
