//! A volume in use against a model of its files: whatever happens, and whenever the machine dies, a file has what was
//! made stable of it or something newer, and never what belongs to nobody or to another file.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use shared::disk::BLOCK;
use shared::disk::files::{
    AREA_BYTES, Copies, FileEntry, MAX_EXTENTS, MAX_FILES, Plan, SLOT_BYTES, Table, TableHeader, Volume,
    VolumeError, seal,
};
use shared::disk::uuid::Uuid;
use zerocopy::{FromZeros, IntoBytes};

const BLOCKS: u32 = 200;
const FILES: usize = 4;
/// Blocks of a file in the tests.
const REACH: u64 = 60;

/// What one file holds, and what it may hold after a crash.
#[derive(Default, Clone)]
struct Model {
    number: usize,
    size: u64,
    now: BTreeMap<u64, u64>,
    dirty: BTreeSet<u64>,
    /// Whatever a block has held since the file was made stable last, and then.
    since: BTreeMap<u64, BTreeSet<u64>>,
    /// Blocks that the stable table may show, and the sizes that it may say.
    sizes: BTreeSet<u64>,
}

struct World {
    volume: Box<Volume>,
    disk: Vec<u64>,
    slots: Vec<u8>,
    files: BTreeMap<String, Model>,
    tag: u64,
    planned: Option<Planned>,
}

/// A write whose zeroes are on their way to the disk.
struct Planned {
    plan: Plan,
    n: usize,
    number: usize,
    at: u64,
    blocks: u64,
}

impl World {
    fn new() -> Self {
        let header = TableHeader::new(Uuid::from_random([7; 16]), BLOCKS).next(&[]).unwrap();
        let mut slots = vec![0; AREA_BYTES];
        slots[..size_of::<TableHeader>()].copy_from_slice(header.as_bytes());
        let mut volume = Box::new(Volume::new_zeroed());
        volume.load(&Table::read(&slots[..SLOT_BYTES], 0, BLOCKS.into()).unwrap());
        // What nobody has written.
        let disk = (0..u64::from(BLOCKS)).map(|n| 1 << 40 | n).collect();
        Self { volume, disk, slots, files: BTreeMap::new(), tag: 0, planned: None }
    }

    fn name(n: usize) -> String {
        format!("file{n}")
    }

    /// The first half of a write; the whole of it when nothing needs zeroes. Who needs some waits for the one that has a plan.
    fn plan(&mut self, n: usize, at: u64, blocks: u64) {
        let Some(number) = self.files.get(&Self::name(n)).map(|model| model.number) else { return };
        match self.volume.allocate(number, at, blocks) {
            Ok(true) => return self.put(n, at, blocks),
            Ok(false) => {}
            Err(error) => assert_eq!(error, VolumeError::Full),
        }
        if self.planned.is_none() {
            match self.volume.plan(number, at, blocks) {
                Ok(plan) => self.planned = Some(Planned { plan, n, number, at, blocks }),
                Err(error) => assert_eq!(error, VolumeError::Full),
            }
        }
    }

    /// The other half of it. A file that has changed meanwhile needs another plan, and one that is gone none.
    fn land(&mut self) {
        let Some(Planned { plan, n, number, at, blocks }) = self.planned.take() else { return };
        for &(start, blocks) in plan.zeroes() {
            self.disk[start as usize..(start + blocks) as usize].fill(0);
        }
        match self.volume.install(&plan) {
            true => self.put(n, at, blocks),
            false if self.files.get(&Self::name(n)).is_some_and(|model| model.number == number) => {
                self.plan(n, at, blocks);
                self.land();
            }
            false => {}
        }
    }

    fn write(&mut self, n: usize, at: u64, blocks: u64) {
        self.land();
        self.plan(n, at, blocks);
        self.land();
    }

