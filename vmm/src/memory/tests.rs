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

/// Whether this process may touch `address` at all. The kernel looks, so that the answer "no" harms nobody.
fn accessible(address: u64) -> bool {
    let mut pipe = [0; 2];
    // SAFETY: the array has room for two descriptors.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    // SAFETY: an address that cannot be read makes the call fail; it is not accessed here.
    let written = unsafe { libc::write(pipe[1], address as *const libc::c_void, 1) };
    let error = std::io::Error::last_os_error();
    for end in pipe {
        // SAFETY: the descriptors were made above and belong to nobody else.
        assert_eq!(unsafe { libc::close(end) }, 0);
    }
    assert!(written == 1 || error.raw_os_error() == Some(libc::EFAULT), "{error}");
    written == 1
}

#[test]
fn what_lies_around_ram_is_inaccessible() {
    const GUARD: u64 = 2 * MIB;
    // With the hole below 4 GiB, and without.
    for sizes in [&[2 * MIB][..], &[3 * GIB, 64 * MIB]] {
        let ram = allocate(&layout::ram_ranges(sizes), HostPages::Auto, false).unwrap();
        let regions: Vec<_> =
            ram.iter().map(|region| region.host_address()..region.host_address() + region.len()).collect();
        let inside = |address| regions.iter().any(|region| region.contains(&address));
        for region in &regions {
            assert!(accessible(region.start) && accessible(region.end - 1));
            for distance in [1, 4096, MIB, GUARD] {
                let (before, behind) = (region.start - distance, region.end + distance - 1);
                for address in [before, behind].into_iter().filter(|address| !inside(*address)) {
                    assert!(!accessible(address), "{distance} beside {region:x?}");
                }
            }
        }
    }
}
