//! The current CPU: its number, keeping interrupts out of a section, and what the task it runs may not do.

use bitflags::bitflags;
use core::marker::PhantomData;

/// A CPU number, dense from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct CpuId(pub u32);

bitflags! {
    /// What a task is in the middle of, as far as its allocations must know: Linux's names and bits
    /// (`include/linux/sched.h`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct TaskFlags: u32 {
        /// It makes room for others: it may use all reserves, and does not wait for room itself.
        const PF_MEMALLOC = 1 << 11;
        /// The OOM killer has chosen it: it may use a part of the reserves, so that it ends soon (Linux `TIF_MEMDIE`).
        const OOM_VICTIM = 1 << 16;
        /// Its allocations must not end in a file system.
        const PF_MEMALLOC_NOFS = 1 << 18;
        /// Its allocations must not start I/O.
        const PF_MEMALLOC_NOIO = 1 << 19;
        /// What it allocates stays where it is for long, so it gets nothing movable.
        const PF_MEMALLOC_PIN = 1 << 28;
    }
}

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
    /// Sleeps until somebody calls [`Cpu::wake`] with the same key, or for a while: the caller looks again whether what
    /// it waits for is there. Returns at once if `done` holds, which runs with interrupts masked and must not wait; so
    /// whoever makes it hold and then wakes is never missed. Only where this code [can wait](Cpu::can_wait).
    fn wait_on(&self, key: u64, done: &mut dyn FnMut() -> bool);
    /// Lets everybody who waits on `key` look again.
    fn wake(&self, key: u64);
    /// As [`Cpu::wait_on`] for at most `ns` nanoseconds, for whatever nobody wakes for.
    fn wait_for(&self, ns: u64);
    /// As [`Cpu::wait_on`] for at most `ns` nanoseconds; for all of them where nobody hears of [`Cpu::wake`] meanwhile.
    fn wait_on_for(&self, _key: u64, ns: u64, done: &mut dyn FnMut() -> bool) {
        if !done() {
            self.wait_for(ns);
        }
    }
    /// A good place for others to run first, if anybody who goes before this task is ready (Linux `cond_resched`). Only where
    /// this code [can wait](Cpu::can_wait).
    fn give_way(&self) {}
    /// Nanoseconds since boot; never falls.
    fn now(&self) -> u64;
    /// What the running task is in the middle of. An interrupt sees the flags of the task that it interrupts.
    fn task_flags(&self) -> TaskFlags;
    /// Sets what the running task is in the middle of.
    fn set_task_flags(&self, flags: TaskFlags);
    /// Opens a scope of the running task (Linux `memalloc_flags_save`): until the result is dropped its allocations are
    /// such as `flags` say, in whatever function. Scopes nest.
    fn memalloc_scope(&self, flags: TaskFlags) -> MemallocScope<'_, Self>
    where
        Self: Sized,
    {
        let before = self.task_flags();
        self.set_task_flags(before | flags);
        MemallocScope { cpu: self, opened: flags - before, _this_task: PhantomData }
    }
    /// Says whether the running task waits for memory from now on; whether it did before (Linux `psi_memstall_enter`,
    /// `psi_memstall_leave`).
    fn set_stalled(&self, _is_stalled: bool) -> bool {
        false
    }
    /// The running task waits for memory until the result is dropped.
    fn memstall(&self) -> Memstall<'_, Self>
    where
        Self: Sized,
    {
        Memstall { cpu: self, is_inner: self.set_stalled(true), _this_task: PhantomData }
    }
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

/// A scope of the task that opened it (Linux `memalloc_nofs_save` and those like it).
#[must_use = "dropping it ends the scope at once"]
pub struct MemallocScope<'a, C: Cpu> {
    cpu: &'a C,
    /// What an outer scope had not set already.
    opened: TaskFlags,
    /// Not sent to another task.
    _this_task: PhantomData<*const ()>,
}

impl<C: Cpu> Drop for MemallocScope<'_, C> {
    fn drop(&mut self) {
        self.cpu.set_task_flags(self.cpu.task_flags() - self.opened);
    }
}

/// A stretch in which the task that began it waits for memory, or makes room for itself.
#[must_use = "dropping it ends the wait"]
pub struct Memstall<'a, C: Cpu> {
    cpu: &'a C,
    /// An outer one tells.
    is_inner: bool,
    /// Not sent to another task.
    _this_task: PhantomData<*const ()>,
}

impl<C: Cpu> Drop for Memstall<'_, C> {
    fn drop(&mut self) {
        if !self.is_inner {
            self.cpu.set_stalled(false);
        }
    }
}
