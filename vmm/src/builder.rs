//! Assembles a machine on KVM, in one direction: memory, VM, devices, boot data, vCPUs.
//!
//! Owns: which device sits where, and the order of set-up. The console is virtio device 0, the disks
//! follow in their order.
//! Stays outside: what the parts do; running the machine (`run`).
//! Invariants: a [`Machine`] is complete, and no vCPU has run yet.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use event_manager::{EventManager, MutEventSubscriber, SubscriberOps};
use kvm_ioctls::Kvm;
use shared::exit::ExitStatus;
use shared::layout::{COM1_PORT, DEBUG_EXIT_PORT, VIRTIO_MMIO_SIZE};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::acpi::{self, AcpiError};
use crate::boot::cmdline;
use crate::boot::e820::e820_map;
use crate::boot::pvh::{self, PvhError};
use crate::config::{DiskConfig, DiskSource, MachineConfig};
use crate::devices::bus::{Bus, BusError};
use crate::devices::debug_exit::{DEBUG_EXIT_PORTS, DebugExit};
use crate::devices::i8042::{I8042, I8042_BASE, I8042_PORTS};
use crate::devices::output::Output;
use crate::devices::serial::{SERIAL_GSI, SERIAL_PORTS, SerialPort};
use crate::devices::virtio::blk::{Access, Block, DiskError, DiskImage, IdTooLong};
use crate::devices::virtio::console::Console;
use crate::devices::virtio::{NOTIFY_OFFSET, SharedVirtioDevice, VirtioMmio};
use crate::devices::{VirtioSlot, virtio_slots};
use crate::exit::EndSignal;
use crate::kernel::Kernel;
use crate::kvm::stats::KvmStats;
use crate::kvm::vcpu::{Buses, Vcpu};
use crate::kvm::vm::Vm;
use crate::kvm::{KvmError, cpuid, regs};
use crate::loader::{self, LoadError};
use crate::memory::{self, GuestRam, MemoryError, layout};
use crate::timing::Phases;

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
    Boot(#[from] PvhError),
    /// A device without a place.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// A disk image.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The name of a disk.
    #[error(transparent)]
    DiskId(#[from] IdTooLong),
    /// The standard output cannot be duplicated for the console.
    #[error("cannot use standard output for the console: {0}; redirect it to /dev/null to run without")]
    Output(#[source] io::Error),
    /// File descriptors ran out.
    #[error("cannot create an event descriptor; raise the limit on open files (ulimit -n)")]
    Events(#[source] io::Error),
    /// The event loop.
    #[error("cannot create the event loop: {0}")]
    EventLoop(String),
}

impl BuildError {
    /// The exit status that tells a mistake of the user from a host that cannot run the machine.
    pub fn status(&self) -> ExitStatus {
        match self {
            Self::Load(_) | Self::Acpi(_) | Self::Boot(_) | Self::Disk(_) | Self::DiskId(_) => {
                ExitStatus::Usage
            }
            Self::Memory(_)
            | Self::Kvm(_)
            | Self::Bus(_)
            | Self::Output(_)
            | Self::Events(_)
            | Self::EventLoop(_) => ExitStatus::HostUnable,
        }
    }
}

/// The event loop of the main thread.
pub type EventLoop = EventManager<Box<dyn MutEventSubscriber>>;

/// KVM's counters of a whole machine.
pub struct Counters {
    vm: KvmStats,
    vcpus: Vec<KvmStats>,
}

impl Counters {
    /// One `kvm.NAME=N` line per counter, those of vCPUs summed up.
    pub fn lines(&self) -> io::Result<String> {
        let mut sums = BTreeMap::new();
        for stats in &self.vcpus {
            for (name, value) in stats.read()? {
                let sum: &mut u64 = sums.entry(format!("kvm.vcpu.{name}")).or_default();
                *sum = sum.wrapping_add(value);
            }
        }
        sums.extend(self.vm.read()?.into_iter().map(|(name, value)| (format!("kvm.vm.{name}"), value)));
        Ok(sums.into_iter().map(|(name, value)| format!("{name}={value}\n")).collect())
    }
}

impl Machine {
    /// Opens KVM's counters of this machine, before it runs. Fails on kernels before 5.14.
    pub fn counters(&self) -> io::Result<Counters> {
        let vcpus =
            self.vcpus.iter().map(|vcpu| KvmStats::open(vcpu.fd())).collect::<io::Result<Vec<_>>>()?;
        Ok(Counters { vm: KvmStats::open(self.vm.fd())?, vcpus })
    }

    /// Guest memory; readable by the host at any time.
    pub fn ram(&self) -> &GuestRam {
        &self.ram
    }
}

/// A machine that is ready to run.
pub struct Machine {
    vm: Vm,
    /// The boot processor first.
    pub(crate) vcpus: Vec<Vcpu>,
    /// Serves the devices.
    pub(crate) events: EventLoop,
    /// Takes the guest's output, and input for it.
    pub(crate) console: Arc<Mutex<Console>>,
    /// Raised when the machine ends.
    pub(crate) end: Arc<EndSignal>,
    ram: GuestRam,
}

/// Builds the machine `config` describes, with `kernel`, on `kvm`.
pub fn build(
    config: &MachineConfig,
    kernel: &Kernel,
    kvm: &Kvm,
    phases: &mut Phases,
) -> Result<Machine, BuildError> {
    let ranges = layout::ram_ranges(config.topology.nodes());
    let ram = memory::allocate(&ranges, config.pages, config.prefault)?;
    phases.mark("memory");
    let vm = Vm::new(kvm, &ram)?;
    phases.mark("vm");
    let end = Arc::new(EndSignal::new().map_err(BuildError::Events)?);
    let mut events = EventLoop::new().map_err(|error| BuildError::EventLoop(error.to_string()))?;
    let pio = port_bus(&vm, &end)?;
    let console = Arc::new(Mutex::new(Console::new(duplicate_stdout()?)));
    let mut virtio: Vec<SharedVirtioDevice> = vec![console.clone()];
    for disk in &config.disks {
        virtio.push(Arc::new(Mutex::new(open_disk(disk)?)));
    }
    let slots = virtio_slots(virtio.len() as u32);
    let shared_ram = Arc::new(ram.clone());
    let mut mmio = Bus::new();
    for (slot, device) in slots.iter().zip(virtio) {
        attach_virtio(&vm, &shared_ram, *slot, device, &mut mmio, &mut events)?;
    }
    phases.mark("devices");
    let entry = loader::load(&ram, kernel.name(), kernel.bytes())?;
    phases.mark("kernel");
    let tables = acpi::build(&config.topology, &ranges, &slots)?;
    pvh::write(&ram, &cmdline::with_devices(&config.cmdline, &slots), &e820_map(&ranges), &tables)?;
    phases.mark("boot_data");
    let vcpus = create_vcpus(config, kvm, &vm, entry, &Arc::new(Buses { pio, mmio }), &end)?;
    phases.mark("vcpus");
    Ok(Machine { vm, vcpus, events, console, end, ram })
}

fn duplicate_stdout() -> Result<File, BuildError> {
    let descriptor = io::stdout().as_fd().try_clone_to_owned().map_err(BuildError::Output)?;
    Ok(File::from(descriptor))
}

fn open_disk(disk: &DiskConfig) -> Result<Block, BuildError> {
    let access = if disk.read_only { Access::ReadOnly } else { Access::ReadWrite };
    let image = match &disk.source {
        DiskSource::Temporary(size) => DiskImage::temporary(*size)?,
        DiskSource::Image(path) => DiskImage::open(path, access)?,
    };
    Ok(Block::new(image, &disk.id)?)
}

/// Puts `device` at `slot`: registers on the bus, notifications and interrupt in the kernel, queues in
/// the event loop.
fn attach_virtio(
    vm: &Vm,
    ram: &Arc<GuestRam>,
    slot: VirtioSlot,
    device: SharedVirtioDevice,
    bus: &mut Bus,
    events: &mut EventLoop,
) -> Result<(), BuildError> {
    let interrupt = EventFd::new(EFD_NONBLOCK).map_err(BuildError::Events)?;
    vm.register_irq(&interrupt, slot.gsi)?;
    let transport = VirtioMmio::new(device, Arc::clone(ram), interrupt).map_err(BuildError::Events)?;
    for (queue, event) in (0..).zip(transport.queue_events()) {
        vm.register_mmio_event(event, slot.base + NOTIFY_OFFSET, queue)?;
    }
    events.add_subscriber(Box::new(transport.events()));
    bus.insert(slot.base, VIRTIO_MMIO_SIZE, Arc::new(Mutex::new(transport)))?;
    Ok(())
}

fn port_bus(vm: &Vm, end: &Arc<EndSignal>) -> Result<Bus, BuildError> {
    let interrupt = EventFd::new(EFD_NONBLOCK).map_err(BuildError::Events)?;
    vm.register_irq(&interrupt, SERIAL_GSI)?;
    let serial = SerialPort::new(interrupt, Output::stdout());
    let mut bus = Bus::new();
    bus.insert(COM1_PORT.into(), SERIAL_PORTS, Arc::new(Mutex::new(serial)))?;
    bus.insert(DEBUG_EXIT_PORT.into(), DEBUG_EXIT_PORTS, Arc::new(Mutex::new(DebugExit::new(end.clone()))))?;
    bus.insert(I8042_BASE, I8042_PORTS, Arc::new(Mutex::new(I8042::new(end.clone()))))?;
    Ok(bus)
}

fn create_vcpus(
    config: &MachineConfig,
    kvm: &Kvm,
    vm: &Vm,
    entry: u64,
    buses: &Arc<Buses>,
    end: &Arc<EndSignal>,
) -> Result<Vec<Vcpu>, BuildError> {
    let count = config.topology.cpu_count();
    let fds = (0..count).map(|index| vm.create_vcpu(index)).collect::<Result<Vec<_>, _>>()?;
    let Some(boot_cpu) = fds.first() else { return Ok(Vec::new()) };
    let tsc_khz = boot_cpu.get_tsc_khz().map_err(KvmError::setup("tell the TSC frequency"))?;
    let template = cpuid::template(kvm, count, tsc_khz)?;
    regs::set_pvh_entry(boot_cpu, entry)?;
    let mut vcpus = Vec::with_capacity(fds.len());
    for (index, fd) in (0..).zip(fds) {
        fd.set_cpuid2(&cpuid::for_vcpu(&template, index)).map_err(KvmError::setup("set CPUID"))?;
        vcpus.push(Vcpu::new(index, fd, Arc::clone(buses), Arc::clone(end)));
    }
    Ok(vcpus)
}
