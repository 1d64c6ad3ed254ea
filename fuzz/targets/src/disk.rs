//! The formats on disks.

use shared::disk::files::{AREA_BYTES, Copies, DATA_START, SLOT_BYTES, Table, TableHeader, is_name};
use shared::disk::gpt::{Header, Mbr, PRIMARY};
use shared::disk::swap::SwapHeader;
use zerocopy::IntoBytes;

use crate::input::Input;

/// Bytes of a header, and of an entry, of a file table.
const UNIT: usize = 256;

/// A file table: each slot from its own part of the input, with the right checksum if the first byte says so.
pub fn files(data: &[u8]) {
    let mut input = Input(data);
    let choice = input.u8();
    let blocks = u64::from(input.u16());
    let mut area = vec![0; AREA_BYTES];
    let (first, second) = area.split_at_mut(SLOT_BYTES);
    let half = input.0.len() / 2;
    for (slot, bit) in [(first, 1), (second, 2)] {
        let bytes = input.bytes(half.min(SLOT_BYTES));
        slot[..bytes.len()].copy_from_slice(bytes);
        if choice & bit != 0 {
            seal_table(slot);
        }
    }
    let copies = Copies::read(&area, blocks);
    match copies.current() {
        Ok(table) => check_table(&table, blocks),
        Err(error) => assert!(!error.to_string().contains('\n') && copies.slots.iter().all(Result::is_err)),
    }
}

/// Makes the start, the version and the checksum of a slot right.
fn seal_table(slot: &mut [u8]) {
    slot[..12].copy_from_slice(b"BLSTFILE\x01\0\0\0");
    slot[12..16].fill(0);
    let count = usize::from(slot[48]) + usize::from(slot[49]) * 256;
    let covered = slot.get(..UNIT * (count + 1)).unwrap_or_default();
    let crc = crc32fast::hash(covered);
    slot[12..16].copy_from_slice(&crc.to_le_bytes());
}

/// What a table that was accepted promises.
fn check_table(table: &Table, blocks: u64) {
    assert!(u64::from(table.header().blocks()) <= blocks);
    let mut taken = vec![false; table.header().blocks() as usize];
    for (n, file) in table.files().iter().enumerate() {
        assert!(is_name(file.name()) && file.valid() <= file.size());
        assert!(table.files()[..n].iter().all(|other| other.name() != file.name()));
        let mut next = 0;
        for extent in file.extents() {
            assert!(
                u64::from(extent.logical()) >= next && extent.blocks() > 0 && extent.start() >= DATA_START
            );
            next = u64::from(extent.logical()) + u64::from(extent.blocks());
            for block in extent.start()..extent.start() + extent.blocks() {
                assert!(!std::mem::replace(&mut taken[block as usize], true), "block {block} has two owners");
            }
        }
    }
    // The next table is as sound as this one, and newer.
    let next = table.header().next(table.files()).expect("the files are sound");
    let mut slot = [next.as_bytes(), table.files().as_bytes()].concat();
    slot.resize(SLOT_BYTES, 0);
    let read = Table::read(&slot, next.slot(), blocks).expect("what was written is sound");
    assert!(read.files() == table.files() && next.slot() != table.header().slot());
    assert_eq!(size_of::<TableHeader>(), UNIT);
}

/// A partition table: a sector with the MBR, one with the header, and entries.
pub fn gpt(data: &[u8]) {
    let mut input = Input(data);
    let (choice, sectors) = (input.u8(), u64::from(input.u32()));
    let mut mbr = [0; 512];
    let bytes = input.bytes(66);
    mbr[446..446 + bytes.len()].copy_from_slice(bytes);
    let _ = Mbr::check(&mbr, sectors);
    let mut header = [0; 512];
    let bytes = input.bytes(100);
    header[..bytes.len()].copy_from_slice(bytes);
    let mut entries = input.0.to_vec();
    if choice & 1 != 0 {
        seal_header(&mut header, &mut entries);
    }
    let Ok(header) = Header::read(&header, PRIMARY, sectors) else { return };
    let end = header.entries_lba.get() * 512 + header.entry_bytes() as u64;
    assert!(end <= sectors * 512 && header.first_usable.get() <= header.last_usable.get());
    assert!(header.last_usable.get() < sectors && header.entry_bytes() <= 128 << 10);
    if let Ok(found) = header.entries(&entries) {
        for (number, entry) in found {
            assert!((1..=1024).contains(&number) && entry.name().count() <= 36);
            let _ = (entry.kind().to_string(), entry.unique().to_string(), entry.first(), entry.last());
        }
    }
}

/// Makes the start and the checksums right, for as many entries as the header says.
fn seal_header(header: &mut [u8; 512], entries: &mut Vec<u8>) {
    header[..16].copy_from_slice(b"EFI PART\0\0\x01\0\x5c\0\0\0");
    header[84..88].copy_from_slice(&128u32.to_le_bytes());
    let count = u32::from(header[80]);
    header[80..84].copy_from_slice(&count.to_le_bytes());
    entries.resize(count as usize * 128, 0);
    header[88..92].copy_from_slice(&crc32fast::hash(entries).to_le_bytes());
    header[16..20].fill(0);
    let crc = crc32fast::hash(&header[..92]);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
}

/// The header of a swap area: the numbers and the list from the input, the signature right if the first byte says so.
pub fn swap(data: &[u8]) {
    let mut input = Input(data);
    let (choice, device) = (input.u8(), u64::from(input.u32()));
    let mut page = [0; 4096];
    let (numbers, list) = (input.bytes(44), input.bytes(2560));
    page[1024..1024 + numbers.len()].copy_from_slice(numbers);
    page[1536..1536 + list.len()].copy_from_slice(list);
    if choice & 1 != 0 {
        page[4086..].copy_from_slice(b"SWAPSPACE2");
    }
    let known = SwapHeader::is_in(&page);
    match SwapHeader::read(&page, device) {
        Ok(header) => {
            assert!(known && (2..=device).contains(&header.pages()) && header.label().len() <= 16);
            assert!(header.bad_pages().iter().all(|page| (1..header.pages()).contains(&page.get().into())));
        }
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
}