    /// No block has two owners.
    fn check_owners(&self) {
        let mut runs: Vec<(u32, u32)> =
            self.planned.iter().flat_map(|it| it.plan.zeroes()).copied().collect();
        let extents = self.volume.files().flat_map(|(_, file)| file.extents());
        runs.extend(extents.map(|extent| (extent.start(), extent.blocks())));
        runs.sort_unstable();
        for pair in runs.windows(2) {
            assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{pair:?}");
        }
    }

    fn put(&mut self, n: usize, block: u64, blocks: u64) {
        let model = self.files.get_mut(&Self::name(n)).expect("who writes has it open");
        for block in block..block + blocks {
            self.tag += 1;
            model.now.insert(block, self.tag);
            model.dirty.insert(block);
            model.since.entry(block).or_default().insert(self.tag);
        }
        if (block + blocks) * BLOCK > model.size {
            model.size = (block + blocks) * BLOCK;
            model.sizes.insert(model.size);
            self.volume.set_size(model.number, model.size).unwrap();
        }
    }

    fn clean(&mut self, n: usize) {
        let Some(model) = self.files.get_mut(&Self::name(n)) else { return };
        for block in std::mem::take(&mut model.dirty) {
            let place = self.volume.place_of(model.number, block).unwrap();
            self.disk[place as usize] = model.now[&block];
        }
        self.volume.written(model.number, model.size);
    }

    fn resize(&mut self, n: usize, size: u64) {
        let Some(model) = self.files.get_mut(&Self::name(n)) else { return };
        self.volume.set_size(model.number, size).unwrap();
        model.size = size;
        model.sizes.insert(size);
        let end = size.div_ceil(BLOCK);
        model.now.retain(|&block, _| block < end);
        model.dirty.retain(|&block| block < end);
        for block in end..REACH {
            model.since.entry(block).or_default().insert(0);
        }
    }

    /// Blocks of the file read as zeroes from now on.
    fn release(&mut self, n: usize, block: u64, blocks: u64) {
        let Some(model) = self.files.get_mut(&Self::name(n)) else { return };
        let before = *self.volume.file(model.number).unwrap();
        if let Err(error) = self.volume.release(model.number, block, blocks) {
            assert_eq!(error, VolumeError::Full);
            assert_eq!(before.extents().len(), MAX_EXTENTS);
            return assert_eq!(*self.volume.file(model.number).unwrap(), before);
        }
        for block in block..block + blocks {
            model.now.remove(&block);
            model.dirty.remove(&block);
            model.since.entry(block).or_default().insert(0);
            assert_eq!(self.volume.place_of(model.number, block), None);
        }
    }

