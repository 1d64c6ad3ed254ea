//! Which accelerator runs the guest.
//!
//! Owns: opening `/dev/kvm`, and the fall-back to TCG. Stays outside: what a host offers in detail
//! (`probe`).

use std::io;

use kvm_ioctls::Kvm;

use crate::cli::Accel;

/// The version of the KVM interface that every kernel since 2.6.22 has.
const KVM_API_VERSION: i32 = 12;

/// What runs the guest.
pub enum Accelerator {
    /// KVM.
    Kvm(Kvm),
    /// QEMU's TCG. The text says why it is not KVM when the user did not ask for TCG.
    Tcg(Option<String>),
}

/// Why KVM cannot be used; a complete line.
#[derive(Debug, thiserror::Error)]
pub enum AccelError {
    /// There is no `/dev/kvm`.
    #[error("this host has no /dev/kvm; load the kvm module or use --accel tcg")]
    Missing,
    /// `/dev/kvm` may not be opened.
    #[error("no permission for /dev/kvm; add yourself to its group (usually kvm) or use --accel tcg")]
    Permission,
    /// Something else is wrong with `/dev/kvm`.
    #[error("cannot use /dev/kvm: {0}; use --accel tcg")]
    Unusable(io::Error),
    /// An interface nobody knows.
    #[error("KVM has the unknown interface version {0}; use --accel tcg")]
    Version(i32),
}

/// Opens what `wanted` asks for.
pub fn open(wanted: Accel) -> Result<Accelerator, AccelError> {
    match wanted {
        Accel::Kvm => open_kvm().map(Accelerator::Kvm),
        Accel::Tcg => Ok(Accelerator::Tcg(None)),
        Accel::Auto => Ok(match open_kvm() {
            Ok(kvm) => Accelerator::Kvm(kvm),
            Err(error) => Accelerator::Tcg(Some(error.to_string())),
        }),
    }
}

/// Opens `/dev/kvm`.
pub fn open_kvm() -> Result<Kvm, AccelError> {
    let kvm = Kvm::new().map_err(|error| match error.errno() {
        libc::ENOENT | libc::ENXIO | libc::ENODEV => AccelError::Missing,
        libc::EACCES | libc::EPERM => AccelError::Permission,
        code => AccelError::Unusable(io::Error::from_raw_os_error(code)),
    })?;
    match kvm.get_api_version() {
        KVM_API_VERSION => Ok(kvm),
        other => Err(AccelError::Version(other)),
    }
}
