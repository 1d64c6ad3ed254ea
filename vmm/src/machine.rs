//! A machine that is ready to run, or has run.
//!
//! Owns: its parts, for as long as anything may still look at them. Stays outside: making them
//! (`builder`), running them (`run`).
//! Invariants: the VM and the RAM outlive every vCPU.

use std::sync::{Arc, Mutex, PoisonError};

use event_manager::{EventManager, MutEventSubscriber};

use crate::devices::transcript::{Kept, Transcript};
use crate::devices::virtio::VirtioMmio;
use crate::devices::virtio::blk::{BlkCounters, DiskWorker};
use crate::devices::virtio::console::{Console, OutputLoss};
use crate::exit::EndSignal;
use crate::kvm::exits::ExitCounters;
use crate::kvm::vcpu::Vcpu;
use crate::kvm::vm::Vm;
use crate::memory::GuestRam;
use crate::threads::Beside;

/// The event loop of the main thread.
pub type EventLoop = EventManager<Box<dyn MutEventSubscriber>>;

/// A machine.
pub struct Machine {
    pub(crate) vm: Vm,
    /// The boot processor first; empty once they run.
    pub(crate) vcpus: Vec<Vcpu>,
    /// The thread of the boot processor, until that runs.
    pub(crate) boot_thread: Option<Beside>,
    /// Serves the devices.
    pub(crate) events: EventLoop,
    /// Takes the guest's output, and input for it.
    pub(crate) console: Arc<Mutex<Console>>,
    /// The copy of that output, if one is wanted.
    pub(crate) transcript: Option<Transcript>,
    /// What each disk counts, by the disk's name.
    pub(crate) disks: Vec<(String, Arc<BlkCounters>)>,
    /// The threads of the disks, until they run.
    pub(crate) disk_workers: Vec<DiskWorker>,
    /// The virtio devices, by name.
    pub(crate) transports: Vec<(String, Arc<Mutex<VirtioMmio>>)>,
    /// Why vCPUs left the guest.
    pub(crate) exits: Arc<ExitCounters>,
    /// Raised when the machine ends.
    pub(crate) end: Arc<EndSignal>,
    pub(crate) ram: GuestRam,
}

impl Machine {
    /// Guest memory; readable by the host at any time.
    pub fn ram(&self) -> &GuestRam {
        &self.ram
    }

    /// The disks by name, with what the host counts of each.
    pub fn disks(&self) -> &[(String, Arc<BlkCounters>)] {
        &self.disks
    }

    /// Guest output that did not reach its reader, if any.
    pub fn output_loss(&self) -> Option<OutputLoss> {
        self.console.lock().unwrap_or_else(PoisonError::into_inner).output_loss()
    }

    /// What the guest printed, if that was kept.
    pub fn output(&self) -> Kept {
        self.transcript.as_ref().map(Transcript::kept).unwrap_or_default()
    }

    /// Devices that stopped because the guest's driver broke the rules, a line for each.
    pub fn device_faults(&self) -> Vec<String> {
        let fault = |(name, transport): &(String, Arc<Mutex<VirtioMmio>>)| {
            let reason = transport.lock().unwrap_or_else(PoisonError::into_inner).fault()?;
            Some(format!("the virtio device {name:?} stopped: {reason}"))
        };
        self.transports.iter().filter_map(fault).collect()
    }
}