    /// The table goes to the disk; `lands`: all of it, before the machine dies or goes on.
    fn sync(&mut self, n: usize, lands: bool) {
        self.land();
        self.clean(n);
        let mut bytes = vec![0; SLOT_BYTES];
        let (slot, length) = self.volume.prepare(&mut bytes).unwrap();
        bytes.truncate(length);
        seal(&mut bytes).unwrap();
        let at = slot as usize * SLOT_BYTES;
        let torn = if lands { bytes.len() } else { bytes.len() / 2 };
        self.slots[at..at + torn].copy_from_slice(&bytes[..torn]);
        self.check_crash(None);
        if !lands {
            // The same once more, whole.
            self.slots[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        self.volume.commit();
        assert!(self.volume.is_stable());
        if let Some(model) = self.files.get_mut(&Self::name(n)) {
            model.sizes = BTreeSet::from([model.size]);
            model.since = (0..REACH)
                .map(|block| (block, BTreeSet::from([model.now.get(&block).copied().unwrap_or(0)])))
                .collect();
        }
        self.check_crash(Some(n));
    }

    /// What a machine that dies now finds. File `stable` was just made stable.
    fn check_crash(&self, stable: Option<usize>) {
        let copies = Copies::read(&self.slots, BLOCKS.into());
        let table = copies.current().unwrap();
        for file in table.files() {
            // A file that is gone by now may show what it had.
            let Some(model) = self.files.get(file.name()) else { continue };
            assert!(
                model.sizes.contains(&file.size()) || file.size() == 0,
                "{}: {}",
                file.name(),
                file.size()
            );
            for block in 0..file.size().div_ceil(BLOCK) {
                let found = self.read(file, block);
                let allowed = model.since.get(&block);
                let is_allowed = allowed.is_some_and(|allowed| allowed.contains(&found))
                    || found == 0 && model.sizes.len() > 1
                    || found == 0
                        && allowed.is_none_or(|allowed| {
                            allowed.iter().all(|&tag| tag == 0 || model.dirty.contains(&block))
                        });
                assert!(is_allowed, "{} block {block} is {found:#x}, not of {allowed:?}", file.name());
            }
        }
        if let Some(model) = stable.and_then(|n| self.files.get(&Self::name(n)).map(|model| (n, model))) {
            let (n, model) = model;
            let name = Self::name(n);
            let file = table.files().iter().find(|file| file.name() == name).expect("a stable file is there");
            assert_eq!(file.size(), model.size);
            for block in 0..model.size.div_ceil(BLOCK) {
                assert_eq!(
                    self.read(file, block),
                    model.now.get(&block).copied().unwrap_or(0),
                    "{name} {block}"
                );
            }
        }
    }

    fn read(&self, file: &FileEntry, block: u64) -> u64 {
        let extent = file.extents().iter().find(|extent| {
            (u64::from(extent.logical())..u64::from(extent.logical() + extent.blocks())).contains(&block)
        });
        match extent {
            Some(extent) if block * BLOCK < file.valid() => {
                self.disk[extent.start() as usize + (block - u64::from(extent.logical())) as usize]
            }
            _ => 0,
        }
    }

    /// What the cache would read of what is on the disk.
    fn check_map(&self) {
        for model in self.files.values() {
            let mut block = 0;
            while block < REACH {
                let piece = self.volume.map(model.number, block, REACH - block).unwrap();
                for n in 0..piece.blocks.min(REACH - block) {
                    let read = piece.start.map_or(0, |start| self.disk[start as usize + n as usize]);
                    let now = model.now.get(&(block + n)).copied().unwrap_or(0);
                    // Pages that are dirty are read from memory.
                    let dirty = model.dirty.contains(&(block + n));
                    assert!(dirty || read == now, "block {}: {read:#x} {now:#x}", block + n);
                }
                block += piece.blocks;
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Create(usize),
    Remove(usize),
    Write(usize, u64, u64),
    Plan(usize, u64, u64),
    Clean(usize),
    Resize(usize, u64),
    Release(usize, u64, u64),
    Sync(usize, bool),
}

fn op() -> impl Strategy<Value = Op> {
    let file = 0..FILES;
    prop_oneof![
        2 => file.clone().prop_map(Op::Create),
        1 => file.clone().prop_map(Op::Remove),
        8 => (file.clone(), 0..REACH - 8, 1..8_u64).prop_map(|(n, at, blocks)| Op::Write(n, at, blocks)),
        4 => (file.clone(), 0..REACH - 8, 1..8_u64).prop_map(|(n, at, blocks)| Op::Plan(n, at, blocks)),
        3 => file.clone().prop_map(Op::Clean),
        2 => (file.clone(), 0..REACH * BLOCK).prop_map(|(n, size)| Op::Resize(n, size)),
        2 => (file.clone(), 0..REACH - 8, 1..8_u64).prop_map(|(n, at, blocks)| Op::Release(n, at, blocks)),
        3 => (file, any::<bool>()).prop_map(|(n, lands)| Op::Sync(n, lands)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn what_was_made_stable_is_there_whenever_the_machine_dies(ops in vec(op(), 1..80)) {
        let mut world = World::new();
        for op in ops {
            match op {
                Op::Create(n) => match world.volume.create(&World::name(n)) {
                    Ok(number) => {
                        let model = Model { number, sizes: BTreeSet::from([0]), ..Model::default() };
                        prop_assert!(world.files.insert(World::name(n), model).is_none());
                    }
                    Err(error) => {
                        prop_assert_eq!(error, VolumeError::Exists);
                        prop_assert!(world.files.contains_key(&World::name(n)));
                    }
                },
                Op::Remove(n) => {
                    if let Some(model) = world.files.remove(&World::name(n)) {
                        world.volume.remove(model.number).unwrap();
                        // A file of that name that is made next is another one.
                        world.sync(FILES, true);
                    }
                }
                Op::Write(n, block, blocks) => world.write(n, block, blocks),
                Op::Plan(n, block, blocks) => world.plan(n, block, blocks),
                Op::Clean(n) => world.clean(n),
                Op::Resize(n, size) => world.resize(n, size),
                Op::Release(n, block, blocks) => world.release(n, block, blocks),
                Op::Sync(n, lands) => world.sync(n, lands),
            }
            world.check_owners();
            world.check_map();
            world.check_crash(None);
        }
    }
}

#[test]
fn pages_in_any_order_make_few_extents() {
    let mut world = World::new();
    let number = world.volume.create("sparse").unwrap();
    world.files.insert("file0".into(), Model { number, ..Model::default() });
    // Every other page first: more islands than a file has extents.
    for block in (0..REACH).step_by(2).chain((1..REACH).step_by(2)) {
        world.write(0, block, 1);
    }
    let file = world.volume.file(number).unwrap();
    assert_eq!((file.blocks(), file.extents().len()), (REACH, 1), "{file:?}");
}

#[test]
fn a_full_volume_refuses_and_loses_nothing() {
    let mut world = World::new();
    let number = world.volume.create("large").unwrap();
    let room = world.volume.free_blocks();
    let plan = world.volume.plan(number, 0, room).unwrap();
    assert!(world.volume.install(&plan));
    assert_eq!(world.volume.free_blocks(), 0);
    let before = *world.volume.file(number).unwrap();
    let other = world.volume.create("other").unwrap();
    assert!(matches!(world.volume.plan(other, 0, 1), Err(VolumeError::Full)));
    assert!(matches!(world.volume.plan(number, room - 1, 2), Err(VolumeError::Full)));
    assert!(matches!(world.volume.plan(number, u64::from(u32::MAX), 1), Err(VolumeError::TooBig)));
    assert_eq!(*world.volume.file(number).unwrap(), before);
    // What a file gives up is free when the table is stable, not before.
    world.volume.remove(number).unwrap();
    assert!(world.volume.plan(other, 0, room).is_ok(), "nothing of it was stable");
    for n in 1..MAX_FILES {
        world.volume.create(&format!("n{n}")).unwrap();
    }
    assert_eq!(world.volume.create("one more"), Err(VolumeError::Full));
    assert_eq!(world.volume.create("../up"), Err(VolumeError::Name));
}

/// A plan waits for its zeroes, and meanwhile somebody else finds no other room.
#[test]
fn what_is_planned_is_given_to_nobody_else() {
    let mut world = World::new();
    let (sparse, other) = (world.volume.create("sparse").unwrap(), world.volume.create("other").unwrap());
    world.volume.set_size(sparse, 2 * u64::from(BLOCKS) * BLOCK).unwrap();
    assert_eq!(world.volume.allocate(sparse, 100, 1), Ok(true));
    world.volume.written(sparse, 101 * BLOCK);
    let plan = world.volume.plan(sparse, 5, 1).unwrap();
    let planned = plan.zeroes().to_vec();
    assert_eq!(planned.len(), 1);
    assert_eq!(world.volume.allocate(other, 0, 1), Ok(true));
    let taken = world.volume.place_of(other, 0).unwrap();
    assert!(!planned.iter().any(|&(start, blocks)| (start..start + blocks).contains(&taken)), "{taken}");
    assert!(world.volume.install(&plan));
    assert!(seal(&mut prepared(&mut world.volume)).is_ok());
}

/// The table that would be written now.
fn prepared(volume: &mut Volume) -> Vec<u8> {
    let mut bytes = vec![0; SLOT_BYTES];
    let (_, length) = volume.prepare(&mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}
