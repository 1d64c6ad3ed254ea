//! What CPUID tells the vCPUs.
//!
//! Owns: APIC ids and topology per vCPU, and the timing leaf of the hypervisor range.
//! Stays outside: feature bits, which stay as KVM offers them.
//! Source: Intel SDM volume 2, CPUID; the timing leaf 0x40000010 is the one VMware and Linux use.

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::Kvm;

use super::KvmError;

/// Leaf with the highest hypervisor leaf and the hypervisor's name.
const HYPERVISOR_BASE: u32 = 0x4000_0000;
/// Timing information: eax = TSC kHz, ebx = APIC bus kHz.
const HYPERVISOR_TIMING: u32 = 0x4000_0010;
/// KVM clocks the local APIC timer with 1 GHz.
const APIC_BUS_KHZ: u32 = 1_000_000;

/// Level types of leaf 0xb.
const LEVEL_SMT: u32 = 1;
const LEVEL_CORE: u32 = 2;

/// What all vCPUs of a machine with `cpus` vCPUs share; `tsc_khz` is the guest's TSC frequency.
pub fn template(kvm: &Kvm, cpus: u8, tsc_khz: u32) -> Result<CpuId, KvmError> {
    let mut cpuid =
        kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(KvmError::setup("list CPU features"))?;
    cpuid.retain(|entry| entry.function != 0xb && entry.function != HYPERVISOR_TIMING);
    for entry in cpuid.as_mut_slice() {
        match entry.function {
            0x0 => entry.eax = entry.eax.max(0xb),
            // Logical processors per package; the flag that says the field counts.
            0x1 => {
                entry.ebx = entry.ebx & 0xff00_ffff | u32::from(cpus) << 16;
                entry.edx |= u32::from(cpus > 1) << 28;
            }
            HYPERVISOR_BASE => entry.eax = entry.eax.max(HYPERVISOR_TIMING),
            _ => {}
        }
    }
    for entry in [smt_level(), core_level(cpus), timing(tsc_khz)] {
        let added = cpuid.push(entry);
        added
            .map_err(|_| KvmError::setup("take so many CPUID leaves")(kvm_ioctls::Error::new(libc::E2BIG)))?;
    }
    Ok(cpuid)
}

/// `template` with the ids of the vCPU `index`, whose APIC id is its index.
pub fn for_vcpu(template: &CpuId, index: u8) -> CpuId {
    let mut cpuid = template.clone();
    let id = u32::from(index);
    for entry in cpuid.as_mut_slice() {
        match entry.function {
            0x1 => entry.ebx = entry.ebx & 0x00ff_ffff | id << 24,
            0xb | 0x1f => entry.edx = id,
            0x8000_001e => entry.eax = id,
            _ => {}
        }
    }
    cpuid
}

/// One thread per core.
fn smt_level() -> kvm_cpuid_entry2 {
    topology_level(0, 0, 1, LEVEL_SMT)
}

/// All vCPUs in one package.
fn core_level(cpus: u8) -> kvm_cpuid_entry2 {
    let shift = u32::from(cpus).next_power_of_two().ilog2();
    topology_level(1, shift, cpus.into(), LEVEL_CORE)
}

fn topology_level(index: u32, shift: u32, processors: u32, kind: u32) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 {
        function: 0xb,
        index,
        flags: kvm_bindings::KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
        eax: shift,
        ebx: processors,
        ecx: kind << 8 | index,
        ..Default::default()
    }
}

fn timing(tsc_khz: u32) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 { function: HYPERVISOR_TIMING, eax: tsc_khz, ebx: APIC_BUS_KHZ, ..Default::default() }
}

#[cfg(test)]
mod tests;
