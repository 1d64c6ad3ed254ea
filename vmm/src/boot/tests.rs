//! The boot structures, read back from RAM as a guest would.

use linux_loader::loader::bootparam::setup_header;
use shared::layout::{PVH_MEMMAP, PVH_START_INFO};
use vm_memory::GuestMemoryBackend;

use super::e820::e820_map;
use super::*;
use crate::memory::layout::ram_ranges;
use crate::memory::{HostPages, allocate};

fn written(cmdline: &str, acpi: &[u8]) -> GuestRam {
    let ranges = ram_ranges(&[16 << 20]);
    let ram = allocate(&ranges, HostPages::Small, false).unwrap();
    let data = BootData { cmdline, map: &e820_map(&ranges), acpi };
    let entry = write(&ram, &pvh(None), &data).unwrap();
    assert_eq!(entry, EntryState { rip: 0x20_0000, rbx: PVH_START_INFO, rsi: 0 });
    ram
}

fn pvh(initrd: Option<std::ops::Range<u64>>) -> Loaded {
    Loaded { entry: 0x20_0000, header: Header::Pvh, initrd }
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
    let data = BootData { cmdline: &format!("{longest}x"), map: &e820_map(&ranges), acpi: &[] };
    let error = write(&ram, &pvh(None), &data).unwrap_err();
    assert!(matches!(error, BootDataError::CmdlineTooLong { size: 4097, room: 4096 }));
}

#[test]
fn a_memory_map_that_does_not_fit_is_refused() {
    let ranges = ram_ranges(&[16 << 20]);
    let ram = allocate(&ranges, HostPages::Small, false).unwrap();
    let map = e820_map(&ranges).repeat(60);
    let data = BootData { cmdline: "", map: &map, acpi: &[] };
    assert!(matches!(write(&ram, &pvh(None), &data), Err(BootDataError::MemmapTooLong(180))));
    let linux = Loaded { header: Header::Linux(Box::default()), ..pvh(None) };
    assert!(matches!(write(&ram, &linux, &data), Err(BootDataError::MemmapTooLong(180))));
    assert!(ram.check_address(GuestAddress(PVH_MEMMAP)).is_some());
}

#[test]
fn a_ram_disk_is_the_only_module() {
    let ranges = ram_ranges(&[16 << 20]);
    let ram = allocate(&ranges, HostPages::Small, false).unwrap();
    let data = BootData { cmdline: "", map: &e820_map(&ranges), acpi: &[] };
    write(&ram, &pvh(Some(0x70_0000..0x70_1234)), &data).unwrap();
    assert_eq!(u32_at(&ram, PVH_START_INFO + 12), 1);
    let module = u64_at(&ram, PVH_START_INFO + 16);
    assert_eq!((u64_at(&ram, module), u64_at(&ram, module + 8)), (0x70_0000, 0x1234));
}

#[test]
fn linux_finds_everything_in_its_zero_page() {
    let ranges = ram_ranges(&[16 << 20]);
    let ram = allocate(&ranges, HostPages::Small, false).unwrap();
    let data = BootData { cmdline: "quiet", map: &e820_map(&ranges), acpi: &[] };
    let header = Box::new(setup_header { version: 0x20f, ..Default::default() });
    let loaded = Loaded { header: Header::Linux(header), initrd: Some(0x70_0000..0x70_1234), ..pvh(None) };
    let entry = write(&ram, &loaded, &data).unwrap();
    let page = entry.rsi;
    assert_eq!((entry.rip, entry.rbx), (0x20_0000, 0));
    // Offsets of the protocol: rsdp, number of map entries, version, loader, RAM disk, command line, the map.
    assert_eq!(u64_at(&ram, page + 0x70), ACPI_TABLES);
    assert_eq!(u32_at(&ram, page + 0x1e8) & 0xff, 3);
    assert_eq!(u32_at(&ram, page + 0x206) & 0xffff, 0x20f);
    assert_eq!(u32_at(&ram, page + 0x210) & 0xff, 0xff);
    assert_eq!((u32_at(&ram, page + 0x218), u32_at(&ram, page + 0x21c)), (0x70_0000, 0x1234));
    assert_eq!(u32_at(&ram, page + 0x228), PVH_CMDLINE as u32);
    assert_eq!((u64_at(&ram, page + 0x2d0), u64_at(&ram, page + 0x2d8)), (0, 0x9_fc00));
}
