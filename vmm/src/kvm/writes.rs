//! Device register writes that KVM collects instead of stopping the vCPU for each (coalesced MMIO).
//!
//! Setting a virtio device up takes some 25 register writes that have no effect until the driver sets the
//! device's status. Each would cost an exit, 30 to 50 us on software KVM; collected they cost 4 us, and are
//! delivered, in order, before the next access that does exit.
//! Owns: which registers are collected, and the delivery. Stays outside: what a write means.
//! Invariants: one thread at a time delivers; the registers whose writes act at once (status, notification,
//! interrupt acknowledgement) are never collected, so nothing that acts overtakes what it depends on.
//! Source: Linux `Documentation/virt/kvm/api.rst`, KVM_REGISTER_COALESCED_MMIO.

use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::{Mutex, PoisonError};

use kvm_ioctls::{Cap, IoEventAddress, Kvm, VcpuFd, VmFd};

use super::KvmError;
use crate::devices::bus::Bus;

/// Register windows of a virtio-mmio device whose writes only prepare: feature words and queue selection;
/// queue addresses. Between them lie notification, acknowledgement and status.
const PREPARING: [Range<u64>; 2] = [0x14..0x50, 0x80..0xb0];

/// The writes KVM has collected for a machine.
pub struct CollectedWrites {
    /// A second handle of the boot vCPU, which shows the ring; `None` where KVM cannot collect.
    ring: Mutex<Option<VcpuFd>>,
}

impl CollectedWrites {
    /// Starts collecting the preparing writes of the virtio devices at `bases`. `vcpu` is any vCPU of `vm`.
    pub fn register(
        kvm: &Kvm,
        vm: &VmFd,
        vcpu: &VcpuFd,
        bases: impl Iterator<Item = u64>,
    ) -> Result<Self, KvmError> {
        if !kvm.check_extension(Cap::CoalescedMmio) {
            return Ok(Self { ring: Mutex::new(None) });
        }
        // SAFETY: duplicates an open descriptor; the result is checked.
        let fd = unsafe { libc::fcntl(vcpu.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 0) };
        if fd < 0 {
            return Err(KvmError::setup("show collected writes")(kvm_ioctls::Error::last()));
        }
        // SAFETY: `fd` is a vCPU descriptor of this VM that nobody else owns.
        let mut ring =
            unsafe { vm.create_vcpu_from_rawfd(fd) }.map_err(KvmError::setup("show collected writes"))?;
        ring.map_coalesced_mmio_ring().map_err(KvmError::setup("show collected writes"))?;
        for base in bases {
            for window in PREPARING {
                let size = (window.end - window.start) as u32;
                vm.register_coalesced_mmio(IoEventAddress::Mmio(base + window.start), size)
                    .map_err(KvmError::setup("collect register writes"))?;
            }
        }
        Ok(Self { ring: Mutex::new(Some(ring)) })
    }

    /// Delivers what has been collected, before anything that came later.
    pub fn deliver(&self, bus: &Bus) {
        let mut guard = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(ring) = guard.as_mut() else { return };
        while let Ok(Some(write)) = ring.coalesced_mmio_read() {
            if let Some(data) = write.data.get(..write.len as usize) {
                bus.write(write.phys_addr, data);
            }
        }
    }
}
