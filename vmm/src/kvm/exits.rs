//! Exits of KVM_RUN to the monitor, by reason: how often a guest cost a switch to user space.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a vCPU came back from KVM_RUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// Read of an I/O port.
    IoIn,
    /// Write to an I/O port.
    IoOut,
    /// Read of an address without RAM.
    MmioRead,
    /// Write to an address without RAM.
    MmioWrite,
    /// A signal.
    Interrupted,
    /// Everything else.
    Other,
}

const NAMES: [&str; 6] = ["io_in", "io_out", "mmio_read", "mmio_write", "interrupted", "other"];

/// The counters of all vCPUs of a machine.
#[derive(Debug, Default)]
pub struct ExitCounters([AtomicU64; NAMES.len()]);

impl ExitCounters {
    /// Counts one exit.
    pub fn count(&self, reason: ExitReason) {
        if let Some(counter) = self.0.get(reason as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Every reason with its count.
    pub fn totals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        NAMES.into_iter().zip(self.0.iter().map(|counter| counter.load(Ordering::Relaxed)))
    }
}
