//! SLIT: the distance between every two proximity domains. Source: ACPI 6.4, section 5.2.17; Linux
//! `slit_valid` for what makes a table unusable.

use super::PhysRead;
use super::error::AcpiError;
use super::table::{HEADER_BYTES, Table};
use crate::numa::LOCAL_DISTANCE;

/// A 64-bit count of domains precedes the matrix of bytes.
const MATRIX_OFFSET: u32 = HEADER_BYTES + 8;

/// A matrix that fits its table.
pub(super) struct Distances<'t, 'm, M> {
    table: &'t Table<'m, M>,
    domains: u32,
}

impl<'t, 'm, M: PhysRead> Distances<'t, 'm, M> {
    pub(super) fn read(table: &'t Table<'m, M>) -> Result<Self, AcpiError> {
        let count = u64::from_le_bytes(table.bytes(HEADER_BYTES)?);
        let domains = u32::try_from(count).map_err(|_| table.bad_length())?;
        let end = domains.checked_mul(domains).and_then(|bytes| bytes.checked_add(MATRIX_OFFSET));
        if end.is_none_or(|end| end > table.length()) {
            return Err(table.bad_length());
        }
        Ok(Self { table, domains })
    }

    /// The distance from domain `from` to `to`; `None` when the matrix leaves out one of them.
    pub(super) fn between(&self, from: u32, to: u32) -> Result<Option<u8>, AcpiError> {
        if from >= self.domains || to >= self.domains {
            return Ok(None);
        }
        // Inside the table by `read`, so this cannot overflow.
        let [value] = self.table.bytes(MATRIX_OFFSET + from * self.domains + to)?;
        let possible = if from == to { value == LOCAL_DISTANCE } else { value > LOCAL_DISTANCE };
        if possible { Ok(Some(value)) } else { Err(AcpiError::Distance { from, to, value }) }
    }
}
