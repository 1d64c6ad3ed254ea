//! The VM: memslots, interrupt controllers, halt polling.
//!
//! Owns: the order of set-up. Memslots come before the interrupt chips: the first one after them costs
//! 5 to 7 ms instead of 0.2 ms, because KVM then waits for an SRCU grace period.
//! Stays outside: vCPUs (`kvm::vcpu`), the memory itself (`memory`).
//! Invariants: the RAM behind the memslots lives at least as long as this value.

use kvm_bindings::{
    KVM_CAP_HALT_POLL, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_enable_cap, kvm_irqchip,
    kvm_userspace_memory_region,
};
use kvm_ioctls::{IoEventAddress, Kvm, VcpuFd, VmFd};
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};
use vmm_sys_util::eventfd::EventFd;

use super::KvmError;
use crate::memory::GuestRam;
use crate::timing::Phases;

/// Where KVM may put the three pages it needs on Intel hosts without unrestricted guests; just below
/// the BIOS range at the end of 4 GiB, where no device and no RAM lies.
const TSS_ADDRESS: usize = 0xfffb_d000;
/// The page before them, for the same hosts.
const IDENTITY_MAP_ADDRESS: u64 = 0xfffb_c000;
/// A halted vCPU polls this long before it sleeps: wake-ups take 20 µs instead of 100 µs.
const HALT_POLL_NS: u64 = 1_000_000;

/// A VM with its RAM and interrupt controllers.
pub struct Vm {
    fd: VmFd,
    /// Keeps the memory behind the memslots mapped.
    _ram: GuestRam,
}

impl Vm {
    /// Creates a VM on `kvm` whose memory is `ram`, one memslot per region. The cost of memslots grows with
    /// the memory, so they are a phase of their own in `phases`.
    pub fn new(kvm: &Kvm, ram: &GuestRam, phases: &mut Phases) -> Result<Self, KvmError> {
        let fd = kvm.create_vm().map_err(KvmError::setup("create a VM"))?;
        phases.mark("vm");
        for (slot, region) in (0..).zip(ram.iter()) {
            let memslot = kvm_userspace_memory_region {
                slot,
                flags: 0,
                guest_phys_addr: region.start_addr().0,
                memory_size: region.len(),
                userspace_addr: region.host_address(),
            };
            // SAFETY: the region is mapped for as long as `ram` lives, of which this value keeps a
            // clone; regions of one collection do not overlap.
            unsafe { fd.set_user_memory_region(memslot) }.map_err(KvmError::setup("map guest RAM"))?;
        }
        phases.mark("memslots");
        fd.set_identity_map_address(IDENTITY_MAP_ADDRESS).map_err(KvmError::setup("place its page table"))?;
        fd.set_tss_address(TSS_ADDRESS).map_err(KvmError::setup("place its task state segment"))?;
        fd.create_irq_chip().map_err(KvmError::setup("create interrupt controllers"))?;
        mask_pics(&fd)?;
        let mut poll = kvm_enable_cap { cap: KVM_CAP_HALT_POLL, ..Default::default() };
        poll.args[0] = HALT_POLL_NS;
        // Only speed depends on it, and old hosts do not have it.
        let _ = fd.enable_cap(&poll);
        Ok(Self { fd, _ram: ram.clone() })
    }

    /// The VM's descriptor, for its counters.
    pub(crate) fn fd(&self) -> &VmFd {
        &self.fd
    }

    /// Creates the vCPU with this APIC id.
    pub fn create_vcpu(&self, apic_id: u8) -> Result<VcpuFd, KvmError> {
        self.fd.create_vcpu(apic_id.into()).map_err(KvmError::setup("create a vCPU"))
    }

    /// Lets a write to `event` raise the interrupt `gsi`, as an edge.
    pub fn register_irq(&self, event: &EventFd, gsi: u32) -> Result<(), KvmError> {
        self.fd.register_irqfd(event, gsi).map_err(KvmError::setup("connect an interrupt"))
    }

    /// Lets a 32-bit guest write of `value` to guest-physical `address` signal `event` without leaving
    /// the kernel.
    pub fn register_mmio_event(&self, event: &EventFd, address: u64, value: u32) -> Result<(), KvmError> {
        self.fd
            .register_ioevent(event, &IoEventAddress::Mmio(address), value)
            .map_err(KvmError::setup("connect a queue notification"))
    }
}

/// Masks every input of the two 8259s, as firmware leaves them. They share their inputs with the I/O
/// APIC, and unmasked they deliver device interrupts as vectors 0 to 15, which are exceptions.
fn mask_pics(fd: &VmFd) -> Result<(), KvmError> {
    for chip_id in [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE] {
        let mut chip = kvm_irqchip { chip_id, ..Default::default() };
        fd.get_irqchip(&mut chip).map_err(KvmError::setup("show an interrupt controller"))?;
        chip.chip.pic.imr = 0xff;
        fd.set_irqchip(&chip).map_err(KvmError::setup("mask an interrupt controller"))?;
    }
    Ok(())
}
