//! Real mappings: alignment, zeroed contents, bounds.

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::*;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

#[test]
fn guest_and_host_addresses_agree_modulo_one_gib() {
    let ranges = layout::ram_ranges(&[3 * GIB - 2 * MIB, 4 * MIB]);
    let ram = allocate(&ranges, HostPages::Auto, false).unwrap();
    assert_eq!(ram.iter().count(), 3);
    for region in ram.iter() {
        assert_eq!(region.host_address() % GIB, region.start_addr().0 % GIB);
    }
    assert_eq!(ram.last_addr().0, 4 * GIB + 2 * MIB - 1);
}

#[test]
fn ram_starts_zeroed_and_keeps_what_is_written_across_nodes() {
    let ram = allocate(&layout::ram_ranges(&[2 * MIB, 2 * MIB]), HostPages::Small, true).unwrap();
    let boundary = GuestAddress(2 * MIB - 4);
    assert_eq!(ram.read_obj::<u64>(boundary).unwrap(), 0);
    ram.write_obj(0x1122_3344_5566_7788_u64, boundary).unwrap();
    assert_eq!(ram.read_obj::<u64>(boundary).unwrap(), 0x1122_3344_5566_7788);
    assert!(ram.read_obj::<u64>(GuestAddress(4 * MIB - 7)).is_err());
    assert!(ram.get_slice(GuestAddress(0), 4 * MIB as usize + 1).is_err());
}

#[test]
fn slices_outside_a_region_are_refused() {
    let ram = allocate(&layout::ram_ranges(&[2 * MIB]), HostPages::Small, false).unwrap();
    let region = ram.iter().next().unwrap();
    for (offset, count) in [(2 * MIB, 1), (u64::MAX, 2), (0, usize::MAX), (2 * MIB - 1, 2)] {
        assert!(region.get_slice(vm_memory::MemoryRegionAddress(offset), count).is_err());
    }
    assert!(region.get_slice(vm_memory::MemoryRegionAddress(2 * MIB - 1), 1).is_ok());
}

#[test]
fn an_impossible_size_is_an_error() {
    let huge = [RamRange { base: 0, size: 1 << 60, node: 0 }];
    assert!(matches!(
        allocate(&huge, HostPages::Auto, false),
        Err(MemoryError::Reserve { .. } | MemoryError::Map { .. })
    ));
}
