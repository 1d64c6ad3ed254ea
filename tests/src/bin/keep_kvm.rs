//! Keeps KVM's own switches where they are, for `cargo xtask hwkvm`.
//!
//! KVM rewrites instructions of the running kernel when the first VM comes and the last one goes, and the same for
//! virtual CPUs without a local APIC or with one that is off. QEMU before 8.2 may go on executing the instruction from
//! before such a change (ADR 0005). This holds one of each kind until it is killed, so that no test is the first or
//! the last, and says when it does.

use std::process::ExitCode;

use kvm_ioctls::{Kvm, VcpuFd, VmFd};

fn main() -> ExitCode {
    match hold() {
        Ok(_held) => {
            println!("held");
            loop {
                std::thread::park();
            }
        }
        Err(error) => {
            eprintln!("keep_kvm: {error}; is /dev/kvm there?");
            ExitCode::FAILURE
        }
    }
}

/// A virtual CPU without a local APIC, and one with one that nobody turns on.
fn hold() -> Result<[(VmFd, VcpuFd); 2], kvm_ioctls::Error> {
    let kvm = Kvm::new()?;
    let (without, with) = (kvm.create_vm()?, kvm.create_vm()?);
    with.create_irq_chip()?;
    let cpus = (without.create_vcpu(0)?, with.create_vcpu(0)?);
    Ok([(without, cpus.0), (with, cpus.1)])
}
