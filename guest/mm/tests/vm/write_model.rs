//! Writes, mappings, transfers around the cache, syncs, truncations, dropped caches, failing disks and power cuts against an
//! oracle: what was synced is there, and every error is told once.

use super::files::{SHARED, Volume, map};
use super::write::{BOTH, read, write};
use super::write_stable::{buffer, bytes};
use super::{World, page};
use mm::addr::{PAGE_SIZE, Pfn, VirtAddr};
use mm::cache::OpenFile;
use mm::errno::Errno;
use mm::port::{IoOp, Machine as _, PAGE_SECTORS, PhysMem as _};
use mm::space::Mm;
use proptest::prelude::*;
use sim::{DiskFault, Machine};

const PAGES: u64 = 12;
const SECTOR: u64 = 512;
const SECTORS: usize = (PAGES * PAGE_SIZE / SECTOR) as usize;
/// Pages of a transfer around the cache.
const DIRECT: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    /// So many sectors from one on.
    Write(u64, u64, u8),
    /// The first word of a page, through the mapping.
    Store(u64, u8),
    /// The word behind the end, which is nobody's to see.
    StoreBehind(u8),
    /// As `Write`, around the cache.
    WriteDirect(u64, u64, u8),
    /// So many sectors from one on, around the cache.
    ReadDirect(u64, u64),
    Fsync,
    /// To so many sectors.
    Truncate(u64),
    Drop,
    Flush,
    /// The next write of the disk fails.
    Fail,
    Read,
    /// The last: what is on its way may or may not be done.
    Cut,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let sectors = SECTORS as u64;
    let op = prop_oneof![
        4 => (0..sectors, 1..20_u64, 1..255_u8).prop_map(|(at, count, value)| Op::Write(at, count, value)),
        3 => (0..PAGES, 1..255_u8).prop_map(|(at, value)| Op::Store(at, value)),
        1 => (1..255_u8).prop_map(Op::StoreBehind),
        2 => (0..sectors, 1..20_u64, 1..255_u8).prop_map(|(at, count, value)| Op::WriteDirect(at, count, value)),
        2 => (0..sectors, 1..20_u64).prop_map(|(at, count)| Op::ReadDirect(at, count)),
        2 => Just(Op::Fsync),
        1 => (0..=sectors).prop_map(Op::Truncate),
        1 => Just(Op::Drop),
        2 => Just(Op::Flush),
        1 => Just(Op::Fail),
        2 => Just(Op::Read),
    ];
    (prop::collection::vec(op, 1..40), any::<bool>()).prop_map(|(mut ops, cut)| {
        if cut {
            ops.push(Op::Cut);
        }
        ops
    })
}

/// What a sector may hold on the disk: what was synced last, and all that it has held since.
type History = Vec<Vec<u8>>;

struct Model<'w> {
    world: &'w World,
    volume: Volume,
    file: &'static OpenFile<'static>,
    other: &'static OpenFile<'static>,
    mm: &'w Mm<'static, Machine>,
    at: VirtAddr,
    /// Memory for transfers around the cache.
    buffer: [Pfn; DIRECT],
    /// What the file holds.
    bytes: Vec<u8>,
    size: u64,
    history: Vec<History>,
    /// The size when it was synced last; nothing is known of it after a truncation that was not.
    synced_size: Option<u64>,
    /// Where its pages were then: a place that came later is not known after the power is back.
    places: Vec<Option<u64>>,
    /// Errors that each of the two was not told of.
    untold: [bool; 2],
    /// A write has failed since all was written again.
    has_failed: bool,
}

impl<'w> Model<'w> {
    fn new(world: &'w World) -> Self {
        let volume = Volume::new(world);
        // Where nothing was written lies what nobody may see, and part of that is the file's.
        volume.disk.poke(0, &[0xee; 1024 * PAGE_SIZE as usize]);
        volume.fs.create_with_room(1, 0, PAGES / 2, 512 * PAGE_SECTORS);
        let file = volume.open(world, 1, BOTH);
        let other = volume.open(world, 1, BOTH);
        let mm = world.context();
        let at = map(world, mm, file, PAGES, SHARED);
        let bytes = vec![0; (PAGES * PAGE_SIZE) as usize];
        let history = vec![vec![vec![0; SECTOR as usize]]; SECTORS];
        let (size, synced_size) = (0, Some(0));
        Self {
            world,
            volume,
            file,
            other,
            mm,
            at,
            buffer: [0; DIRECT].map(|value| buffer(world, value)),
            bytes,
            size,
            history,
            synced_size,
            places: vec![None; PAGES as usize],
            untold: [false; 2],
            has_failed: false,
        }
    }

