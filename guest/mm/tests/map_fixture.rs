//! What the tests of page tables share: machines, addresses, randomness, and the MMU's opinion.

use mm::addr::{PhysAddr, VirtAddr};
use mm::pgtable::{PageRange, PageTable, TableFrames};
use mm::port::{Level, Machine as _, Mmu};
use sim::{Core, Fault, Machine, TablePool};

/// Where mapped frames lie: beyond all RAM, so that the MMU names every address that it arrives at.
pub const FAR: u64 = 1 << 40;

/// Frames of RAM in a test machine, all of them for tables but frame 0.
const FRAMES: u64 = 2048;

pub fn pa(addr: u64) -> PhysAddr {
    PhysAddr::new(addr).unwrap()
}

pub fn va(addr: u64) -> VirtAddr {
    VirtAddr::new(addr).unwrap()
}

pub fn range(start: u64, pages: u64) -> PageRange {
    PageRange::new(va(start), pages).unwrap()
}

pub fn level(n: u32) -> Level {
    Level::new(n).unwrap()
}

/// A machine with a root at `root`.
pub fn machine(root: Level) -> Machine {
    Machine::builder().ram(0..FRAMES << 12).cpus(4).root_level(root).build()
}

/// All frames of `machine` for tables.
pub fn pool(machine: &Machine) -> TablePool<'_> {
    TablePool::new(machine, 1..FRAMES)
}

/// An empty tree.
pub fn new_tree<'m>(machine: &'m Machine, frames: &impl TableFrames) -> PageTable<'m, Machine> {
    // SAFETY: a test changes its trees by the rules, keeps to one source of tables, and runs no code in them.
    unsafe { PageTable::new(machine, frames) }.unwrap()
}

/// Makes `tree` the active one of every CPU.
pub fn activate(machine: &Machine, tree: PageTable<'_, Machine>) {
    for id in machine.cpu().ids() {
        // SAFETY: this machine runs no code of its own.
        machine.cpu().run_on(id, || unsafe { machine.mmu().activate(tree.root()) });
    }
}

/// Where a load by `core` arrives.
pub fn load(core: Core<'_>, va: VirtAddr) -> Result<PhysAddr, Fault> {
    arrival(core.load_u64(va))
}

/// Where a store by `core` arrives.
pub fn store(core: Core<'_>, va: VirtAddr) -> Result<PhysAddr, Fault> {
    arrival(core.store_u64(va, 0))
}

fn arrival<T>(result: Result<T, Fault>) -> Result<PhysAddr, Fault> {
    match result {
        Ok(_) => panic!("the test's frames are beyond all RAM"),
        Err(Fault::NotRam { pa }) => Ok(pa),
        Err(fault) => Err(fault),
    }
}

/// SplitMix64: enough randomness for tests, reproducible by its seed.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `choices`.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.next() as usize % choices.len()]
    }
}
