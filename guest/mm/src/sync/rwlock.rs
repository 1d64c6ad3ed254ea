//! A spinning reader-writer lock that masks interrupts while it is held (Linux `read_lock_irqsave`,
//! `write_lock_irqsave`).
//!
//! Owns: one word and the data behind it. Stays outside: which CPU this is and how interrupts are masked (the
//! [`Cpu`] port). Invariants: there is one writer and no reader, or no writer; a writer that waits keeps new readers
//! out, so that readers cannot starve it. A holder never takes the same lock again.
//!
//! | bits | meaning |
//! |---|---|
//! | 0..30 | readers |
//! | 30 | a writer waits |
//! | 31 | a writer holds it |

use super::atomic::{AtomicU32, DataCell, Ordering};
use crate::port::{Cpu, IrqGuard};
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

const WRITER: u32 = 1 << 31;
const WAITING: u32 = 1 << 30;
const READERS: u32 = WAITING - 1;

/// Data that many CPUs may read, or one may change.
#[repr(C)]
pub struct RwLock<T> {
    word: AtomicU32,
    data: DataCell<T>,
}

// SAFETY: the word lets either one guard change the data or any number read it, so sharing the lock shares `&T` and
// moves `T` between CPUs.
unsafe impl<T: Send + Sync> Sync for RwLock<T> {}
// SAFETY: the lock owns its data.
unsafe impl<T: Send> Send for RwLock<T> {}

impl<T> RwLock<T> {
    /// An open lock around `value`.
    #[cfg(not(all(loom, test)))]
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self { word: AtomicU32::new(0), data: DataCell::new(value) }
    }

    /// An open lock around `value`; loom's atomics cannot be built in a constant.
    #[cfg(all(loom, test))]
    #[must_use]
    pub fn new(value: T) -> Self {
        Self { word: AtomicU32::new(0), data: DataCell::new(value) }
    }

    /// Masks interrupts on `cpu` and waits until no writer has the lock or waits for it.
    #[inline(always)]
    pub fn read<'a, C: Cpu>(&'a self, cpu: &'a C) -> ReadGuard<'a, T, C> {
        let irq = cpu.irq_guard();
        if !self.enter() {
            self.wait_for_writers(cpu);
        }
        ReadGuard { lock: self, irq, _this_cpu: PhantomData }
    }

    /// Reads if no writer has the lock or waits for it, without waiting.
    #[inline]
    pub fn try_read<'a, C: Cpu>(&'a self, cpu: &'a C) -> Option<ReadGuard<'a, T, C>> {
        let irq = cpu.irq_guard();
        // Not before it is in: dropping a guard leaves the lock.
        self.enter().then(|| ReadGuard { lock: self, irq, _this_cpu: PhantomData })
    }

    /// Counts one more reader as soon as there is no writer.
    #[cold]
    #[inline(never)]
    fn wait_for_writers(&self, cpu: &impl Cpu) {
        while !self.enter() {
            while self.word.load(Ordering::Relaxed) & (WRITER | WAITING) != 0 {
                cpu.relax();
            }
        }
    }

    /// Counts one more reader, unless there is a writer.
    #[inline(always)]
    fn enter(&self) -> bool {
        if self.word.fetch_add(1, Ordering::Acquire) & (WRITER | WAITING) == 0 {
            return true;
        }
        self.word.fetch_sub(1, Ordering::Relaxed);
        false
    }

    /// Masks interrupts on `cpu` and waits until nobody else has the lock.
    #[inline]
    pub fn write<'a, C: Cpu>(&'a self, cpu: &'a C) -> WriteGuard<'a, T, C> {
        let irq = cpu.irq_guard();
        // One who holds it alone clears both bits when it goes; others who wait set theirs again.
        while self.word.compare_exchange(0, WRITER, Ordering::Acquire, Ordering::Relaxed).is_err() {
            let seen = self.word.fetch_or(WAITING, Ordering::Relaxed) | WAITING;
            if seen & (WRITER | READERS) == 0
                && self.word.compare_exchange(seen, WRITER, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                break;
            }
            cpu.relax();
        }
        WriteGuard { lock: self, _irq: irq, _this_cpu: PhantomData }
    }

    /// The data, without locking: nobody else can hold a guard.
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: `&mut self` proves that no guard and no other reference exists.
        self.data.with_mut(|data| unsafe { &mut *data })
    }
}

/// Shared access to the data of a [`RwLock`].
#[must_use = "dropping the guard unlocks at once"]
pub struct ReadGuard<'a, T, C: Cpu> {
    lock: &'a RwLock<T>,
    // Dropped after `Drop::drop` has left the lock.
    irq: IrqGuard<'a, C>,
    _this_cpu: PhantomData<*mut ()>,
}

impl<T, C: Cpu> ReadGuard<'_, T, C> {
    /// Interrupts are masked as long as `this` is there.
    #[inline(always)]
    pub fn masked(this: &Self) -> &IrqGuard<'_, C> {
        &this.irq
    }
}

impl<T, C: Cpu> Deref for ReadGuard<'_, T, C> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: while a reader is counted there is no writer.
        self.lock.data.with(|data| unsafe { &*data })
    }
}

impl<T, C: Cpu> Drop for ReadGuard<'_, T, C> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.word.fetch_sub(1, Ordering::Release);
    }
}

/// Exclusive access to the data of a [`RwLock`].
#[must_use = "dropping the guard unlocks at once"]
pub struct WriteGuard<'a, T, C: Cpu> {
    lock: &'a RwLock<T>,
    // Dropped after `Drop::drop` has opened the lock.
    _irq: IrqGuard<'a, C>,
    _this_cpu: PhantomData<*mut ()>,
}

impl<T, C: Cpu> Deref for WriteGuard<'_, T, C> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: this guard is the only one, and it is borrowed for as long as the reference lives.
        self.lock.data.with(|data| unsafe { &*data })
    }
}

impl<T, C: Cpu> DerefMut for WriteGuard<'_, T, C> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard is the only one, and it is borrowed exclusively for as long as the reference lives.
        self.lock.data.with_mut(|data| unsafe { &mut *data })
    }
}

impl<T, C: Cpu> Drop for WriteGuard<'_, T, C> {
    #[inline(always)]
    fn drop(&mut self) {
        // Readers that came meanwhile have counted themselves and will leave again: only the writers' bits go.
        self.lock.word.fetch_and(READERS, Ordering::Release);
    }
}