    fn note(&mut self, from: u64, bytes: u64) {
        for sector in (from / SECTOR) as usize..(from + bytes).div_ceil(SECTOR) as usize {
            self.history[sector].push(self.bytes[sector * SECTOR as usize..][..SECTOR as usize].to_vec());
        }
    }

    fn write(&mut self, from: u64, bytes: u64, value: u8) {
        assert_eq!(write(self.world, self.file, from, bytes, value), Ok(bytes));
        self.wrote(from, bytes, value);
    }

    fn wrote(&mut self, from: u64, bytes: u64, value: u8) {
        self.bytes[from as usize..(from + bytes) as usize].fill(value);
        self.size = self.size.max(from + bytes);
        self.note(from, bytes);
    }

    fn write_direct(&mut self, from: u64, bytes: u64, value: u8) {
        let (world, before) = (self.world, self.volume.disk.failures());
        for pfn in self.buffer {
            let at = world.machine().physmem().ptr(pfn.addr()).unwrap();
            // SAFETY: the page is ours.
            unsafe { at.write_bytes(value, PAGE_SIZE as usize) };
        }
        // SAFETY: the pages are ours.
        let done = unsafe { world.vm.write_direct(self.file, from, &self.buffer, bytes, &world.frames) };
        match done {
            Ok(count) => {
                assert_eq!(count, bytes);
                self.wrote(from, bytes, value);
            }
            Err(error) => self.failed_before(error, before),
        }
    }

    fn read_direct(&mut self, from: u64, count: u64) {
        let (world, before) = (self.world, self.volume.disk.failures());
        // SAFETY: the pages are ours.
        match unsafe { world.vm.read_direct(self.file, from, &self.buffer, count, &world.frames) } {
            Ok(count_read) => {
                assert_eq!(count_read, count.min(self.size.saturating_sub(from)));
                let seen = self.buffer.map(|pfn| bytes(world, pfn)).concat();
                let wanted = &self.bytes[from as usize..][..count_read as usize];
                assert!(seen[..wanted.len()] == *wanted, "direct reads show what was written");
            }
            Err(error) => self.failed_before(error, before),
        }
    }

    /// What was on its way when a transfer began did not arrive, and the transfer was not begun.
    fn failed_before(&self, error: Errno, before: u64) {
        assert_eq!(error, Errno::Eio);
        assert_ne!(self.volume.disk.failures(), before, "nothing has failed");
    }

    /// A failed write leaves pages that are clean and on no disk: who is told writes all again.
    fn repair(&mut self) {
        self.volume.disk.heal();
        let bytes = self.bytes.clone();
        for (n, page) in
            bytes.chunks(PAGE_SIZE as usize).enumerate().take(self.size.div_ceil(PAGE_SIZE) as usize)
        {
            let mut at = page.as_ptr();
            let len = (self.size - n as u64 * PAGE_SIZE).min(PAGE_SIZE);
            let written =
                self.world.vm.write(self.file, n as u64 * PAGE_SIZE, len, &self.world.frames, |to, len| {
                    // SAFETY: the memory is of the page cache, the source a page of the oracle; the pieces follow each other.
                    unsafe {
                        to.as_ptr().copy_from_nonoverlapping(at, len);
                        at = at.add(len);
                    }
                });
            assert_eq!(written, Ok(len));
        }
        self.has_failed = false;
    }

    fn fsync(&mut self) {
        let before = self.volume.disk.failures();
        let result = self.world.vm.fsync(self.file, false, &self.world.frames);
        self.learn(before);
        assert_eq!(result.is_err(), std::mem::take(&mut self.untold[0]), "{result:?}");
        assert!(result.is_ok() || result == Err(Errno::Eio));
        if self.has_failed {
            self.repair();
            return self.fsync();
        }
        for (sector, history) in self.history.iter_mut().enumerate() {
            *history = vec![self.bytes[sector * SECTOR as usize..][..SECTOR as usize].to_vec()];
        }
        self.synced_size = Some(self.size);
        self.places = (0..PAGES).map(|n| self.volume.fs.stable_sector(1, n)).collect();
        assert_eq!(self.volume.fs.stable_size(1), Some(self.size), "the size is stable");
        // What a crash would leave now is what was written, and nothing else.
        self.check_disk();
    }

