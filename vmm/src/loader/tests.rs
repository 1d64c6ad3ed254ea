//! Where the RAM disk goes.

use super::*;
use crate::memory::layout::ram_ranges;
use crate::memory::{HostPages, allocate};

#[test]
fn the_ram_disk_lies_as_high_as_it_may() {
    let ram = allocate(&ram_ranges(&[16 << 20]), HostPages::Small, false).unwrap();
    let top = 16 << 20;
    let place = |size: usize, bounds| place_initrd(&ram, &vec![7; size], bounds);
    assert_eq!(place(0x1234, 0..HIGH_RAM_START).unwrap(), top - 0x2000..top - 0x2000 + 0x1234);
    assert_eq!(ram.read_obj::<u8>(GuestAddress(top - 0x2000 + 0x1233)).unwrap(), 7);
    assert_eq!(ram.read_obj::<u8>(GuestAddress(top - 0x2000 + 0x1234)).unwrap(), 0);
    // The kernel's limit, and the kernel's end.
    assert_eq!(place(0x1000, 0..0x80_0000).unwrap(), 0x7f_f000..0x80_0000);
    assert!(place(0x1000, top - 0x1000..HIGH_RAM_START).is_ok());
    for (size, lowest) in [(0x1001, top - 0x1000), (17 << 20, 0)] {
        let error = place(size, lowest..HIGH_RAM_START).unwrap_err().to_string();
        assert!(error.ends_with("try a larger --mem"), "{error}");
    }
}

#[test]
fn a_bzimage_unpacks_above_what_it_prefers() {
    let header = setup_header { pref_address: 0x100_0000, init_size: 0x300_0000, ..Default::default() };
    let result = |end| KernelLoaderResult {
        kernel_load: GuestAddress(0x10_0000),
        kernel_end: end,
        ..Default::default()
    };
    assert_eq!(unpacked_end(&result(0x90_0000), &header), 0x400_0000);
    assert_eq!(unpacked_end(&result(0x500_0000), &header), 0x500_0000);
}
