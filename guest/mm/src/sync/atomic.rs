//! The atomics and the cell of this module: `core`'s, or loom's under the model checker.
//!
//! Owns: the choice. Invariants: both sides have the same interface, so the code above has no `cfg`.

#[cfg(all(loom, test))]
pub(super) use loom::cell::UnsafeCell as DataCell;
#[cfg(not(all(loom, test)))]
pub(crate) use {
    core::hint::spin_loop,
    core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering},
};
#[cfg(all(loom, test))]
pub(crate) use {
    loom::hint::spin_loop,
    loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering},
};

/// `core`'s cell with loom's interface: access goes through a closure that gets a raw pointer.
#[cfg(not(all(loom, test)))]
pub(super) struct DataCell<T>(core::cell::UnsafeCell<T>);

#[cfg(not(all(loom, test)))]
impl<T> DataCell<T> {
    /// A cell that holds `value`.
    pub(super) const fn new(value: T) -> Self {
        Self(core::cell::UnsafeCell::new(value))
    }

    /// Calls `f` with a pointer for reading.
    #[inline(always)]
    pub(super) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    /// Calls `f` with a pointer for writing.
    #[inline(always)]
    pub(super) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}
