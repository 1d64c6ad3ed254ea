//! Tells software KVM from hardware KVM by how long an instruction takes in ring 0.
//!
//! Owns: a machine of one vCPU that runs a short loop, and the threshold. It is the measure the guest
//! takes at boot to choose its ring; a module's name would not tell (a nested or patched KVM can carry
//! any).

use std::time::Instant;

use kvm_ioctls::{Kvm, VcpuExit, VcpuFd};
use vm_memory::{Bytes, GuestAddress};

use crate::boot::EntryState;
use crate::kvm::regs;
use crate::kvm::vm::Vm;
use crate::memory::{self, HostPages, RamRange};
use crate::timing::Phases;

/// Where the loop lies.
const CODE: u64 = 0x1000;
/// Rounds of the loop; it executes two instructions per round.
const ROUNDS: u32 = 1000;
/// The loop, 32-bit code: announce, count down, announce; then again, so that the second pass is warm.
#[rustfmt::skip]
const PROGRAM: [u8; 13] = [
    0xe6, 0x10,                   // again: out 0x10, al
    0xb9, 0, 0, 0, 0,             // mov ecx, ROUNDS (filled in)
    0x49,                         // round: dec ecx
    0x75, 0xfd,                   // jnz round
    0x90,                         // nop
    0xeb, 0xf3,                   // jmp again
];
/// Where `ROUNDS` goes in `PROGRAM`.
const ROUNDS_AT: u64 = 3;
/// Above this many nanoseconds per instruction, ring 0 is not run by the CPU. Software KVM takes 700 to
/// 900; hardware KVM takes 1, and a few tens where it is itself emulated. Exits to this process, up to
/// 50 µs, add at most 25.
const THRESHOLD_NS: u64 = 150;
/// Passes before slowness is believed; one takes 1.6 ms on software KVM.
const PASSES: u32 = 5;

/// Who executes ring 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The CPU.
    Hardware,
    /// KVM's instruction emulator.
    Software,
}

impl Kind {
    /// Judges by the time of one instruction.
    pub(super) fn from_ns(ns: u64) -> Self {
        if ns > THRESHOLD_NS { Self::Software } else { Self::Hardware }
    }

    /// The word for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Hardware => "hardware",
            Self::Software => "software",
        }
    }

    /// The ring a guest takes there.
    pub(super) fn ring(self) -> u8 {
        match self {
            Self::Hardware => 0,
            Self::Software => 3,
        }
    }
}

/// Measures one instruction in ring 0, in nanoseconds. An error is a phrase that says what failed.
pub(super) fn ring0_ns(kvm: &Kvm) -> Result<u64, String> {
    let range = RamRange { base: 0, size: memory::layout::RAM_GRANULE, node: 0 };
    let ram = memory::allocate(&[range], HostPages::Small, false).map_err(|error| error.to_string())?;
    ram.write_slice(&PROGRAM, GuestAddress(CODE)).map_err(|error| error.to_string())?;
    ram.write_obj(ROUNDS, GuestAddress(CODE + ROUNDS_AT)).map_err(|error| error.to_string())?;
    let vm = Vm::new(kvm, &ram, &mut Phases::start()).map_err(|error| error.to_string())?;
    let mut vcpu = vm.create_vcpu(0).map_err(|error| error.to_string())?;
    regs::set_entry(&vcpu, EntryState { rip: CODE, rbx: 0, rsi: 0 }).map_err(|error| error.to_string())?;
    for _ in 0..2 {
        run_to_port(&mut vcpu)?;
    }
    fastest(|| {
        let start = Instant::now();
        run_to_port(&mut vcpu)?;
        let instructions = 2 * u128::from(ROUNDS);
        Ok(u64::try_from(start.elapsed().as_nanos() / instructions).unwrap_or(u64::MAX))
    })
}

/// The shortest of a few passes. A fast one is proof and ends the search; a slow one is not, because the host may have
/// run something else meanwhile.
fn fastest(mut pass: impl FnMut() -> Result<u64, String>) -> Result<u64, String> {
    let mut best = u64::MAX;
    for _ in 0..PASSES {
        best = best.min(pass()?);
        if Kind::from_ns(best) == Kind::Hardware {
            break;
        }
    }
    Ok(best)
}

/// Runs the vCPU up to its next announcement.
fn run_to_port(vcpu: &mut VcpuFd) -> Result<(), String> {
    match vcpu.run() {
        Ok(VcpuExit::IoOut(..)) => Ok(()),
        Ok(exit) => Err(format!("KVM stopped with {exit:?}")),
        Err(error) => Err(format!("KVM_RUN: {error}")),
    }
}

#[cfg(test)]
mod tests;
