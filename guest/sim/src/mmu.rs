//! The MMU port of a simulated machine: what kind of MMU it is, and the root of each CPU.

use crate::Cpus;
use mm::addr::PhysAddr;
use mm::pgtable::X86_64;
use mm::port::{Cpu, Level};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The MMUs of one machine: one format, one root per CPU.
pub struct Mmu {
    cpus: Arc<Cpus>,
    root_level: Level,
    max_leaf: Level,
    roots: Box<[AtomicU64]>,
}

impl Mmu {
    pub(crate) fn new(cpus: Arc<Cpus>, root_level: Level, max_leaf: Level) -> Self {
        let roots = cpus.ids().map(|_| AtomicU64::new(0)).collect();
        Self { cpus, root_level, max_leaf, roots }
    }

    fn root(&self) -> &AtomicU64 {
        &self.roots[self.cpus.id().0 as usize]
    }
}

impl mm::port::Mmu for Mmu {
    type Pte = X86_64;

    fn root_level(&self) -> Level {
        self.root_level
    }

    fn max_leaf(&self) -> Level {
        self.max_leaf
    }

    unsafe fn activate(&self, root: PhysAddr) {
        self.root().store(root.get(), Ordering::Release);
    }

    fn active_root(&self) -> PhysAddr {
        PhysAddr::truncate(self.root().load(Ordering::Acquire))
    }
}
