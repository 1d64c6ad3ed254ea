//! What CPUID tells the vCPUs.
//!
//! Owns: APIC ids and topology per vCPU, the timing leaf of the hypervisor range, and the feature bits that KVM
//! leaves to its user: that there is a hypervisor, and the TSC deadline timer.
//! Stays outside: all other feature bits, which stay as KVM offers them.
//! Source: Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E; the timing leaf 0x40000010 is the one VMware and Linux use.

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::{Cap, Kvm};

use super::KvmError;
use crate::config::apic::ApicPlace;

/// Leaf with the highest hypervisor leaf and the hypervisor's name.
const HYPERVISOR_BASE: u32 = 0x4000_0000;
/// Timing information: eax = TSC kHz, ebx = APIC bus kHz.
const HYPERVISOR_TIMING: u32 = 0x4000_0010;
/// KVM clocks the local APIC timer with 1 GHz.
const APIC_BUS_KHZ: u32 = 1_000_000;

/// Bits of ecx of leaf 1.
const TSC_DEADLINE: u32 = 1 << 24;
const HYPERVISOR: u32 = 1 << 31;

/// How AMD's name begins, in ebx of leaf 0.
const AMD_VENDOR: u32 = u32::from_le_bytes(*b"Auth");
/// In ecx of AMD's features: the ids of a package are cores, not threads of one core.
const CORES_NOT_THREADS: u32 = 1 << 1;

/// Topology leaves: Intel's first and second, AMD's extended one.
const TOPOLOGY: u32 = 0xb;
const TOPOLOGY_V2: u32 = 0x1f;
const AMD_TOPOLOGY_V2: u32 = 0x8000_0026;
/// Leaves we make, or leave out because they would tell of the host.
const OWN_LEAVES: [u32; 4] = [TOPOLOGY, TOPOLOGY_V2, AMD_TOPOLOGY_V2, HYPERVISOR_TIMING];
/// Leaves with topology among other things.
const INTEL_CACHES: u32 = 0x4;
const AMD_FEATURES: u32 = 0x8000_0001;
const AMD_SIZES: u32 = 0x8000_0008;
const AMD_CACHES: u32 = 0x8000_001d;
const AMD_TOPOLOGY: u32 = 0x8000_001e;
/// The level that cores share.
const LAST_CACHE_LEVEL: u32 = 3;

/// Level types of leaf 0xb.
const LEVEL_SMT: u32 = 1;
const LEVEL_CORE: u32 = 2;

/// What all vCPUs of a machine share; `tsc_khz` is the guest's TSC frequency.
pub fn template(kvm: &Kvm, tsc_khz: u32) -> Result<CpuId, KvmError> {
    let mut cpuid =
        kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(KvmError::setup("list CPU features"))?;
    cpuid.retain(|entry| !OWN_LEAVES.contains(&entry.function));
    let deadline = if kvm.check_extension(Cap::TscDeadlineTimer) { TSC_DEADLINE } else { 0 };
    for entry in cpuid.as_mut_slice() {
        match entry.function {
            0x0 => entry.eax = entry.eax.max(TOPOLOGY),
            0x1 => entry.ecx |= HYPERVISOR | deadline,
            HYPERVISOR_BASE => entry.eax = entry.eax.max(HYPERVISOR_TIMING),
            _ => {}
        }
    }
    push(&mut cpuid, timing(tsc_khz))?;
    Ok(cpuid)
}

/// `template` with what a vCPU at `place` says of itself and its package.
pub fn for_vcpu(template: &CpuId, place: ApicPlace) -> Result<CpuId, KvmError> {
    let mut cpuid = template.clone();
    let id = u32::from(place.id);
    let is_amd = cpuid.as_slice().iter().any(|entry| entry.function == 0 && entry.ebx == AMD_VENDOR);
    for entry in cpuid.as_mut_slice() {
        match entry.function {
            // Ids per package; the flag that says the field counts.
            0x1 => {
                entry.ebx = entry.ebx & 0xffff | 1 << place.core_bits << 16 | id << 24;
                entry.edx = entry.edx & !(1 << 28) | u32::from(place.core_bits > 0) << 28;
            }
            INTEL_CACHES => {
                let cores = (1 << place.core_bits) - 1;
                entry.eax = entry.eax & 0x3fff | sharers(entry.eax, place) << 14 | cores << 26;
            }
            AMD_CACHES => entry.eax = entry.eax & !(0xfff << 14) | sharers(entry.eax, place) << 14,
            // A host with one CPU has it off.
            AMD_FEATURES if is_amd => {
                entry.ecx &= !CORES_NOT_THREADS;
                if place.core_bits > 0 {
                    entry.ecx |= CORES_NOT_THREADS;
                }
            }
            AMD_SIZES => {
                let cores = u32::from(place.cores) - 1;
                entry.ecx = entry.ecx & !0xf0ff | cores | place.core_bits << 12;
            }
            AMD_TOPOLOGY => {
                (entry.eax, entry.ebx, entry.ecx) = (id, place.core().into(), place.package().into());
            }
            _ => {}
        }
    }
    push(&mut cpuid, level(0, 0, 1, LEVEL_SMT, id))?;
    push(&mut cpuid, level(1, place.core_bits, place.cores.into(), LEVEL_CORE, id))?;
    Ok(cpuid)
}

/// How many ids share the cache that `eax` of a cache leaf describes, less one: a package has one last cache.
fn sharers(eax: u32, place: ApicPlace) -> u32 {
    if eax >> 5 & 7 == LAST_CACHE_LEVEL { (1 << place.core_bits) - 1 } else { 0 }
}

fn push(cpuid: &mut CpuId, entry: kvm_cpuid_entry2) -> Result<(), KvmError> {
    cpuid
        .push(entry)
        .map_err(|_| KvmError::setup("take so many CPUID leaves")(kvm_ioctls::Error::new(libc::E2BIG)))
}

/// A level of the topology leaf; one thread is a core.
fn level(index: u32, shift: u32, processors: u32, kind: u32, id: u32) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 {
        function: TOPOLOGY,
        index,
        flags: kvm_bindings::KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
        eax: shift,
        ebx: processors,
        ecx: kind << 8 | index,
        edx: id,
        ..Default::default()
    }
}

fn timing(tsc_khz: u32) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 { function: HYPERVISOR_TIMING, eax: tsc_khz, ebx: APIC_BUS_KHZ, ..Default::default() }
}

#[cfg(test)]
mod tests;
