//! A value that is filled in place once, at boot, and only read afterwards.
//!
//! Owns: the value and its state. Invariants: new -> filling -> ready, or back to new when filling fails; shared
//! references exist only in `ready`, the exclusive one only in `filling`. Filling in place keeps tens of
//! kilobytes off the boot stack and the empty value in zeroed image memory.

use super::atomic::{AtomicU8, DataCell, Ordering};

const NEW: u8 = 0;
const FILLING: u8 = 1;
const READY: u8 = 2;

/// A value that becomes readable once [`Once::init`] has filled it.
pub struct Once<T> {
    state: AtomicU8,
    value: DataCell<T>,
}

// SAFETY: the value is written by the one caller that moved the state to FILLING, and shared only in READY.
unsafe impl<T: Send + Sync> Sync for Once<T> {}
// SAFETY: the cell owns its value.
unsafe impl<T: Send> Send for Once<T> {}

/// Why [`Once::init`] did nothing or failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InitError<E> {
    /// The value is ready, or another CPU is filling it.
    Taken,
    /// Filling failed; a later call may try again.
    Failed(E),
}

impl<T> Once<T> {
    /// Not yet filled; `empty` is what [`Once::init`] starts from.
    #[cfg(not(all(loom, test)))]
    #[must_use]
    pub const fn new(empty: T) -> Self {
        Self { state: AtomicU8::new(NEW), value: DataCell::new(empty) }
    }

    /// Not yet filled; loom's atomics cannot be built in a constant.
    #[cfg(all(loom, test))]
    #[must_use]
    pub fn new(empty: T) -> Self {
        Self { state: AtomicU8::new(NEW), value: DataCell::new(empty) }
    }

    /// The value, once it is ready.
    #[inline(always)]
    pub fn get(&self) -> Option<&T> {
        if self.state.load(Ordering::Acquire) == READY {
            // SAFETY: in READY nothing writes the value any more, and Acquire makes the filling visible.
            Some(self.value.with(|value| unsafe { &*value }))
        } else {
            None
        }
    }

    /// Fills the value and makes it readable. After a failure `fill` must cope with what it left behind.
    ///
    /// # Errors
    /// [`InitError::Taken`] if it is filled or being filled, [`InitError::Failed`] with the error of `fill`.
    pub fn init<E>(&self, fill: impl FnOnce(&mut T) -> Result<(), E>) -> Result<(), InitError<E>> {
        if self.state.compare_exchange(NEW, FILLING, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return Err(InitError::Taken);
        }
        // SAFETY: only the caller that moved NEW to FILLING gets here, and `get` gives nothing out before READY.
        let result = self.value.with_mut(|value| fill(unsafe { &mut *value }));
        self.state.store(if result.is_ok() { READY } else { NEW }, Ordering::Release);
        result.map_err(InitError::Failed)
    }
}
