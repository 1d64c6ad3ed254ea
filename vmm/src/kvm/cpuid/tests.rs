//! Ids and topology, without KVM.

use super::*;

fn entry(function: u32) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 { function, eax: 7, ebx: u32::MAX, ..Default::default() }
}

#[test]
fn each_vcpu_sees_its_own_apic_id() {
    let template =
        CpuId::from_entries(&[entry(1), smt_level(), core_level(6), entry(0x1f), entry(0x8000_001e)])
            .unwrap();
    for index in [0, 5, 200] {
        let cpuid = for_vcpu(&template, index);
        let entries = cpuid.as_slice();
        let id = u32::from(index);
        assert_eq!(entries[0].ebx, id << 24 | 0x00ff_ffff);
        assert!(entries[1..4].iter().all(|e| e.edx == id));
        assert_eq!(entries[4].eax, id);
    }
}

#[test]
fn the_core_level_spans_all_vcpus() {
    for (cpus, shift) in [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (64, 6), (65, 7)] {
        let level = core_level(cpus);
        assert_eq!((level.eax, level.ebx, level.ecx), (shift, u32::from(cpus), 0x201));
    }
    assert_eq!((smt_level().eax, smt_level().ebx, smt_level().ecx), (0, 1, 0x100));
}
