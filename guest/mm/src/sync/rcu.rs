//! Reading what a writer takes apart meanwhile, without a lock (Linux RCU, classic flavour).
//!
//! Owns: what a read section is, and waiting until all that were there have ended. Stays outside: what is read, and
//! the list of what waits to be freed. Invariants: in a [`Section`] interrupts are masked on the CPU that runs it, and
//! it stays on that CPU.
//!
//! A section writes nothing that CPUs share: masking touches the CPU's own word. Whoever takes something out of a
//! structure and then calls [`synchronize`] may free it. Why that is right: [`Cpu::call_on`] runs its work on a CPU
//! while interrupts are not masked there, so before or after a section of that CPU, never inside. A section before it
//! has ended, and all that it read happened before the work and so before the free. A section after it sees what was
//! written before the call, so it no longer finds what was taken out.
//! Source: McKenney, Slingwine, "Read-copy update" (1998); Linux `synchronize_rcu` without preemption.

use crate::port::{Cpu, CpuId, IrqGuard};
use core::marker::PhantomData;

/// A stretch of code that no grace period can end in.
///
/// # Safety
/// While a value of the type exists interrupts are masked on the CPU that made it, and only that CPU can reach it.
pub unsafe trait Section {}

/// A read section; it ends when this is dropped (Linux `rcu_read_lock`).
#[must_use = "dropping the guard ends the section"]
pub struct ReadGuard<'a, C: Cpu> {
    _irq: IrqGuard<'a, C>,
    // A section belongs to the CPU that masked its interrupts.
    _this_cpu: PhantomData<*mut ()>,
}

// SAFETY: the guard masks interrupts, and a pointer inside keeps it and references to it on its CPU.
unsafe impl<C: Cpu> Section for ReadGuard<'_, C> {}

/// Starts a read section on this CPU; nests.
#[inline(always)]
pub fn read_lock<C: Cpu>(cpu: &C) -> ReadGuard<'_, C> {
    ReadGuard { _irq: cpu.irq_guard(), _this_cpu: PhantomData }
}

/// Waits until every section that runs now on CPUs `0..cpus` has ended (Linux `synchronize_rcu`). False if this code
/// cannot wait: then nothing is known.
#[must_use = "without a grace period nothing may be freed"]
pub fn synchronize<C: Cpu>(cpu: &C, cpus: u32) -> bool {
    if !cpu.can_wait() {
        return false;
    }
    for id in (0..cpus).map(CpuId) {
        cpu.call_on(id, &|| {});
    }
    true
}
