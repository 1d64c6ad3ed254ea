//! Ids and topology, and the whole table where this host has KVM.

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

#[test]
fn kvm_takes_the_table_and_a_vcpu_has_it() {
    let Ok(kvm) = crate::accel::open_kvm() else {
        eprintln!("NOT TESTED: this host has no usable /dev/kvm");
        return;
    };
    let vcpu = kvm.create_vm().unwrap().create_vcpu(5).unwrap();
    let template = template(&kvm, 6, 2_000_000).unwrap();
    vcpu.set_cpuid2(&for_vcpu(&template, 5)).unwrap();
    let set = vcpu.get_cpuid2(KVM_MAX_CPUID_ENTRIES).unwrap();
    let leaf = |function, index| {
        let wanted = |e: &&kvm_cpuid_entry2| e.function == function && e.index == index;
        set.as_slice().iter().find(wanted).copied().unwrap()
    };
    assert!(leaf(0, 0).eax >= 0xb);
    assert_eq!(leaf(1, 0).ebx >> 16, 5 << 8 | 6, "APIC id and number of processors");
    assert_eq!((leaf(0xb, 0).ebx, leaf(0xb, 0).edx), (1, 5));
    assert_eq!((leaf(0xb, 1).eax, leaf(0xb, 1).ebx, leaf(0xb, 1).edx), (3, 6, 5));
    assert!(leaf(HYPERVISOR_BASE, 0).eax >= HYPERVISOR_TIMING);
    assert_eq!((leaf(HYPERVISOR_TIMING, 0).eax, leaf(HYPERVISOR_TIMING, 0).ebx), (2_000_000, 1_000_000));
}
