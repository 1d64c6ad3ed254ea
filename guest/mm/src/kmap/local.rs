//! The window of each CPU: a stack of pages.
//!
//! Mappings nest strictly: the last one is unmapped first. Code that maps does not wait before it has unmapped, so
//! that no other task comes between; an interrupt that maps has unmapped when it ends.

use super::{Kmap, KmapError};
use crate::addr::{Pfn, VirtAddr};
use crate::port::{Cpu, CpuId, Machine, Tlb};
use core::sync::atomic::{AtomicUsize, Ordering};

/// Pages of each CPU (Linux `KM_MAX_IDX`).
pub const LOCAL_SLOTS: usize = 16;

/// How many pages a CPU has in use. Only that CPU writes it, with interrupts masked.
pub(super) struct Stack(AtomicUsize);

impl Stack {
    pub const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }
}

impl<'m, M: Machine> Kmap<'m, M> {
    /// Maps `pfn` for this CPU alone, until [`Kmap::unmap_local`]. Does not fail for want of memory.
    ///
    /// # Errors
    /// [`KmapError::OutOfSlots`], [`KmapError::NotReady`].
    pub fn map_local(&self, pfn: Pfn) -> Result<VirtAddr, KmapError> {
        let windows = self.windows()?;
        let _masked = self.machine.cpu().irq_guard();
        let (first, stack) = self.stack(self.machine.cpu().id())?;
        let depth = stack.0.load(Ordering::Relaxed);
        if depth >= LOCAL_SLOTS {
            return Err(KmapError::OutOfSlots);
        }
        windows.slot(first + depth)?.set(windows.pte(pfn));
        stack.0.store(depth + 1, Ordering::Relaxed);
        Ok(windows.address(first + depth))
    }

    /// Takes away the last mapping of this CPU, of which `at` is any address.
    ///
    /// # Errors
    /// [`KmapError::OutOfOrder`], [`KmapError::NotMapped`].
    pub fn unmap_local(&self, at: VirtAddr) -> Result<(), KmapError> {
        let windows = self.windows()?;
        let _masked = self.machine.cpu().irq_guard();
        let (first, stack) = self.stack(self.machine.cpu().id())?;
        let last = stack.0.load(Ordering::Relaxed).checked_sub(1).ok_or(KmapError::NotMapped(at))?;
        let given = windows.page_at(at).ok_or(KmapError::NotMapped(at))?;
        if given != first + last {
            let is_mine = (first..first + last).contains(&given);
            let last = windows.address(first + last);
            return Err(if is_mine { KmapError::OutOfOrder { at, last } } else { KmapError::NotMapped(at) });
        }
        // The frame is in the hands of whoever mapped it.
        let _ = windows.slot(given)?.take();
        self.machine.tlb().flush_local(windows.address(given));
        stack.0.store(last, Ordering::Relaxed);
        Ok(())
    }

    /// How many mappings a CPU has: at rest any is a leak.
    pub fn locals_of(&self, cpu: CpuId) -> usize {
        self.stack(cpu).map_or(0, |(_, stack)| stack.0.load(Ordering::Relaxed))
    }

    /// The first page of a CPU, and how many are in use.
    fn stack(&self, cpu: CpuId) -> Result<(usize, &Stack), KmapError> {
        let cpu = cpu.0 as usize;
        let stack = self.stacks.get(cpu).ok_or(KmapError::OutOfSlots)?;
        Ok((cpu * LOCAL_SLOTS, stack))
    }
}
