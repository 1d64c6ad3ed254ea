//! A lock whose holder may sleep (Linux `struct mutex`).
//!
//! Invariants: one holder at a time; who waits sleeps, so it is taken only where code can wait.

use super::WaitQueue;
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

/// See the module documentation.
pub struct Mutex<T> {
    held: AtomicBool,
    waiters: WaitQueue,
    value: UnsafeCell<T>,
}

// SAFETY: the value has one user at a time: who holds the lock.
unsafe impl<T: Send> Sync for Mutex<T> {}

/// Holds the lock until it is dropped.
#[must_use = "dropping it lets the lock go"]
pub struct MutexGuard<'a, T>(&'a Mutex<T>);

impl<T> Mutex<T> {
    /// Nobody holds it.
    pub const fn new(value: T) -> Self {
        Self { held: AtomicBool::new(false), waiters: WaitQueue::new(), value: UnsafeCell::new(value) }
    }

    /// Sleeps until nobody else holds it.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.waiters.wait_until(|| !self.held.swap(true, Ordering::Acquire));
        MutexGuard(self)
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this is the only holder.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.0.held.store(false, Ordering::Release);
        self.0.waiters.wake_all();
    }
}