    /// Requests may have failed since the disk had had `before` failures.
    fn learn(&mut self, before: u64) {
        if self.volume.disk.failures() != before {
            self.untold = [true; 2];
            self.has_failed = true;
        }
    }

    fn step(&mut self, op: &Op) {
        let before = self.volume.disk.failures();
        match *op {
            Op::Write(at, count, value) => {
                let count = count.min(SECTORS as u64 - at);
                self.write(at * SECTOR, count * SECTOR, value);
            }
            Op::Store(n, value) if n < self.size / PAGE_SIZE => {
                let word = u64::from_le_bytes([value; 8]);
                self.world.store(self.mm, page(self.at, n), word).unwrap();
                self.bytes[(n * PAGE_SIZE) as usize..][..8].fill(value);
                self.note(n * PAGE_SIZE, 8);
            }
            Op::Store(..) => {}
            Op::StoreBehind(value) if !self.size.is_multiple_of(PAGE_SIZE) => {
                let behind = self.at.checked_add(self.size).unwrap();
                self.world.store(self.mm, behind, u64::from_le_bytes([value; 8])).unwrap();
            }
            Op::StoreBehind(_) => {}
            // What failed is in memory alone until it is written again.
            Op::WriteDirect(..) | Op::ReadDirect(..) if self.has_failed => {}
            Op::WriteDirect(at, count, value) => {
                self.volume.disk.heal();
                self.write_direct(at * SECTOR, count.min(SECTORS as u64 - at) * SECTOR, value);
            }
            Op::ReadDirect(at, count) => {
                self.volume.disk.heal();
                self.read_direct(at * SECTOR, count.min(SECTORS as u64 - at) * SECTOR);
            }
            Op::Fsync => return self.fsync(),
            Op::Truncate(sectors) => {
                self.world.vm.truncate(self.file, sectors * SECTOR, &self.world.frames).unwrap();
                let (old, new) = (self.size, sectors * SECTOR);
                self.size = new;
                self.synced_size = None;
                if new < old {
                    self.bytes[new as usize..].fill(0);
                    self.note(new, old - new);
                }
            }
            Op::Drop if !self.has_failed => {
                self.world.vm.drop_pagecache();
            }
            Op::Drop => {}
            Op::Flush => {
                self.world.machine().cpu().pass(31_000_000_000);
                self.world.vm.flush_due(self.volume.disk, &self.world.frames);
            }
            Op::Fail => self.volume.disk.fail(DiskFault::new(IoOp::Write, 0..u64::MAX, 1)),
            Op::Read => {
                let seen = read(self.world, self.file, 0, self.size);
                assert!(seen == self.bytes[..self.size as usize], "reads show what was written");
            }
            Op::Cut => {
                self.volume.disk.cut_power();
                return self.check_disk();
            }
        }
        self.learn(before);
    }

    /// What is on the disk now may be read after the machine has gone.
    fn check_disk(&self) {
        let Some(size) = self.synced_size.filter(|_| !self.has_failed) else { return };
        for sector in 0..(size / SECTOR) as usize {
            let index = sector as u64 * SECTOR / PAGE_SIZE;
            let within = sector as u64 * SECTOR % PAGE_SIZE;
            let found = match self.places[index as usize] {
                Some(first) => self.volume.disk.peek(first * 512 + within, SECTOR as usize),
                None => vec![0; SECTOR as usize],
            };
            assert!(
                self.history[sector].contains(&found),
                "sector {sector} holds what it never held since the sync"
            );
        }
    }

    fn finish(mut self) {
        self.fsync();
        // The other was told of nothing yet.
        let told = self.world.vm.fsync(self.other, false, &self.world.frames);
        assert_eq!(told.is_err(), self.untold[1]);
        assert_eq!(self.world.vm.fsync(self.other, false, &self.world.frames), Ok(()));
        self.world.vm.drop_pagecache();
        let seen = read(self.world, self.file, 0, self.size);
        assert!(seen == self.bytes[..self.size as usize], "what was synced is on the disk");
        self.world.vm.verify(self.mm).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn what_was_synced_is_there_and_errors_are_told_once(ops in ops()) {
        let world = World::with(8, 1, false);
        let mut model = Model::new(&world);
        for op in &ops {
            model.step(op);
            if matches!(op, Op::Cut) {
                return Ok(());
            }
        }
        model.finish();
    }
}
