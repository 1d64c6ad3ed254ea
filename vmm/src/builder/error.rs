//! Why a machine could not be built, and whose fault that is.

use std::io;

use shared::exit::ExitStatus;

use crate::acpi::AcpiError;
use crate::boot::BootDataError;
use crate::devices::bus::BusError;
use crate::devices::virtio::blk::{BlockError, DiskError};
use crate::kvm::KvmError;
use crate::loader::LoadError;
use crate::memory::MemoryError;

/// Why a machine could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Guest RAM.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// KVM.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// The kernel.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// ACPI tables.
    #[error(transparent)]
    Acpi(#[from] AcpiError),
    /// Boot structures.
    #[error(transparent)]
    Boot(#[from] BootDataError),
    /// A device without a place.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// A disk image.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A disk on its image.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The standard output cannot be duplicated for the console.
    #[error("cannot use standard output for the console: {0}; redirect it to /dev/null to run without")]
    Output(#[source] io::Error),
    /// File descriptors ran out.
    #[error("cannot create an event descriptor; raise the limit on open files (ulimit -n)")]
    Events(#[source] io::Error),
    /// The boot CPU got no thread.
    #[error("cannot start the boot CPU's thread: {0}; raise the limit on processes (ulimit -u)")]
    Thread(#[source] io::Error),
    /// The event loop.
    #[error("cannot create the event loop: {0}")]
    EventLoop(String),
}

impl BuildError {
    /// The exit status that tells a mistake of the user from a host that cannot run the machine.
    pub fn status(&self) -> ExitStatus {
        match self {
            Self::Load(_)
            | Self::Acpi(_)
            | Self::Boot(_)
            | Self::Disk(_)
            | Self::Block(BlockError::IdTooLong(_)) => ExitStatus::Usage,
            Self::Memory(_)
            | Self::Block(BlockError::Engine(_))
            | Self::Kvm(_)
            | Self::Bus(_)
            | Self::Output(_)
            | Self::Events(_)
            | Self::Thread(_)
            | Self::EventLoop(_) => ExitStatus::HostUnable,
        }
    }
}
