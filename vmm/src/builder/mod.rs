//! Assembles a machine on KVM, in one direction: memory, VM, devices, vCPUs. Meanwhile the thread of the boot CPU puts
//! into memory what that will find there.
//!
//! Owns: the order of set-up. Stays outside: what the parts do; which device sits where (`devices`);
//! running the machine (`run`).
//! Invariants: a [`Machine`] is complete, and no vCPU has run yet.

mod contents;
mod devices;
mod error;

use std::io;
use std::sync::Arc;

use kvm_ioctls::Kvm;

use contents::Contents;
pub use error::BuildError;

use crate::config::{MachineConfig, apic};
use crate::exit::EndSignal;
use crate::kernel::Kernel;
use crate::kvm::exits::ExitCounters;
use crate::kvm::vcpu::{Buses, Shared, Vcpu};
use crate::kvm::vm::Vm;
use crate::kvm::writes::CollectedWrites;
use crate::kvm::{KvmError, cpuid, regs};
use crate::machine::{EventLoop, Machine};
use crate::memory::{self, layout};
use crate::timing::Phases;

/// Index of the vCPU that the firmware would start.
const BOOT_CPU: u8 = 0;

/// Builds the machine `config` describes, with `kernel`, on `kvm`. The phases of the work are marked in
/// `phases`.
pub fn build(
    config: &MachineConfig,
    kernel: Kernel,
    kvm: &Kvm,
    phases: &mut Phases,
) -> Result<Machine, BuildError> {
    let ranges = layout::ram_ranges(config.topology.nodes());
    let ram = memory::allocate(&ranges, config.pages, config.prefault)?;
    phases.mark("memory");
    let slots = devices::slots(config);
    let contents = Contents::new(config, &slots, kernel, ranges, ram.clone());
    let (thread, entry) = contents.write_beside(Vcpu::thread(BOOT_CPU)).map_err(BuildError::Thread)?;
    phases.mark("boot_thread");
    let vm = Vm::new(kvm, &ram, phases)?;
    phases.mark("irqchip");
    let end = Arc::new(EndSignal::new().map_err(BuildError::Events)?);
    let mut events = EventLoop::new().map_err(|error| BuildError::EventLoop(error.to_string()))?;
    let devices = devices::create(config, &vm, &ram, &slots, &end, &mut events)?;
    phases.mark("devices");
    let bases = slots.iter().map(|slot| slot.base);
    let exits = Arc::new(ExitCounters::default());
    let shared = (&Arc::new(devices.buses), &exits, &end);
    let vcpus = create_vcpus(config, kvm, &vm, bases, shared)?;
    phases.mark("vcpus");
    let entry = entry.recv().map_err(|_| BuildError::Thread(io::Error::other("it panicked")))??;
    if let Some(boot_cpu) = vcpus.first() {
        regs::set_entry(boot_cpu.fd(), entry)?;
    }
    phases.mark("boot_data");
    let devices::Devices { console, transcript, disks, disk_workers, transports, .. } = devices;
    Ok(Machine {
        vm,
        vcpus,
        boot_thread: Some(thread),
        events,
        console,
        transcript,
        disks,
        disk_workers,
        transports,
        exits,
        end,
        ram,
    })
}

fn create_vcpus(
    config: &MachineConfig,
    kvm: &Kvm,
    vm: &Vm,
    device_bases: impl Iterator<Item = u64>,
    (buses, exits, end): (&Arc<Buses>, &Arc<ExitCounters>, &Arc<EndSignal>),
) -> Result<Vec<Vcpu>, BuildError> {
    let places = apic::places(&config.topology);
    let fds = places.iter().map(|place| vm.create_vcpu(place.id)).collect::<Result<Vec<_>, _>>()?;
    let Some(boot_cpu) = fds.first() else { return Ok(Vec::new()) };
    let tsc_khz = boot_cpu.get_tsc_khz().map_err(KvmError::setup("tell the TSC frequency"))?;
    let template = cpuid::template(kvm, tsc_khz)?;
    let writes = Arc::new(CollectedWrites::register(kvm, vm.fd(), boot_cpu, device_bases)?);
    let mut vcpus = Vec::with_capacity(fds.len());
    for (index, (fd, place)) in (0..).zip(fds.into_iter().zip(places)) {
        let cpuid = cpuid::for_vcpu(&template, place)?;
        let shared = Shared {
            buses: Arc::clone(buses),
            writes: Arc::clone(&writes),
            exits: Arc::clone(exits),
            end: Arc::clone(end),
        };
        vcpus.push(Vcpu::new(index, fd, cpuid, shared));
    }
    Ok(vcpus)
}
