//! The disk as a guest sees it: transfers, framing, statuses, limits, counters.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use super::driver::*;
use crate::devices::virtio::blk::{Access, BlkCounters, BlkTotals, Block, DiskImage};

pub const IN: u32 = 0;
pub const OUT: u32 = 1;
pub const FLUSH: u32 = 4;
pub const GET_ID: u32 = 8;

pub const S_OK: u8 = 0;
pub const S_IOERR: u8 = 1;
pub const S_UNSUPP: u8 = 2;

const RO: u64 = 1 << 5;
const F_FLUSH: u64 = 1 << 9;
const F_DISCARD: u64 = 1 << 13;
const F_WRITE_ZEROES: u64 = 1 << 14;

/// Where tests put the header and the status byte; data goes elsewhere.
pub const HEADER: u64 = BUFFERS;
pub const STATUS: u64 = BUFFERS + 0x100;
const DATA: u64 = BUFFERS + 0x1000;

/// A temporary disk of 1 MiB called "disk", not brought up.
pub fn temporary_disk() -> (Rig, Arc<BlkCounters>) {
    let block = Block::new(DiskImage::temporary(1 << 20).unwrap(), "disk").unwrap();
    let counters = block.counters();
    (Rig::new(Arc::new(Mutex::new(block))), counters)
}

/// A disk on a named file of `sectors` sectors, brought up; the file to look behind its back.
fn file_disk(sectors: u64, access: Access, features: u64) -> (Rig, Arc<BlkCounters>, File) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&pattern(sectors as usize * 512)).unwrap();
    let block = Block::new(DiskImage::open(file.path(), access).unwrap(), "vda").unwrap();
    let counters = block.counters();
    (Rig::ready(Arc::new(Mutex::new(block)), features, 1), counters, file.into_file())
}

/// Bytes that differ from sector to sector and from byte to byte.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251 + i / 512 * 7) as u8).collect()
}

pub fn put_header(rig: &Rig, kind: u32, sector: u64) {
    rig.put(HEADER, &kind.to_le_bytes());
    rig.put(HEADER + 4, &[0; 4]);
    rig.put(HEADER + 8, &sector.to_le_bytes());
    rig.put(STATUS, &[0xee]);
}

/// One request in the usual framing. Returns the status byte and the used length.
pub fn request(rig: &mut Rig, kind: u32, sector: u64, data: &[Desc]) -> (u8, u32) {
    put_header(rig, kind, sector);
    let chain = [&[out(HEADER, 16)], data, &[into(STATUS, 1)]].concat();
    let len = rig.request(0, &chain);
    (rig.get(STATUS, 1)[0], len)
}

/// The disk's name without its padding.
pub fn get_id(rig: &mut Rig) -> Vec<u8> {
    assert_eq!(request(rig, GET_ID, 0, &[into(DATA, 20)]), (S_OK, 21));
    let id = rig.get(DATA, 20);
    id.split(|&byte| byte == 0).next().unwrap().to_vec()
}

