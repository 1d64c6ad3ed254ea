//! The MMU port of a simulated machine: what kind of MMU it is, and the root of each CPU.

use crate::walker::Paging;
use crate::{Cpus, Tlb};
use mm::addr::PhysAddr;
use mm::pgtable::X86_64;
use mm::port::{Cpu, Level};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The MMUs of one machine: one format, one root per CPU.
pub struct Mmu {
    cpus: Arc<Cpus>,
    tlb: Arc<Tlb>,
    paging: Paging,
    root_level: Level,
    max_leaf: Level,
    roots: Box<[AtomicU64]>,
}

impl Mmu {
    pub(crate) fn new(
        cpus: Arc<Cpus>,
        tlb: Arc<Tlb>,
        root_level: Level,
        max_leaf: Level,
        phys_bits: u32,
    ) -> Self {
        let roots = cpus.ids().map(|_| AtomicU64::new(0)).collect();
        let paging = Paging { levels: root_level.get(), max_leaf: max_leaf.get(), phys_bits };
        Self { cpus, tlb, paging, root_level, max_leaf, roots }
    }

    pub(crate) fn paging(&self) -> Paging {
        self.paging
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
        self.tlb.change_root(self.cpus.id());
    }

    fn active_root(&self) -> PhysAddr {
        PhysAddr::truncate(self.root().load(Ordering::Acquire))
    }
}
