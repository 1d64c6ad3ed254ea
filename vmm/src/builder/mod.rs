//! Assembles a machine on KVM, in one direction: memory, VM, devices, boot data, vCPUs.
//!
//! Owns: the order of set-up. Stays outside: what the parts do; which device sits where (`devices`);
//! running the machine (`run`).
//! Invariants: a [`Machine`] is complete, and no vCPU has run yet.

mod devices;
mod error;

use std::sync::Arc;

use kvm_ioctls::Kvm;

pub use error::BuildError;

use crate::acpi;
use crate::boot::e820::e820_map;
use crate::boot::{cmdline, pvh};
use crate::config::MachineConfig;
use crate::exit::EndSignal;
use crate::kernel::Kernel;
use crate::kvm::vcpu::{Buses, Vcpu};
use crate::kvm::vm::Vm;
use crate::kvm::writes::CollectedWrites;
use crate::kvm::{KvmError, cpuid, regs};
use crate::loader;
use crate::machine::{EventLoop, Machine};
use crate::memory::{self, layout};
use crate::timing::Phases;

/// Builds the machine `config` describes, with `kernel`, on `kvm`. The phases of the work are marked in
/// `phases`.
pub fn build(
    config: &MachineConfig,
    kernel: &Kernel,
    kvm: &Kvm,
    phases: &mut Phases,
) -> Result<Machine, BuildError> {
    let ranges = layout::ram_ranges(config.topology.nodes());
    let ram = memory::allocate(&ranges, config.pages, config.prefault)?;
    phases.mark("memory");
    let vm = Vm::new(kvm, &ram, phases)?;
    phases.mark("irqchip");
    let end = Arc::new(EndSignal::new().map_err(BuildError::Events)?);
    let mut events = EventLoop::new().map_err(|error| BuildError::EventLoop(error.to_string()))?;
    let devices = devices::create(config, &vm, &ram, &end, &mut events)?;
    phases.mark("devices");
    loader::load(&ram, kernel)?;
    phases.mark("kernel");
    let tables = acpi::build(&config.topology, &ranges, &devices.slots)?;
    pvh::write(&ram, &cmdline::with_devices(&config.cmdline, &devices.slots), &e820_map(&ranges), &tables)?;
    phases.mark("boot_data");
    let bases = devices.slots.iter().map(|slot| slot.base);
    let vcpus = create_vcpus(config, kvm, &vm, kernel.entry(), bases, &Arc::new(devices.buses), &end)?;
    phases.mark("vcpus");
    let devices::Devices { console, disks, disk_workers, transports, .. } = devices;
    Ok(Machine { vm, vcpus, events, console, disks, disk_workers, transports, end, ram })
}

fn create_vcpus(
    config: &MachineConfig,
    kvm: &Kvm,
    vm: &Vm,
    entry: u64,
    device_bases: impl Iterator<Item = u64>,
    buses: &Arc<Buses>,
    end: &Arc<EndSignal>,
) -> Result<Vec<Vcpu>, BuildError> {
    let count = config.topology.cpu_count();
    let fds = (0..count).map(|index| vm.create_vcpu(index)).collect::<Result<Vec<_>, _>>()?;
    let Some(boot_cpu) = fds.first() else { return Ok(Vec::new()) };
    let tsc_khz = boot_cpu.get_tsc_khz().map_err(KvmError::setup("tell the TSC frequency"))?;
    let template = cpuid::template(kvm, count, tsc_khz)?;
    regs::set_pvh_entry(boot_cpu, entry)?;
    let writes = Arc::new(CollectedWrites::register(kvm, vm.fd(), boot_cpu, device_bases)?);
    let mut vcpus = Vec::with_capacity(fds.len());
    for (index, fd) in (0..).zip(fds) {
        let cpuid = cpuid::for_vcpu(&template, index);
        vcpus.push(Vcpu::new(index, fd, cpuid, Arc::clone(buses), Arc::clone(&writes), Arc::clone(end)));
    }
    Ok(vcpus)
}