fn at(file: &File, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

#[test]
fn tells_its_geometry_and_features() {
    let (mut rig, _) = temporary_disk();
    assert_eq!(rig.config(0), 2048u64.to_le_bytes());
    assert_eq!(rig.config(8), (4u32 << 20).to_le_bytes(), "size_max");
    assert_eq!(rig.config(12), 510u32.to_le_bytes(), "seg_max");
    assert_eq!(rig.config(20), 512u32.to_le_bytes(), "blk_size");
    assert_eq!(rig.config(34), 1u16.to_le_bytes(), "num_queues");
    let generic = VERSION_1 | EVENT_IDX | INDIRECT_DESC;
    let features = 1 << 1 | 1 << 2 | 1 << 6 | F_FLUSH;
    let ranges = F_DISCARD | F_WRITE_ZEROES;
    assert_eq!(rig.offered(), generic | features | ranges);
    let (mut rig, ..) = file_disk(1, Access::ReadOnly, 0);
    assert_eq!(rig.offered(), generic | features | RO);
}

#[test]
fn reads_and_writes_what_the_file_holds() {
    let (mut rig, counters, file) = file_disk(64, Access::ReadWrite, EVENT_IDX | F_FLUSH);
    assert_eq!(request(&mut rig, IN, 3, &[into(DATA, 1024)]), (S_OK, 1025));
    assert_eq!(rig.get(DATA, 1024), at(&file, 3 * 512, 1024));

    let fresh: Vec<u8> = pattern(2048).into_iter().map(|byte| !byte).collect();
    rig.put(DATA, &fresh);
    assert_eq!(request(&mut rig, OUT, 10, &[out(DATA, 2048)]), (S_OK, 1));
    assert_eq!(at(&file, 10 * 512, 2048), fresh);
    assert_eq!(at(&file, 0, 10 * 512), pattern(64 * 512)[..10 * 512]);
    assert_eq!(at(&file, 14 * 512, 512), pattern(64 * 512)[14 * 512..15 * 512]);

    assert_eq!(request(&mut rig, FLUSH, 0, &[]), (S_OK, 1));
    let totals = BlkTotals {
        reads: 1,
        read_bytes: 1024,
        writes: 1,
        write_bytes: 2048,
        flushes: 1,
        ..BlkTotals::default()
    };
    assert_eq!(counters.totals(), totals);
}

#[test]
fn a_driver_without_flush_gets_stable_writes() {
    let (mut rig, counters, file) = file_disk(8, Access::ReadWrite, 0);
    rig.put(DATA, &[7; 512]);
    assert_eq!(request(&mut rig, OUT, 1, &[out(DATA, 512)]), (S_OK, 1));
    assert_eq!(at(&file, 512, 512), [7; 512]);
    assert_eq!(counters.totals().writes, 1);
}

#[test]
fn scatters_and_gathers_across_regions() {
    let (mut rig, _, file) = file_disk(64, Access::ReadWrite, F_FLUSH);
    // Odd pieces: the last bytes before the hole, a buffer over the seam of two regions, one byte.
    let pieces = [(HOLE - 100, 100), (REGIONS[2] - 1000, 3000), (DATA, 1), (RAM_END - 995, 995)];
    let total = pieces.iter().map(|&(_, len)| len as usize).sum::<usize>();
    assert_eq!(total, 8 * 512);
    let list = pieces.map(|(address, len)| into(address, len));
    assert_eq!(request(&mut rig, IN, 5, &list), (S_OK, total as u32 + 1));
    let seen = pieces.map(|(address, len)| rig.get(address, len as usize)).concat();
    assert_eq!(seen, at(&file, 5 * 512, total));

    let list = pieces.map(|(address, len)| out(address, len));
    assert_eq!(request(&mut rig, OUT, 40, &list), (S_OK, 1));
    assert_eq!(at(&file, 40 * 512, total), seen);
}

#[test]
fn framing_is_up_to_the_driver() {
    let (mut rig, _, file) = file_disk(16, Access::ReadWrite, F_FLUSH);
    put_header(&rig, IN, 2);
    // The header in three pieces with an empty one between, status at the end of the data.
    let head = [out(HEADER, 3), out(HOLE, 0), out(HEADER + 3, 12), out(HEADER + 15, 1)];
    let chain = [&head[..], &[into(DATA, 500), into(DATA + 500, 13)]].concat();
    rig.put(DATA + 512, &[0xee]);
    assert_eq!(rig.request(0, &chain), 513);
    assert_eq!(rig.get(DATA, 513), [at(&file, 1024, 512), vec![S_OK]].concat());

    // Header and data in one descriptor.
    put_header(&rig, OUT, 4);
    rig.put(HEADER + 16, &[0x5a; 512]);
    rig.put(STATUS + 0x200, &[0xee]);
    assert_eq!(rig.request(0, &[out(HEADER, 528), into(STATUS + 0x200, 1)]), 1);
    assert_eq!(rig.get(STATUS + 0x200, 1), [S_OK]);
    assert_eq!(at(&file, 4 * 512, 512), [0x5a; 512]);
}

#[test]
fn tells_its_name_in_any_room() {
    let block = Block::new(DiskImage::temporary(512).unwrap(), "exactly-twenty-bytes").unwrap();
    let mut rig = Rig::ready(Arc::new(Mutex::new(block)), 0, 1);
    assert_eq!(get_id(&mut rig), b"exactly-twenty-bytes");
    rig.put(DATA, &[0xee; 40]);
    assert_eq!(request(&mut rig, GET_ID, 0, &[into(DATA, 7), into(DATA + 10, 3)]), (S_OK, 11));
    assert_eq!(rig.get(DATA, 14), *b"exactly\xee\xee\xee-tw\xee");
    // More room than name: the status byte is not adjacent to what was written.
    assert_eq!(request(&mut rig, GET_ID, 0, &[into(DATA, 40)]), (S_OK, 20));
    assert_eq!(request(&mut rig, GET_ID, 0, &[]), (S_OK, 1));
    let long = Block::new(DiskImage::temporary(512).unwrap(), "more-than-twenty-bytes").err().unwrap();
    assert!(long.to_string().contains("20 bytes"));
}

#[test]
fn refuses_what_lies_beyond_the_capacity() {
    let (mut rig, counters, file) = file_disk(8, Access::ReadWrite, F_FLUSH);
    let beyond = [(8, 512), (7, 1024), (0, 9 * 512), (u64::MAX, 512), (u64::MAX / 512, 512), (1 << 55, 512)];
    for (kind, buffer) in [(IN, into as fn(u64, u32) -> Desc), (OUT, out)] {
        for (sector, len) in beyond {
            rig.put(DATA, &vec![0xaa; len as usize]);
            let (status, _) = request(&mut rig, kind, sector, &[buffer(DATA, len)]);
            assert_eq!(status, S_IOERR, "kind {kind} sector {sector} len {len}");
            assert_eq!(rig.get(DATA, len as usize), vec![0xaa; len as usize]);
        }
        // The last sector, and nothing at the very end, are fine.
        assert_eq!(request(&mut rig, kind, 7, &[buffer(DATA, 512)]).0, S_OK);
        assert_eq!(request(&mut rig, kind, 8, &[]).0, S_OK);
        assert_eq!(request(&mut rig, kind, 9, &[]).0, S_IOERR);
    }
    assert_eq!(counters.totals().errors, 2 * (beyond.len() as u64 + 1));
    assert_eq!(file.metadata().unwrap().len(), 8 * 512);
    assert_eq!(at(&file, 0, 7 * 512), pattern(8 * 512)[..7 * 512]);
}

#[test]
fn refuses_lengths_that_are_no_sectors() {
    let (mut rig, ..) = file_disk(8, Access::ReadWrite, F_FLUSH);
    for len in [1, 511, 513, 1000] {
        assert_eq!(request(&mut rig, IN, 0, &[into(DATA, len)]), (S_IOERR, 0), "{len}");
        assert_eq!(request(&mut rig, OUT, 0, &[out(DATA, len)]), (S_IOERR, 1), "{len}");
    }
}

#[test]
fn never_writes_a_read_only_disk() {
    let (mut rig, counters, file) = file_disk(8, Access::ReadOnly, RO | F_FLUSH);
    assert_eq!(request(&mut rig, OUT, 0, &[out(DATA, 512)]), (S_IOERR, 1));
    assert_eq!(at(&file, 0, 8 * 512), pattern(8 * 512));
    assert_eq!(request(&mut rig, IN, 0, &[into(DATA, 512)]), (S_OK, 513));
    assert_eq!(request(&mut rig, FLUSH, 0, &[]), (S_OK, 1));
    let totals = counters.totals();
    assert_eq!((totals.writes, totals.write_bytes, totals.errors, totals.reads), (0, 0, 1, 1));
}

#[test]
fn unknown_requests_are_unsupported() {
    let (mut rig, counters, _) = file_disk(8, Access::ReadWrite, F_FLUSH);
    for kind in [2, 3, 5, 9, 12, 14, 0x8000_0000, u32::MAX] {
        assert_eq!(request(&mut rig, kind, 0, &[out(DATA, 512)]), (S_UNSUPP, 1), "{kind}");
    }
    assert_eq!(counters.totals(), BlkTotals { errors: 8, ..BlkTotals::default() });
}

#[test]
fn a_file_that_shrinks_gives_errors() {
    let (mut rig, counters, file) = file_disk(8, Access::ReadWrite, F_FLUSH);
    file.set_len(3 * 512).unwrap();
    assert_eq!(request(&mut rig, IN, 3, &[into(DATA, 512)]), (S_IOERR, 0));
    // One sector comes before the end: it was written, the status byte is after a gap.
    assert_eq!(request(&mut rig, IN, 2, &[into(DATA, 1024)]), (S_IOERR, 512));
    assert_eq!(request(&mut rig, IN, 2, &[into(DATA, 512)]), (S_OK, 513));
    assert_eq!(counters.totals().errors, 2);
    assert_eq!(counters.totals().read_bytes, 512);
}

#[test]
fn more_buffers_than_one_system_call_takes() {
    let (mut rig, _, file) = file_disk(16, Access::ReadWrite, F_FLUSH);
    // The device follows an indirect table whether or not it was negotiated.
    let pieces = 4096u64;
    put_header(&rig, IN, 0);
    let table = REGIONS[1];
    let mut entries: Vec<Desc> = vec![out(HEADER, 16)];
    entries.extend((0..pieces).map(|i| into(REGIONS[2] + 4 * i, 2)));
    entries.push(into(STATUS, 1));
    for (i, entry) in entries.iter().enumerate() {
        let last = i + 1 == entries.len();
        let flags = entry.flags | if last { 0 } else { NEXT };
        let bytes = descriptor_bytes(Desc { flags, ..*entry }, i as u16 + 1);
        rig.put(table + 16 * i as u64, &bytes);
    }
    let chain = [Desc { address: table, len: 16 * entries.len() as u32, flags: INDIRECT }];
    assert_eq!(rig.request(0, &chain), 16 * 512 + 1);
    assert_eq!(rig.get(STATUS, 1), [S_OK]);
    let seen: Vec<u8> = (0..pieces).flat_map(|i| rig.get(REGIONS[2] + 4 * i, 2)).collect();
    assert_eq!(seen, at(&file, 0, 16 * 512));
}

#[test]
fn headers_and_indirect_tables_lie_anywhere() {
    let (mut rig, _, file) = file_disk(16, Access::ReadWrite, F_FLUSH);
    put_header(&rig, IN, 3);
    let bytes = rig.get(HEADER, 16);
    for shift in 0..16 {
        let (table, header, data) =
            (REGIONS[1] + shift, REGIONS[1] + 0x1000 + shift, REGIONS[2] + 512 * shift);
        rig.put(header, &bytes);
        let entries = [out(header, 16), into(data, 512), into(STATUS, 1)];
        for (entry, next) in entries.into_iter().zip(1u16..) {
            let flags = entry.flags | if next == 3 { 0 } else { NEXT };
            rig.put(table + 16 * u64::from(next - 1), &descriptor_bytes(Desc { flags, ..entry }, next));
        }
        assert_eq!(rig.request(0, &[Desc { address: table, len: 48, flags: INDIRECT }]), 513, "{shift}");
        assert_eq!(rig.get(data, 512), at(&file, 3 * 512, 512), "{shift}");
    }
}
