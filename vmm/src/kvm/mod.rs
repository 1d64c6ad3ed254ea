//! The KVM side of a machine: the VM, its vCPUs, their registers and CPUID.

pub mod cpuid;
pub mod exits;
pub mod regs;
pub mod stats;
pub mod vcpu;
pub mod vm;
pub mod writes;

use std::io;

/// What failed while a VM was set up on KVM.
#[derive(Debug, thiserror::Error)]
pub enum KvmError {
    /// `/dev/kvm` cannot be opened.
    #[error("cannot open /dev/kvm; load the kvm module, ask for access to the device, or use --accel tcg")]
    Open(#[source] io::Error),
    /// One of the set-up calls failed.
    #[error("KVM refused to {action}")]
    Setup {
        /// What was asked for, as "to ..." goes on.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl KvmError {
    /// Wraps the error of a set-up call that should have done `action`.
    pub(crate) fn setup(action: &'static str) -> impl Fn(kvm_ioctls::Error) -> Self {
        move |error| Self::Setup { action, source: io::Error::from_raw_os_error(error.errno()) }
    }
}
