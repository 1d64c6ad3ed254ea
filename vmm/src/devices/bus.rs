//! Routes port and memory-mapped accesses of the guest to devices.
//!
//! Owns: the two address maps ([`Bus`] for ports, [`Bus`] for MMIO) and one lock per device.
//! Stays outside: what an access means (the device), and how it left the guest (`kvm::vcpu`).
//! Invariants: ranges of one bus never overlap and never wrap; a lookup is a binary search in a
//! sorted vector that is not changed once vCPUs run; no access of a guest, whatever its address or
//! width, can panic: what no device claims reads as all ones and is ignored when written.

use std::sync::{Arc, Mutex, PoisonError};

/// A device that answers guest accesses to one address range.
///
/// `data` holds 1, 2, 4 or 8 bytes for MMIO. For ports it can be longer: a string instruction
/// (`rep outsb`) arrives as one access whose bytes all belong to the port at `offset`.
/// The guest chooses `offset` and the width freely, so an implementation must accept all of them.
pub trait BusDevice: Send {
    /// Fills `data` with what the guest reads at `offset` bytes into the device's range.
    fn read(&mut self, offset: u64, data: &mut [u8]);

    /// Takes `data`, which the guest wrote at `offset` bytes into the device's range.
    fn write(&mut self, offset: u64, data: &[u8]);
}

/// A device as buses and event handlers share it.
pub type SharedDevice = Arc<Mutex<dyn BusDevice>>;

/// Why a device could not be put on a bus.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BusError {
    /// The range is empty or runs past the end of the address space.
    #[error("device range {base:#x}+{size:#x} is empty or wraps")]
    BadRange {
        /// First address of the range.
        base: u64,
        /// Length of the range in bytes.
        size: u64,
    },
    /// Another device already claims part of the range.
    #[error("device range {base:#x}+{size:#x} overlaps another device")]
    Overlap {
        /// First address of the range.
        base: u64,
        /// Length of the range in bytes.
        size: u64,
    },
}

struct Entry {
    base: u64,
    last: u64,
    device: SharedDevice,
}

/// One address space (ports or MMIO) and the devices in it.
#[derive(Default)]
pub struct Bus {
    /// Sorted by `base`; ranges are disjoint.
    entries: Vec<Entry>,
}

impl Bus {
    /// A bus with no device.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `device` at `base..base + size` (bytes, or ports).
    ///
    /// Fails when the range is empty, wraps, or overlaps a device that is already there.
    pub fn insert(&mut self, base: u64, size: u64, device: SharedDevice) -> Result<(), BusError> {
        let last = size
            .checked_sub(1)
            .and_then(|reach| base.checked_add(reach))
            .ok_or(BusError::BadRange { base, size })?;
        let at = self.entries.partition_point(|entry| entry.last < base);
        if self.entries.get(at).is_some_and(|next| next.base <= last) {
            return Err(BusError::Overlap { base, size });
        }
        self.entries.insert(at, Entry { base, last, device });
        Ok(())
    }

    /// Serves a guest read at `address`. Returns whether a device claimed it.
    pub fn read(&self, address: u64, data: &mut [u8]) -> bool {
        match self.find(address) {
            Some((entry, offset)) => {
                entry.device.lock().unwrap_or_else(PoisonError::into_inner).read(offset, data);
                true
            }
            None => {
                data.fill(0xff);
                false
            }
        }
    }

    /// Serves a guest write at `address`. Returns whether a device claimed it.
    pub fn write(&self, address: u64, data: &[u8]) -> bool {
        match self.find(address) {
            Some((entry, offset)) => {
                entry.device.lock().unwrap_or_else(PoisonError::into_inner).write(offset, data);
                true
            }
            None => false,
        }
    }

    fn find(&self, address: u64) -> Option<(&Entry, u64)> {
        let at = self.entries.partition_point(|entry| entry.last < address);
        let entry = self.entries.get(at)?;
        address.checked_sub(entry.base).map(|offset| (entry, offset))
    }
}

#[cfg(test)]
mod tests;
