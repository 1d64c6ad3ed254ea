//! What kind of machine a test wants.

use crate::{Cpus, Machine, Mmu, Ram, Tlb};
use mm::port::Level;
use std::ops::Range;
use std::sync::Arc;

/// Describes a machine, then builds it. Without a word: no RAM, one CPU, four levels, 1 GiB pages.
#[derive(Clone, Debug)]
pub struct Builder {
    ram: Vec<Range<u64>>,
    direct_end: u64,
    poison: Option<u8>,
    cpus: u32,
    root_level: Level,
    max_leaf: Level,
    phys_bits: u32,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            ram: Vec::new(),
            direct_end: u64::MAX,
            poison: None,
            cpus: 1,
            root_level: Level::P4D,
            max_leaf: Level::PUD,
            phys_bits: 52,
        }
    }
}

impl Builder {
    /// Adds RAM at the physical addresses `range` (bytes, page-aligned, above what was added before).
    #[must_use]
    pub fn ram(mut self, range: Range<u64>) -> Self {
        self.ram.push(range);
        self
    }

    /// RAM from the physical address `end` on is not in the direct map.
    #[must_use]
    pub fn direct_end(mut self, end: u64) -> Self {
        self.direct_end = end;
        self
    }

    /// RAM starts out filled with `byte` and not with zeroes.
    #[must_use]
    pub fn poison(mut self, byte: u8) -> Self {
        self.poison = Some(byte);
        self
    }

    /// The machine has `count` CPUs.
    #[must_use]
    pub fn cpus(mut self, count: u32) -> Self {
        self.cpus = count;
        self
    }

    /// Page tables have their root at `level`: [`Level::PUD`] (3 levels) to [`Level::PGD`] (5).
    #[must_use]
    pub fn root_level(mut self, level: Level) -> Self {
        self.root_level = level;
        self
    }

    /// The largest leaf the MMU knows: [`Level::PMD`] is a CPU without 1 GiB pages.
    #[must_use]
    pub fn max_leaf(mut self, level: Level) -> Self {
        self.max_leaf = level;
        self
    }

    /// Physical addresses have `bits` bits (MAXPHYADDR): higher ones are reserved in an entry.
    #[must_use]
    pub fn phys_bits(mut self, bits: u32) -> Self {
        self.phys_bits = bits;
        self
    }

    /// The machine.
    ///
    /// # Panics
    /// If the description makes no machine; the message says which part.
    #[must_use]
    pub fn build(self) -> Machine {
        assert!(
            self.root_level >= Level::PUD,
            "root level {:?}: page tables have 3 to 5 levels",
            self.root_level
        );
        assert!(self.max_leaf <= Level::PUD, "largest leaf {:?}: x86 has none above 1 GiB", self.max_leaf);
        assert!(
            (32..=52).contains(&self.phys_bits),
            "{} physical address bits: give 32 to 52",
            self.phys_bits
        );
        let ram = Ram::new(&self.ram).with_direct_end(self.direct_end);
        if let Some(byte) = self.poison {
            // SAFETY: the RAM was made here and nobody else knows it yet.
            unsafe { ram.poison_all(byte) }
        }
        let cpus = Arc::new(Cpus::new(self.cpus));
        let tlb = Arc::new(Tlb::new(&cpus));
        let mmu =
            Mmu::new(Arc::clone(&cpus), Arc::clone(&tlb), self.root_level, self.max_leaf, self.phys_bits);
        Machine::new(ram, cpus, mmu, tlb)
    }
}
