//! A spin lock that masks interrupts while it is held (Linux `spin_lock_irqsave`).
//!
//! Owns: one flag and the data behind it. Stays outside: which CPU this is and how interrupts are masked (the
//! [`Cpu`] port). Invariants: between a successful swap of the flag and its release exactly one guard exists,
//! and its CPU takes no interrupt, so no handler can spin on a lock that its own CPU holds.
//!
//! Test-and-test-and-set and not a ticket: virtual CPUs are preempted, and a ticket lock then makes everyone
//! wait for the one that does not run.

use super::atomic::{AtomicBool, DataCell, Ordering};
use crate::port::{Cpu, IrqGuard};
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

/// Data that one CPU at a time may touch, with its interrupts masked.
///
/// The flag comes first, so that it shares a cache line with the start of the data.
#[repr(C)]
pub struct SpinLock<T> {
    locked: AtomicBool,
    data: DataCell<T>,
}

// SAFETY: the flag hands the data to one guard at a time, so sharing the lock only ever moves `T` between CPUs.
unsafe impl<T: Send> Sync for SpinLock<T> {}
// SAFETY: the lock owns its data.
unsafe impl<T: Send> Send for SpinLock<T> {}

impl<T> SpinLock<T> {
    /// An open lock around `value`.
    #[cfg(not(all(loom, test)))]
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self { locked: AtomicBool::new(false), data: DataCell::new(value) }
    }

    /// An open lock around `value`; loom's atomics cannot be built in a constant.
    #[cfg(all(loom, test))]
    #[must_use]
    pub fn new(value: T) -> Self {
        Self { locked: AtomicBool::new(false), data: DataCell::new(value) }
    }

    /// Masks interrupts on `cpu` and waits for the lock.
    #[inline]
    pub fn lock<'a, C: Cpu>(&'a self, cpu: &'a C) -> SpinGuard<'a, T, C> {
        let irq = cpu.irq_guard();
        while self.locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            // Waiting by loads keeps the line shared until the holder lets go.
            while self.locked.load(Ordering::Relaxed) {
                cpu.relax();
            }
        }
        SpinGuard { lock: self, _irq: irq, _this_cpu: PhantomData }
    }

    /// Takes the lock if it is open, without waiting.
    #[inline]
    pub fn try_lock<'a, C: Cpu>(&'a self, cpu: &'a C) -> Option<SpinGuard<'a, T, C>> {
        let irq = cpu.irq_guard();
        if self.locked.swap(true, Ordering::Acquire) {
            return None;
        }
        Some(SpinGuard { lock: self, _irq: irq, _this_cpu: PhantomData })
    }

    /// The data, without locking: nobody else can hold a guard.
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: `&mut self` proves that no guard and no other reference exists.
        self.data.with_mut(|data| unsafe { &mut *data })
    }
}

/// Exclusive access to the data of a [`SpinLock`]; dropping it unlocks, then unmasks interrupts.
#[must_use = "dropping the guard unlocks at once"]
pub struct SpinGuard<'a, T, C: Cpu> {
    lock: &'a SpinLock<T>,
    // Dropped after `Drop::drop` has opened the lock, so an interrupt never finds it closed.
    _irq: IrqGuard<'a, C>,
    // A guard belongs to the CPU that masked its interrupts.
    _this_cpu: PhantomData<*mut ()>,
}

impl<T, C: Cpu> Deref for SpinGuard<'_, T, C> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: this guard is the only one, and it is borrowed for as long as the reference lives.
        self.lock.data.with(|data| unsafe { &*data })
    }
}

impl<T, C: Cpu> DerefMut for SpinGuard<'_, T, C> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard is the only one, and it is borrowed exclusively for as long as the reference lives.
        self.lock.data.with_mut(|data| unsafe { &mut *data })
    }
}

impl<T, C: Cpu> Drop for SpinGuard<'_, T, C> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.locked.store(false, Ordering::Release);
    }
}
