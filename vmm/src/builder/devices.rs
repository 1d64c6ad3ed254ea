//! Which devices a machine has, where they sit and how they are wired.
//!
//! The console is virtio device 0, the disks follow in their order. Each has its window on the MMIO bus,
//! its notifications and its interrupt in the kernel, and somebody who serves its queues.
//! Stays outside: what a device does.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use event_manager::SubscriberOps;
use shared::layout::{ACPI_SLEEP_PORT, COM1_PORT, DEBUG_EXIT_PORT, VIRTIO_MMIO_SIZE};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::BuildError;
use crate::config::{DiskConfig, DiskSource, MachineConfig};
use crate::devices::bus::Bus;
use crate::devices::debug_exit::{DEBUG_EXIT_PORTS, DebugExit};
use crate::devices::i8042::{I8042, I8042_BASE, I8042_PORTS};
use crate::devices::output::Output;
use crate::devices::power::{POWER_PORTS, Power};
use crate::devices::serial::{SERIAL_GSI, SERIAL_PORTS, SerialPort};
use crate::devices::transcript::Transcript;
use crate::devices::virtio::blk::{
    Access, BlkCounters, Block, BlockOptions, DiskImage, DiskWorker, MAX_QUEUES,
};
use crate::devices::virtio::console::{Console, Written};
use crate::devices::virtio::{NOTIFY_OFFSET, SharedVirtioDevice, VirtioMmio};
use crate::devices::{VirtioSlot, virtio_slots};
use crate::exit::EndSignal;
use crate::kvm::vcpu::Buses;
use crate::kvm::vm::Vm;
use crate::machine::EventLoop;
use crate::memory::GuestRam;

/// Index of the console among the virtio devices.
const CONSOLE: usize = 0;

/// All devices of a machine, wired.
pub(super) struct Devices {
    /// How vCPUs reach them.
    pub buses: Buses,
    /// Takes the guest's output.
    pub console: Arc<Mutex<Console>>,
    /// The copy of that output, if one is wanted.
    pub transcript: Option<Transcript>,
    /// What each disk counts, by the disk's name.
    pub disks: Vec<(String, Arc<BlkCounters>)>,
    /// The disks' threads, which do not run yet.
    pub disk_workers: Vec<DiskWorker>,
    /// The register windows, by the device's name.
    pub transports: Vec<(String, Arc<Mutex<VirtioMmio>>)>,
}

/// Where the virtio devices of `config` are.
pub(super) fn slots(config: &MachineConfig) -> Vec<VirtioSlot> {
    virtio_slots(1 + config.disks.len() as u32)
}

/// Creates the devices of `config` on `vm`, in their `slots`; the console is served by `events`, each disk by a thread of its own, and
/// those that can end the machine report to `end`.
pub(super) fn create(
    config: &MachineConfig,
    vm: &Vm,
    ram: &GuestRam,
    slots: &[VirtioSlot],
    end: &Arc<EndSignal>,
    events: &mut EventLoop,
) -> Result<Devices, BuildError> {
    let mut console = Console::new(duplicate_stdout()?);
    let transcript = config.report.is_some().then(Transcript::default);
    if let Some(transcript) = &transcript {
        console.set_transcript(transcript.clone());
    }
    if let Some(script) = config.sent_script() {
        console.push_input(script.as_bytes());
    }
    let written = console.written();
    let console = Arc::new(Mutex::new(console));
    let mut disks = Vec::with_capacity(config.disks.len());
    let mut virtio: Vec<(String, SharedVirtioDevice)> = vec![(String::from("console"), console.clone())];
    let queues = u16::from(config.topology.cpu_count()).min(MAX_QUEUES);
    for disk in &config.disks {
        let block = open_disk(disk, queues)?;
        disks.push((disk.id.clone(), block.counters()));
        virtio.push((disk.id.clone(), Arc::new(Mutex::new(block))));
    }
    let ram = Arc::new(ram.clone());
    let mut buses = Buses { pio: port_bus(vm, end, written, transcript.clone())?, mmio: Bus::new() };
    let mut transports = Vec::with_capacity(virtio.len());
    let mut disk_workers = Vec::with_capacity(disks.len());
    for (index, (slot, (name, device))) in slots.iter().zip(virtio).enumerate() {
        let transport = attach(vm, &ram, *slot, device)?;
        match index {
            CONSOLE => drop(events.add_subscriber(Box::new(transport.events()))),
            _ => disk_workers.push(DiskWorker::new(&name, transport.events(), Arc::clone(end))),
        }
        let transport = Arc::new(Mutex::new(transport));
        buses.mmio.insert(slot.base, VIRTIO_MMIO_SIZE, transport.clone())?;
        transports.push((name, transport));
    }
    Ok(Devices { buses, console, transcript, disks, disk_workers, transports })
}

/// Connects `device` to the kernel, behind a register window for `slot`.
fn attach(
    vm: &Vm,
    ram: &Arc<GuestRam>,
    slot: VirtioSlot,
    device: SharedVirtioDevice,
) -> Result<VirtioMmio, BuildError> {
    let interrupt = EventFd::new(EFD_NONBLOCK).map_err(BuildError::Events)?;
    vm.register_irq(&interrupt, slot.gsi)?;
    let transport = VirtioMmio::new(device, Arc::clone(ram), interrupt).map_err(BuildError::Events)?;
    for (queue, event) in (0..).zip(transport.queue_events()) {
        vm.register_mmio_event(event, slot.base + NOTIFY_OFFSET, queue)?;
    }
    Ok(transport)
}

fn duplicate_stdout() -> Result<File, BuildError> {
    let descriptor = io::stdout().as_fd().try_clone_to_owned().map_err(BuildError::Output)?;
    Ok(File::from(descriptor))
}

fn open_disk(disk: &DiskConfig, queues: u16) -> Result<Block, BuildError> {
    let access = if disk.read_only { Access::ReadOnly } else { Access::ReadWrite };
    let image = match &disk.source {
        DiskSource::Temporary(size) => DiskImage::temporary(*size)?,
        DiskSource::TemporarySwap(size) => DiskImage::temporary_swap(*size)?,
        DiskSource::Image(path) => DiskImage::open(path, access)?,
    };
    let options =
        BlockOptions { id: disk.id.clone(), queues, engine: disk.engine, faults: disk.faults.clone() };
    Ok(Block::with_options(image.with_cache(disk.cache)?, options)?)
}

fn port_bus(
    vm: &Vm,
    end: &Arc<EndSignal>,
    console: Written,
    transcript: Option<Transcript>,
) -> Result<Bus, BuildError> {
    let interrupt = EventFd::new(EFD_NONBLOCK).map_err(BuildError::Events)?;
    vm.register_irq(&interrupt, SERIAL_GSI)?;
    let output = Output::new(duplicate_stdout()?, end.clone(), console, transcript);
    let serial = SerialPort::new(interrupt, output);
    let mut bus = Bus::new();
    bus.insert(COM1_PORT.into(), SERIAL_PORTS, Arc::new(Mutex::new(serial)))?;
    bus.insert(DEBUG_EXIT_PORT.into(), DEBUG_EXIT_PORTS, Arc::new(Mutex::new(DebugExit::new(end.clone()))))?;
    bus.insert(ACPI_SLEEP_PORT.into(), POWER_PORTS, Arc::new(Mutex::new(Power::new(end.clone()))))?;
    bus.insert(I8042_BASE, I8042_PORTS, Arc::new(Mutex::new(I8042::new(end.clone()))))?;
    Ok(bus)
}
