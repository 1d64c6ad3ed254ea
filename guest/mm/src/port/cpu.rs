//! The current CPU: its number, and keeping interrupts out of a section.

/// A CPU number, dense from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct CpuId(pub u32);

/// What the memory manager asks of the CPU it runs on.
pub trait Cpu {
    /// The CPU this code runs on. Stable only while an [`IrqGuard`] is held or the task is pinned.
    fn id(&self) -> CpuId;
    /// Masks interrupts on this CPU; nests.
    fn irq_disable(&self);
    /// Masks interrupts unless they are masked already; whether it did. It need not read the depth to write it, so
    /// sections that follow each other closely need not wait for the stores of those before.
    fn irq_try_disable(&self) -> bool {
        let is_outermost = self.can_wait();
        if is_outermost {
            self.irq_disable();
        }
        is_outermost
    }
    /// Undoes one [`Cpu::irq_disable`]; the outermost delivers what came meanwhile.
    fn irq_enable(&self);
    /// Whether this code may wait for another CPU: interrupts are not masked.
    fn can_wait(&self) -> bool;
    /// Runs `work` on CPU `cpu`, with interrupts masked there, and returns when it has run. For another CPU than the
    /// running one the caller [can wait](Cpu::can_wait) and holds no lock.
    fn call_on(&self, cpu: CpuId, work: &(dyn Fn() + Sync));
    /// A pause inside a spin loop.
    fn relax(&self) {
        core::hint::spin_loop();
    }

    /// Masks interrupts until the guard is dropped.
    fn irq_guard(&self) -> IrqGuard<'_, Self>
    where
        Self: Sized,
    {
        self.irq_disable();
        IrqGuard { cpu: self }
    }

    /// As [`Cpu::irq_guard`] by way of [`Cpu::irq_try_disable`], for the shortest sections.
    #[inline(always)]
    fn irq_guard_short(&self) -> IrqGuard<'_, Self>
    where
        Self: Sized,
    {
        if !self.irq_try_disable() {
            core::hint::cold_path();
            self.irq_disable();
        }
        IrqGuard { cpu: self }
    }
}

/// Interrupts are masked on this CPU while this lives.
#[must_use = "dropping the guard unmasks interrupts at once"]
pub struct IrqGuard<'a, C: Cpu> {
    cpu: &'a C,
}

impl<C: Cpu> Drop for IrqGuard<'_, C> {
    #[inline(always)]
    fn drop(&mut self) {
        self.cpu.irq_enable();
    }
}
