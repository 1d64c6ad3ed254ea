//! The boot structures, read back from RAM as a guest would.

use vm_memory::GuestMemoryBackend;

use super::*;
use crate::boot::e820::e820_map;
use crate::memory::layout::ram_ranges;
use crate::memory::{HostPages, allocate};

fn written(cmdline: &str, acpi: &[u8]) -> GuestRam {
    let ranges = ram_ranges(&[16 << 20]);
    let ram = allocate(&ranges, HostPages::Small, false).unwrap();
    write(&ram, cmdline, &e820_map(&ranges), acpi).unwrap();
    ram
}

fn u32_at(ram: &GuestRam, address: u64) -> u32 {
    ram.read_obj(GuestAddress(address)).unwrap()
}

fn u64_at(ram: &GuestRam, address: u64) -> u64 {
    ram.read_obj(GuestAddress(address)).unwrap()
}

#[test]
fn the_start_info_leads_to_everything() {
    let ram = written("run=\"tour\"", b"RSD PTR ");
    let info = PVH_START_INFO;
    assert_eq!((u32_at(&ram, info), u32_at(&ram, info + 4)), (0x336e_c578, 1));
    let (cmdline, rsdp, memmap) = (u64_at(&ram, info + 24), u64_at(&ram, info + 32), u64_at(&ram, info + 40));
    let mut text = [0; 11];
    ram.read_slice(&mut text, GuestAddress(cmdline)).unwrap();
    assert_eq!(&text, b"run=\"tour\"\0");
    let mut signature = [0; 8];
    ram.read_slice(&mut signature, GuestAddress(rsdp)).unwrap();
    assert_eq!(&signature, b"RSD PTR ");
    assert_eq!(u32_at(&ram, info + 48), 3);
    let entry = |index: u64| {
        let at = memmap + 24 * index;
        (u64_at(&ram, at), u64_at(&ram, at + 8), u32_at(&ram, at + 16))
    };
    assert_eq!(entry(0), (0, 0x9_fc00, 1));
    assert_eq!(entry(1), (0x9_fc00, 0x6_0400, 2));
    assert_eq!(entry(2), (0x10_0000, 15 << 20, 1));
}

#[test]
fn the_longest_command_line_fits_and_one_byte_more_does_not() {
    let longest = "x".repeat(PVH_CMDLINE_SIZE as usize - 1);
    let ram = written(&longest, &[]);
    assert_eq!(u32_at(&ram, PVH_CMDLINE + PVH_CMDLINE_SIZE - 4).to_le_bytes(), *b"xxx\0");
    let ranges = ram_ranges(&[16 << 20]);
    let error = write(&ram, &format!("{longest}x"), &e820_map(&ranges), &[]).unwrap_err();
    assert!(matches!(error, PvhError::CmdlineTooLong { size: 4097, room: 4096 }));
}

#[test]
fn a_memory_map_that_does_not_fit_is_refused() {
    let ranges = ram_ranges(&[16 << 20]);
    let ram = allocate(&ranges, HostPages::Small, false).unwrap();
    let map = e820_map(&ranges).repeat(60);
    assert!(matches!(write(&ram, "", &map, &[]), Err(PvhError::MemmapTooLong(180))));
    assert!(ram.check_address(GuestAddress(PVH_MEMMAP)).is_some());
}
