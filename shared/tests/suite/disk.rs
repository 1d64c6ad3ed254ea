//! What is on a disk: structures that are sound are read back, and every other kind is told apart.

use proptest::prelude::*;
use shared::disk::files::*;
use shared::disk::gpt::{self, Entry, GptError, Header, Mbr};
use shared::disk::swap::{MAX_BAD_PAGES, SwapError, SwapHeader};
use shared::disk::uuid::{Guid, Uuid};
use zerocopy::IntoBytes;

const TEXT: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";

#[test]
fn uuids_are_read_as_they_are_written() {
    assert_eq!(gpt::TYPE_DATA.to_string(), TEXT);
    assert_eq!(Uuid::parse(TEXT), Some(gpt::TYPE_DATA));
    assert_eq!(Uuid::parse(&TEXT.to_uppercase()), Some(gpt::TYPE_DATA));
    for bad in
        ["", "0fc63daf", &TEXT[1..], &TEXT.replace('-', "0"), &TEXT.replace('f', "g"), &format!("{TEXT}0")]
    {
        assert_eq!(Uuid::parse(bad), None, "{bad}");
    }
    // The stored form has the first three fields the other way round (UEFI, appendix A).
    let stored = Guid::new(gpt::TYPE_DATA);
    assert_eq!(stored.as_bytes()[..8], [0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47]);
    assert_eq!(stored.uuid(), gpt::TYPE_DATA);
    assert_eq!(Uuid::from_random([0xff; 16]).to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    assert_eq!(Uuid([0xff; 16]).offset(2).0[12..], [0, 0, 0, 1]);
    assert!(Uuid::default().is_nil() && !gpt::TYPE_FILES.is_nil());
}

fn sector(bytes: &[u8]) -> Vec<u8> {
    let mut sector = bytes.to_vec();
    sector.resize(512, 0);
    sector
}

/// A header for a disk of 4096 sectors with one partition, and its entries.
fn table() -> (Header, Vec<u8>) {
    let mut header = Header::primary(gpt::TYPE_FILES, 4096).unwrap();
    let entry = Entry::new(gpt::TYPE_DATA, gpt::TYPE_SWAP, 2048, 2063, "a name").unwrap();
    let mut entries = entry.as_bytes().to_vec();
    entries.resize(header.entry_bytes(), 0);
    header.seal(&entries);
    (header, entries)
}

#[test]
fn a_partition_table_is_read_as_it_was_written() {
    let (header, entries) = table();
    let read = Header::read(&sector(header.as_bytes()), 1, 4096).unwrap();
    assert_eq!(read, header);
    assert_eq!((read.disk(), read.first_usable.get(), read.last_usable.get()), (gpt::TYPE_FILES, 34, 4062));
    let found: Vec<_> = read.entries(&entries).unwrap().collect();
    let (number, entry) = found[0];
    assert_eq!((found.len(), number, entry.first(), entry.last()), (1, 1, 2048, 2063));
    assert_eq!((entry.kind(), entry.unique()), (gpt::TYPE_DATA, gpt::TYPE_SWAP));
    assert_eq!(entry.name().collect::<String>(), "a name");
    let mut backup = header.backup();
    backup.seal(&entries);
    let backup = Header::read(&sector(backup.as_bytes()), 4095, 4096).unwrap();
    assert!(backup.is_twin_of(&header) && header.is_twin_of(&backup) && !header.is_twin_of(&header));
    assert_eq!(backup.entries_lba.get(), 4063);
}

#[test]
fn partition_tables_that_are_wrong_say_how() {
    let (header, entries) = table();
    let read =
        |header: Header, lba, sectors| Header::read(&sector(header.as_bytes()), lba, sectors).unwrap_err();
    let sealed = |change: &dyn Fn(&mut Header)| {
        let mut header = header;
        change(&mut header);
        header.seal(&entries);
        read(header, 1, 4096)
    };
    assert_eq!(Header::read(&[], 1, 4096), Err(GptError::NoHeader));
    assert_eq!(Header::read(&[0; 512], 1, 4096), Err(GptError::NoHeader));
    assert_eq!(read(header, 2, 4096), GptError::Place);
    assert_eq!(read(header, 1, 4062), GptError::Geometry);
    assert_eq!(sealed(&|header| header.first_usable.set(33)), GptError::Geometry);
    assert_eq!(sealed(&|header| header.last_usable.set(u64::MAX)), GptError::Geometry);
    assert_eq!(sealed(&|header| header.entries_lba.set(u64::MAX)), GptError::Geometry);
    assert_eq!(sealed(&|header| header.entries_lba.set(1)), GptError::Geometry);
    let mut changed = header;
    changed.alternate_lba.set(7);
    assert_eq!(read(changed, 1, 4096), GptError::HeaderChecksum);
    let mut other = entries.clone();
    other[9] ^= 1;
    assert_eq!(header.entries(&other).err(), Some(GptError::EntriesChecksum));
    assert_eq!(header.entries(&entries[1..]).err(), Some(GptError::EntriesChecksum));
    assert_eq!(Header::primary(gpt::TYPE_DATA, 67), None);
    assert!(Header::primary(gpt::TYPE_DATA, 68).is_some());
    assert_eq!(Entry::new(gpt::TYPE_DATA, gpt::TYPE_DATA, 2, 1, ""), None);
    assert_eq!(Entry::new(gpt::TYPE_DATA, gpt::TYPE_DATA, 1, 1, &"x".repeat(37)), None);
}

#[test]
fn the_protective_mbr_covers_the_disk() {
    for sectors in [68, 4096, 1 << 33] {
        let mbr = Mbr::protective(sectors);
        assert_eq!(Mbr::check(mbr.as_bytes(), sectors), Ok(()));
        assert_eq!(mbr.as_bytes()[510..], [0x55, 0xaa]);
    }
    let mbr = Mbr::protective(4096);
    assert_eq!(Mbr::check(mbr.as_bytes(), 4095), Err(GptError::Mbr));
    assert_eq!(Mbr::check(&mbr.as_bytes()[1..], 4096), Err(GptError::Mbr));
    for at in [446, 450, 454, 462, 510] {
        let mut bytes = mbr.as_bytes().to_vec();
        bytes[at] ^= 0x10;
        assert_eq!(Mbr::check(&bytes, 4096), Err(GptError::Mbr), "{at}");
    }
}

#[test]
fn swap_headers_are_where_linux_has_them() {
    let header = SwapHeader::new(100, gpt::TYPE_DATA, "label", &[7, 99]).unwrap();
    let bytes = header.as_bytes();
    assert_eq!(bytes.len(), 4096);
    assert_eq!(bytes[1024..1036], [1, 0, 0, 0, 99, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(&bytes[1052..1058], b"label\0");
    assert_eq!(bytes[1536..1544], [7, 0, 0, 0, 99, 0, 0, 0]);
    assert_eq!(&bytes[4086..], b"SWAPSPACE2");
    let read = SwapHeader::read(bytes, 100).unwrap();
    assert_eq!((read.pages(), read.bad_pages().len(), read.label()), (100, 2, &b"label"[..]));
    assert_eq!(read.uuid(), gpt::TYPE_DATA);
}

#[test]
fn swap_headers_that_linux_refuses_are_refused() {
    let page = |change: &dyn Fn(&mut [u8])| {
        let mut bytes = SwapHeader::new(100, Uuid::default(), "", &[7]).unwrap().as_bytes().to_vec();
        change(&mut bytes);
        SwapHeader::read(&bytes, 100).err()
    };
    assert_eq!(page(&|_| {}), None);
    assert_eq!(page(&|bytes| bytes[4095] = b'1'), Some(SwapError::NoSignature));
    assert_eq!(page(&|bytes| bytes[1024] = 2), Some(SwapError::Version(2)));
    assert_eq!(page(&|bytes| bytes[1024..1028].reverse()), Some(SwapError::BigEndian));
    assert_eq!(page(&|bytes| bytes[1028] = 0), Some(SwapError::Empty));
    assert_eq!(page(&|bytes| bytes[1028] = 100), Some(SwapError::TooLong { pages: 101, device: 100 }));
    assert_eq!(page(&|bytes| bytes[1033] = 255), Some(SwapError::TooManyBadPages(0xff01)));
    assert_eq!(page(&|bytes| bytes[1536] = 0), Some(SwapError::BadPage(0)));
    assert_eq!(page(&|bytes| bytes[1536] = 100), Some(SwapError::BadPage(100)));
    assert_eq!(SwapHeader::read(&[0; 4095], 100).err(), Some(SwapError::NoSignature));
    assert!(SwapHeader::new(9, Uuid::default(), "", &[]).is_none());
    assert!(SwapHeader::new((1 << 32) + 1, Uuid::default(), "", &[]).is_none());
    assert!(SwapHeader::new(100, Uuid::default(), "sixteen letters!", &[]).is_none());
    assert!(SwapHeader::new(100, Uuid::default(), "", &[1; MAX_BAD_PAGES + 1]).is_none());
}

const BLOCKS: u32 = 1000;

fn file(name: &str, extents: &[Extent]) -> FileEntry {
    FileEntry::new(name, 5000, 4096, extents).unwrap()
}

/// Writes `header` and `files` into their slot of `area`, but only the first `bytes` bytes.
fn write(area: &mut [u8], header: &TableHeader, files: &[FileEntry], bytes: usize) {
    let mut table = header.as_bytes().to_vec();
    table.extend(files.as_bytes());
    let at = header.slot() as usize * SLOT_BYTES;
    let bytes = bytes.min(table.len());
    area[at..at + bytes].copy_from_slice(&table[..bytes]);
}

#[test]
fn a_torn_write_of_the_file_table_leaves_the_old_one() {
    let mut area = vec![0; AREA_BYTES];
    let mut header = TableHeader::new(gpt::TYPE_DATA, BLOCKS);
    assert_eq!(Copies::read(&area, BLOCKS.into()).current().err(), Some(TableError::NoTable));
    let mut files: Vec<FileEntry> = Vec::new();
    for round in 0..40u32 {
        let before = files.clone();
        files.push(file(&round.to_string(), &[Extent::new(0, DATA_START + 2 * round, 2)]));
        let next = header.next(&files).unwrap();
        assert_ne!(next.slot(), header.slot());
        let whole = 256 * (files.len() + 1);
        for bytes in (0..whole).step_by(if round == 3 { 1 } else { 512 }) {
            let mut torn = area.clone();
            write(&mut torn, &next, &files, bytes);
            let copies = Copies::read(&torn, BLOCKS.into());
            match copies.current() {
                // Only what differs has to arrive: the tail of an entry is zero in both.
                Ok(table) => assert!(table.files() == before || table.files() == files, "{round} {bytes}"),
                Err(error) => assert!(round == 0, "{round} {bytes}: {error}"),
            }
            let hurt = bytes >= 16 && bytes < whole - 256;
            assert!(!hurt || copies.slots[next.slot() as usize].is_err(), "{round} {bytes}");
        }
        write(&mut area, &next, &files, usize::MAX);
        let table = Copies::read(&area, BLOCKS.into()).current().unwrap();
        assert_eq!((table.files(), table.header().sequence()), (&files[..], u64::from(round) + 1));
        header = next;
    }
}

#[test]
fn file_tables_that_are_wrong_say_how() {
    let header = TableHeader::new(gpt::TYPE_DATA, BLOCKS);
    let refused = |files: &[FileEntry]| header.next(files).unwrap_err();
    let at = |start, blocks| file("f", &[Extent::new(0, start, blocks)]);
    let entry = |error| TableError::Entry(0, error);
    assert_eq!(refused(&[at(DATA_START - 1, 1)]), entry(EntryError::Bounds));
    assert_eq!(refused(&[at(BLOCKS - 1, 2)]), entry(EntryError::Bounds));
    assert_eq!(refused(&[at(u32::MAX, 2)]), entry(EntryError::Bounds));
    assert_eq!(refused(&[at(100, 0)]), entry(EntryError::Order));
    let two = |one, other| file("f", &[one, other]);
    assert_eq!(refused(&[two(Extent::new(1, 100, 1), Extent::new(1, 200, 1))]), entry(EntryError::Order));
    assert_eq!(refused(&[two(Extent::new(9, 100, 1), Extent::new(1, 200, 1))]), entry(EntryError::Order));
    assert_eq!(refused(&[two(Extent::new(0, 100, 2), Extent::new(5, 101, 1))]), entry(EntryError::Overlap));
    assert_eq!(refused(&[at(100, 2), file("g", &[Extent::new(3, 101, 1)])]), TableError::Overlap(0, 1));
    assert_eq!(refused(&[at(100, 2), at(200, 1)]), TableError::SameName(0, 1));
    assert_eq!(refused(&[at(100, 1); MAX_FILES + 1]), TableError::Length);
    for name in ["", "/", "a/", "/a", "a//b", ".", "a/..", "a\nb", "a\0b", &"x".repeat(64)] {
        assert!(!is_name(name) && FileEntry::new(name, 0, 0, &[]).is_none(), "{name:?}");
    }
    assert!(is_name("a/b.c/..d") && is_name(&"x".repeat(63)));
    assert!(FileEntry::new("a", 1, 2, &[]).is_none());
    assert!(FileEntry::new("a", MAX_SIZE + 1, 0, &[]).is_none());
    assert!(FileEntry::new("a", 0, 0, &[Extent::default(); MAX_EXTENTS + 1]).is_none());
}

#[test]
fn a_table_counts_only_in_its_place() {
    let mut area = vec![0; AREA_BYTES];
    let first = TableHeader::new(gpt::TYPE_DATA, BLOCKS).next(&[]).unwrap();
    write(&mut area, &first, &[], usize::MAX);
    assert_eq!(Table::read(&area[..SLOT_BYTES], 1, BLOCKS.into()).err(), Some(TableError::Place));
    // A partition that is too small for it, and one that has grown.
    assert_eq!(Table::read(&area[..SLOT_BYTES], 0, u64::from(BLOCKS) - 1).err(), Some(TableError::Place));
    assert!(Table::read(&area[..SLOT_BYTES], 0, u64::from(BLOCKS) + 1).is_ok());
    let version = 8;
    area[version] = 2;
    assert_eq!(Copies::read(&area, BLOCKS.into()).current().err(), Some(TableError::Version(2)));
}

proptest! {
    /// Whatever a slot holds, reading it answers, and what it accepts holds together.
    #[test]
    fn any_bytes_can_be_read_as_a_table(
        change in prop::collection::vec((0usize..256 * 4, any::<u8>()), 0..4),
        reseal in any::<bool>(),
    ) {
        let files = [file("a", &[Extent::new(0, 40, 2), Extent::new(5, 50, 1)]), file("b", &[])];
        let header = TableHeader::new(gpt::TYPE_DATA, BLOCKS).next(&files).unwrap();
        let mut area = vec![0; AREA_BYTES];
        write(&mut area, &header, &files, usize::MAX);
        for (at, byte) in &change {
            area[*at] = *byte;
        }
        if reseal {
            let count = u32::from_le_bytes(area[48..52].try_into().unwrap()) as usize;
            area[12..16].fill(0);
            let crc = crc32fast::hash(&area[..(256 * (count.min(200) + 1))]);
            area[12..16].copy_from_slice(&crc.to_le_bytes());
        }
        if let Ok(table) = Table::read(&area[..SLOT_BYTES], 0, BLOCKS.into()) {
            for file in table.files() {
                prop_assert!(is_name(file.name()) && file.valid() <= file.size());
                prop_assert!(file.extents().iter().all(|extent| extent.start() + extent.blocks() <= BLOCKS));
            }
            prop_assert!(reseal || table.files() == files);
        }
    }
}
