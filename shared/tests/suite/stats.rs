//! The statistics area: layout, header, note, and the reader against a writer that interferes.

use shared::stats::{
    ABI_VERSION, AREA_SIZE, AllocGroup, FIELDS, GROUPS, Header, MAGIC, StatsArea, StatsError, StatsNote,
    check_header, copy_group, is_consistent,
};
use zerocopy::{FromBytes, IntoBytes};

#[test]
fn every_word_of_a_group_is_its_sequence_or_one_field() {
    let mut words: Vec<usize> = FIELDS.iter().map(|(_, offset, _)| *offset).collect();
    assert!(words.is_sorted());
    words.extend(GROUPS.iter().map(|(offset, _)| *offset));
    words.sort_unstable();
    let expected: Vec<usize> =
        GROUPS.iter().flat_map(|(offset, size)| (*offset..offset + size).step_by(8)).collect();
    assert_eq!(words, expected);
    for (name, offset, group) in FIELDS {
        let (start, size) = GROUPS[*group];
        assert!((start + 8..start + size).contains(offset), "{name}");
    }
    let mut names: Vec<_> = FIELDS.iter().map(|(name, ..)| name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), FIELDS.len());
}

#[test]
fn offsets_are_those_of_version_1() {
    let offset = |name| FIELDS.iter().find(|(n, ..)| *n == name).map(|(_, offset, _)| *offset);
    assert_eq!((ABI_VERSION, AREA_SIZE), (1, 4096));
    assert_eq!(offset("ring"), Some(40));
    assert_eq!(offset("nr_free_pages"), Some(80));
    assert_eq!(offset("pgfree_movable"), Some(160));
    assert_eq!(offset("gates"), Some(216));
    assert_eq!(MAGIC.to_le_bytes(), *b"BALLAST\0");
}

#[test]
fn header_is_checked() {
    let area = StatsArea::INITIAL;
    assert_eq!(check_header(area.as_bytes()), Ok(()));
    assert_eq!(check_header(&area.as_bytes()[..31]), Err(StatsError::Short { need: 32, have: 31 }));
    let with = |change: fn(&mut Header)| {
        let mut header = Header::new();
        change(&mut header);
        check_header(header.as_bytes())
    };
    assert_eq!(with(|h| h.magic = 7), Err(StatsError::Magic(7)));
    assert_eq!(with(|h| h.abi_version = 2), Err(StatsError::Version(2)));
    assert_eq!(with(|h| h.size = 8192), Err(StatsError::Shape));
    assert_eq!(with(|h| h.groups = 9), Err(StatsError::Shape));
}

#[test]
fn note_is_checked() {
    let note = StatsNote { abi_version: ABI_VERSION, reserved: 0, address: 0x20_3000 };
    assert_eq!(note.as_bytes(), [1, 0, 0, 0, 0, 0, 0, 0, 0, 0x30, 0x20, 0, 0, 0, 0, 0]);
    assert_eq!(StatsNote::parse(note.as_bytes()), Ok(note));
    assert_eq!(StatsNote::parse(&[0; 15]), Err(StatsError::Short { need: 16, have: 15 }));
    assert_eq!(StatsNote::parse(&[9; 16]), Err(StatsError::Version(0x0909_0909)));
}

/// A guest that writes `writes` times while it is read, one word between any two copies.
struct Writer {
    area: StatsArea,
    writes: u32,
    half: bool,
}

impl Writer {
    fn new(writes: u32) -> Self {
        Self { area: StatsArea::INITIAL, writes, half: false }
    }

    fn copy(&mut self, offset: usize, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.area.as_bytes()[offset..offset + bytes.len()]);
        if self.writes == 0 {
            return;
        }
        // Each pair of steps keeps nr_free_pages + pgalloc constant only when both are seen.
        self.area.alloc.sequence += 1;
        if self.half {
            self.area.alloc.pgalloc[0] += 1;
            self.writes -= 1;
        } else {
            self.area.alloc.nr_free_pages = self.area.alloc.nr_free_pages.wrapping_sub(1);
        }
        self.half = !self.half;
    }
}

#[test]
fn reader_never_returns_half_a_write() {
    for writes in 0..20 {
        let mut writer = Writer::new(writes);
        let mut buffer = [0; 256];
        let bytes = copy_group(1, 100, &mut buffer, &mut |offset, bytes| writer.copy(offset, bytes));
        let (group, _) = AllocGroup::read_from_prefix(bytes.expect("quiet in the end")).expect("a group");
        assert_eq!(group.nr_free_pages.wrapping_add(group.pgalloc[0]), 0, "{writes} writes");
        assert_eq!(group.pgalloc[0], u64::from(writes), "it waits until the writer is quiet");
    }
}

#[test]
fn reader_gives_up_and_refuses() {
    let mut writer = Writer::new(u32::MAX);
    let mut buffer = [0; 256];
    let busy = copy_group(1, 10, &mut buffer, &mut |offset, bytes| writer.copy(offset, bytes)).err();
    assert_eq!(busy, Some(StatsError::Busy { group: 1 }));
    let mut quiet = |_: usize, _: &mut [u8]| {};
    assert_eq!(copy_group(3, 1, &mut buffer, &mut quiet).err(), Some(StatsError::NoGroup(3)));
    let short = copy_group(1, 1, &mut buffer[..95], &mut quiet).err();
    assert_eq!(short, Some(StatsError::Short { need: 96, have: 95 }));
}

#[test]
fn seqlock_word() {
    assert!(is_consistent(0, 0) && is_consistent(4, 4));
    assert!(!is_consistent(1, 1), "a write was going on");
    assert!(!is_consistent(2, 4), "a write came between");
}
