//! What the boot CPU finds in memory: kernel, memory map, command line, ACPI tables.
//!
//! Its own thread puts them there while the machine is built around it: most of the work is the host's, which has to
//! clear the first pages of guest RAM. Stays outside: the formats (`loader`, `boot`, `acpi`).

use std::io;
use std::sync::mpsc::Receiver;
use std::thread::Builder;

use super::BuildError;
use crate::acpi;
use crate::boot::e820::e820_map;
use crate::boot::{self, BootData, EntryState, cmdline};
use crate::config::{MachineConfig, Topology};
use crate::devices::VirtioSlot;
use crate::kernel::Kernel;
use crate::loader;
use crate::memory::{GuestRam, RamRange};
use crate::signals;
use crate::threads::Beside;

/// All that it takes to fill a machine's memory.
pub(super) struct Contents {
    topology: Topology,
    cmdline: String,
    slots: Vec<VirtioSlot>,
    kernel: Kernel,
    ranges: Vec<RamRange>,
    ram: GuestRam,
}

impl Contents {
    /// What belongs into `ram`, which has these `ranges`, on a machine with virtio devices in these `slots`.
    pub(super) fn new(
        config: &MachineConfig,
        slots: &[VirtioSlot],
        kernel: Kernel,
        ranges: Vec<RamRange>,
        ram: GuestRam,
    ) -> Self {
        let cmdline = cmdline::with_devices(&config.cmdline, slots);
        Self { topology: config.topology.clone(), cmdline, slots: slots.to_owned(), kernel, ranges, ram }
    }

    /// Writes all of it, on a thread that goes on as something else; it tells how the kernel is entered.
    pub(super) fn write_beside(
        self,
        thread: Builder,
    ) -> io::Result<(Beside, Receiver<Result<EntryState, BuildError>>)> {
        Beside::start(thread, move || {
            // The calling thread, which would pass it on, does so only when all is built.
            signals::block().map_err(BuildError::Thread)?;
            self.write()
        })
    }

    fn write(self) -> Result<EntryState, BuildError> {
        let loaded = loader::load(&self.ram, &self.kernel)?;
        // It is in guest RAM now; another copy would only cost memory.
        self.kernel.release();
        let tables = acpi::build(&self.topology, &self.ranges, &self.slots)?;
        let data = BootData { cmdline: &self.cmdline, map: &e820_map(&self.ranges), acpi: &tables };
        Ok(boot::write(&self.ram, &loaded, &data)?)
    }
}
