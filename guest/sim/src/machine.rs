//! The simulated machine: the ports of the memory manager, put together.

use crate::{Builder, Cpus, Mmu, Ram, Tlb};
use mm::addr::PhysAddr;
use std::ptr::NonNull;
use std::sync::Arc;

/// A simulated machine. Share it between the threads that play its CPUs by reference.
pub struct Machine {
    ram: Ram,
    cpus: Arc<Cpus>,
    mmu: Mmu,
    tlb: Arc<Tlb>,
}

impl Machine {
    pub(crate) fn new(ram: Ram, cpus: Arc<Cpus>, mmu: Mmu, tlb: Arc<Tlb>) -> Self {
        Self { ram, cpus, mmu, tlb }
    }

    /// Where the byte at `addr` is, for devices.
    pub(crate) fn ram_at(&self, addr: PhysAddr) -> Option<NonNull<u8>> {
        self.ram.at(addr)
    }

    /// A machine to be described.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A machine with `bytes` of RAM from address 0, and otherwise as [`Builder`] has it.
    ///
    /// # Panics
    /// If `bytes` is 0 or not a multiple of the page size.
    #[must_use]
    pub fn with_ram(bytes: u64) -> Self {
        Self::builder().ram(0..bytes).build()
    }
}

impl mm::port::Machine for Machine {
    type Mmu = Mmu;
    type PhysMem = Ram;
    type Tlb = Tlb;
    type Cpu = Cpus;

    #[inline]
    fn mmu(&self) -> &Mmu {
        &self.mmu
    }

    #[inline]
    fn physmem(&self) -> &Ram {
        &self.ram
    }

    #[inline]
    fn tlb(&self) -> &Tlb {
        &self.tlb
    }

    #[inline]
    fn cpu(&self) -> &Cpus {
        &self.cpus
    }
}
