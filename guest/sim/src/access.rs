//! Loads, stores and fetches through virtual addresses, as the CPU that the calling thread plays.

use crate::walker::{Mode, Request, word};
use crate::{Fault, Machine};
use mm::addr::{PhysAddr, VirtAddr};
use mm::port::{Access, Cpu, Machine as _, Mmu};
use std::sync::atomic::{AtomicU64, Ordering};

/// A CPU in one mode: what executes instructions.
#[derive(Clone, Copy)]
pub struct Core<'m> {
    machine: &'m Machine,
    mode: Mode,
}

impl Machine {
    /// This CPU in supervisor mode.
    #[must_use]
    pub fn supervisor(&self) -> Core<'_> {
        Core { machine: self, mode: Mode::Supervisor }
    }

    /// This CPU in user mode.
    #[must_use]
    pub fn user(&self) -> Core<'_> {
        Core { machine: self, mode: Mode::User }
    }
}

impl Core<'_> {
    /// Loads the word at `va`.
    ///
    /// # Errors
    /// The fault that the load raises.
    ///
    /// # Panics
    /// If `va` is not a multiple of 8.
    pub fn load_u64(&self, va: VirtAddr) -> Result<u64, Fault> {
        self.access(va, Access::Read, |word| word.load(Ordering::Acquire))
    }

    /// Stores `value` at `va`.
    ///
    /// # Errors
    /// The fault that the store raises; nothing is stored then.
    ///
    /// # Panics
    /// If `va` is not a multiple of 8.
    pub fn store_u64(&self, va: VirtAddr, value: u64) -> Result<(), Fault> {
        self.access(va, Access::Write, |word| word.store(value, Ordering::Release))
    }

    /// Fetches an instruction at `va`: where it would come from.
    ///
    /// # Errors
    /// The fault that the fetch raises.
    pub fn fetch(&self, va: VirtAddr) -> Result<PhysAddr, Fault> {
        self.translate(va, Access::Execute, Ok)
    }

    /// Does what a CPU may do at any time on its own: translates `va` ahead of a load that never comes. Fills
    /// the TLB and sets A as a load would, but raises nothing.
    pub fn speculate(&self, va: VirtAddr) {
        let m = self.machine;
        let paging = m.mmu().paging();
        if va.is_canonical(paging.levels) {
            let request = Request { va, access: Access::Read, mode: self.mode };
            let mut cache = m.tlb().cache(m.cpu().id());
            cache.speculate(paging, m.physmem(), m.mmu().active_root(), request);
        }
    }

    fn access<R>(
        &self,
        va: VirtAddr,
        access: Access,
        work: impl FnOnce(&AtomicU64) -> R,
    ) -> Result<R, Fault> {
        assert!(va.get().is_multiple_of(8), "{va:?}: only aligned words can be accessed");
        self.translate(va, access, |pa| word(self.machine.physmem(), pa).map(work))
    }

    /// Translates and does `work` as one instruction: no flush completes between the two.
    fn translate<R>(
        &self,
        va: VirtAddr,
        access: Access,
        work: impl FnOnce(PhysAddr) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let m = self.machine;
        let paging = m.mmu().paging();
        if !va.is_canonical(paging.levels) {
            return Err(Fault::NotCanonical { va });
        }
        let request = Request { va, access, mode: self.mode };
        let mut cache = m.tlb().cache(m.cpu().id());
        let pa = cache.translate(paging, m.physmem(), m.mmu().active_root(), request)?;
        work(pa)
    }
}
