//! Ids and topology, and the whole table where this host has KVM.

use super::*;

fn entry(function: u32) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 { function, eax: 7, ebx: u32::MAX, ..Default::default() }
}

fn of(cpuid: &CpuId, function: u32, index: u32) -> kvm_cpuid_entry2 {
    let wanted = |e: &&kvm_cpuid_entry2| e.function == function && e.index == index;
    cpuid.as_slice().iter().find(wanted).copied().unwrap()
}

#[test]
fn each_vcpu_sees_its_own_place() {
    let functions = [1, INTEL_CACHES, AMD_SIZES, AMD_CACHES, AMD_TOPOLOGY];
    let template = CpuId::from_entries(&functions.map(entry)).unwrap();
    for (id, package, core) in [(0, 0, 0), (9, 1, 1), (58, 7, 2)] {
        let cpuid = for_vcpu(&template, ApicPlace { id, core_bits: 3, cores: 4 }).unwrap();
        let own = u32::from(id);
        assert_eq!(of(&cpuid, 1, 0).ebx, own << 24 | 8 << 16 | 0xffff);
        assert_eq!(of(&cpuid, 1, 0).edx >> 28 & 1, 1);
        assert_eq!((of(&cpuid, 0xb, 0).eax, of(&cpuid, 0xb, 0).ebx, of(&cpuid, 0xb, 0).ecx), (0, 1, 0x100));
        assert_eq!((of(&cpuid, 0xb, 1).eax, of(&cpuid, 0xb, 1).ebx, of(&cpuid, 0xb, 1).ecx), (3, 4, 0x201));
        assert!((0..2).all(|index| of(&cpuid, 0xb, index).edx == own));
        let amd = of(&cpuid, AMD_TOPOLOGY, 0);
        assert_eq!((amd.eax, amd.ebx, amd.ecx), (own, core, package));
        assert_eq!(of(&cpuid, AMD_SIZES, 0).ecx, 3 << 12 | 3);
    }
}

#[test]
fn ids_of_a_package_are_cores_to_amd_whatever_the_host_has() {
    let vendor = |name: &[u8; 4]| kvm_cpuid_entry2 { ebx: u32::from_le_bytes(*name), ..Default::default() };
    let flag = |name, host, core_bits| {
        let features = kvm_cpuid_entry2 { ecx: host, ..entry(AMD_FEATURES) };
        let template = CpuId::from_entries(&[vendor(name), features]).unwrap();
        let cpuid = for_vcpu(&template, ApicPlace { id: 0, core_bits, cores: 1 << core_bits }).unwrap();
        of(&cpuid, AMD_FEATURES, 0).ecx
    };
    assert_eq!((flag(b"Auth", 0x11, 1), flag(b"Auth", 0x13, 1)), (0x13, 0x13));
    assert_eq!((flag(b"Auth", 0x11, 0), flag(b"Auth", 0x13, 0)), (0x11, 0x11));
    assert_eq!(flag(b"Genu", 0x11, 1), 0x11, "reserved on Intel's");
}

#[test]
fn only_the_last_cache_is_shared() {
    let mut entries = [entry(INTEL_CACHES), entry(AMD_CACHES), entry(INTEL_CACHES), entry(AMD_CACHES)];
    for (index, (entry, level)) in entries.iter_mut().zip([1, 1, 3, 3]).enumerate() {
        // As on a host where 64 ids share each cache.
        (entry.index, entry.eax) = (index as u32, level << 5 | 63 << 14 | 1);
    }
    let template = CpuId::from_entries(&entries).unwrap();
    let cpuid = for_vcpu(&template, ApicPlace { id: 0, core_bits: 1, cores: 2 }).unwrap();
    let sharers = |function, index| of(&cpuid, function, index).eax >> 14 & 0xfff;
    assert_eq!([sharers(INTEL_CACHES, 0), sharers(AMD_CACHES, 1)], [0, 0]);
    assert_eq!([sharers(INTEL_CACHES, 2), sharers(AMD_CACHES, 3)], [1, 1]);
}

#[test]
fn kvm_takes_the_table_and_a_vcpu_has_it() {
    let Ok(kvm) = crate::accel::open_kvm() else {
        eprintln!("NOT TESTED: this host has no usable /dev/kvm");
        return;
    };
    let vcpu = kvm.create_vm().unwrap().create_vcpu(5).unwrap();
    let template = template(&kvm, 2_000_000).unwrap();
    vcpu.set_cpuid2(&for_vcpu(&template, ApicPlace { id: 5, core_bits: 3, cores: 6 }).unwrap()).unwrap();
    let set = vcpu.get_cpuid2(KVM_MAX_CPUID_ENTRIES).unwrap();
    let leaf = |function, index| {
        let wanted = |e: &&kvm_cpuid_entry2| e.function == function && e.index == index;
        set.as_slice().iter().find(wanted).copied().unwrap()
    };
    assert!(leaf(0, 0).eax >= 0xb);
    assert_eq!(leaf(1, 0).ecx >> 31, 1, "a hypervisor");
    assert_eq!(leaf(1, 0).ebx >> 16, 5 << 8 | 8, "APIC id and number of ids");
    assert_eq!((leaf(0xb, 0).ebx, leaf(0xb, 0).edx), (1, 5));
    assert_eq!((leaf(0xb, 1).eax, leaf(0xb, 1).ebx, leaf(0xb, 1).edx), (3, 6, 5));
    assert!(leaf(HYPERVISOR_BASE, 0).eax >= HYPERVISOR_TIMING);
    assert_eq!((leaf(HYPERVISOR_TIMING, 0).eax, leaf(HYPERVISOR_TIMING, 0).ebx), (2_000_000, 1_000_000));
}
