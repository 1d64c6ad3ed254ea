//! Assembles a machine on KVM, in one direction: memory, VM, devices, boot data, vCPUs.
//!
//! Owns: which device sits where, and the order of set-up.
//! Stays outside: what the parts do; running the machine (`run`).
//! Invariants: a [`Machine`] is complete, and no vCPU has run yet.

use std::io;
use std::sync::{Arc, Mutex};

use event_manager::{EventManager, MutEventSubscriber};
use kvm_ioctls::Kvm;
use shared::layout::{COM1_PORT, DEBUG_EXIT_PORT};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::acpi::{self, AcpiError};
use crate::boot::cmdline;
use crate::boot::e820::e820_map;
use crate::boot::pvh::{self, PvhError};
use crate::config::MachineConfig;
use crate::devices::bus::{Bus, BusError};
use crate::devices::debug_exit::{DEBUG_EXIT_PORTS, DebugExit};
use crate::devices::i8042::{I8042, I8042_BASE, I8042_PORTS};
use crate::devices::output::Output;
use crate::devices::serial::{SERIAL_GSI, SERIAL_PORTS, SerialPort};
use crate::devices::virtio_slots;
use crate::exit::EndSignal;
use crate::kernel::Kernel;
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
    /// File descriptors ran out.
    #[error("cannot create an event descriptor; raise the limit on open files (ulimit -n)")]
    Events(#[source] io::Error),
    /// The event loop.
    #[error("cannot create the event loop: {0}")]
    EventLoop(String),
}

/// The event loop of the main thread.
pub type EventLoop = EventManager<Box<dyn MutEventSubscriber>>;

/// A machine that is ready to run.
pub struct Machine {
    /// Must outlive the vCPUs: closing it ends the VM.
    pub(crate) vm: Vm,
    /// The boot processor first.
    pub(crate) vcpus: Vec<Vcpu>,
    /// Serves the devices.
    pub(crate) events: EventLoop,
    /// Raised when the machine ends.
    pub(crate) end: Arc<EndSignal>,
    /// Guest memory, readable by the host at any time.
    pub(crate) ram: GuestRam,
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
    let events = EventLoop::new().map_err(|error| BuildError::EventLoop(error.to_string()))?;
    let buses = Arc::new(Buses { pio: port_bus(&vm, &end)?, mmio: Bus::new() });
    phases.mark("devices");
    let entry = loader::load(&ram, kernel.name(), kernel.bytes())?;
    phases.mark("kernel");
    let slots = virtio_slots(0);
    let tables = acpi::build(&config.topology, &ranges, &slots)?;
    pvh::write(&ram, &cmdline::with_devices(&config.cmdline, &slots), &e820_map(&ranges), &tables)?;
    phases.mark("boot_data");
    let vcpus = create_vcpus(config, kvm, &vm, entry, &buses, &end)?;
    phases.mark("vcpus");
    Ok(Machine { vm, vcpus, events, end, ram })
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
