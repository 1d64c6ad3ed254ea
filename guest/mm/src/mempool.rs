//! Mempools: elements set aside, so that work which frees memory never has to wait for memory.
//!
//! Owns: the reserve of each pool. Stays outside: where elements come from and go to (the caller's allocator), and
//! waiting: [`Mempool::free`] says when one who waits may try again.
//! Invariants: the reserve is touched only when the allocator has nothing, and is refilled before anything goes back
//! to the allocator; so once a pool is filled, as many elements as it reserves can always be had by users who free
//! what they take. Source: Linux `mm/mempool.c`.

use crate::port::Cpu;
use crate::sync::SpinLock;

/// A reserve of up to `N` elements.
pub struct Mempool<T, const N: usize> {
    reserve: SpinLock<Reserve<T, N>>,
}

struct Reserve<T, const N: usize> {
    elements: [Option<T>; N],
    len: usize,
    /// How many are wanted.
    min: usize,
}

/// What became of an element that was freed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "who waits for an element must be woken"]
pub enum Freed {
    /// It is in the reserve: one who waits may try again.
    Kept,
    /// It went back to the allocator.
    Released,
}

/// The reserve could not be filled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotFilled;

impl<T, const N: usize> Mempool<T, N> {
    /// A pool that reserves nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { reserve: SpinLock::new(Reserve { elements: [const { None }; N], len: 0, min: 0 }) }
    }

    /// Sets how many elements are reserved, at most `N`, and has `make` and `release` bring the reserve there
    /// (Linux `mempool_create` and `mempool_resize`). Elements that are out stay out: they refill the reserve as
    /// they are freed.
    ///
    /// # Errors
    /// [`NotFilled`] if `make` has nothing or `min` is above `N`; as many are reserved then as before.
    pub fn resize<C: Cpu>(
        &self,
        cpu: &C,
        min: usize,
        mut make: impl FnMut() -> Option<T>,
        mut release: impl FnMut(T),
    ) -> Result<(), NotFilled> {
        if min > N {
            return Err(NotFilled);
        }
        let before = core::mem::replace(&mut self.reserve.lock(cpu).min, min);
        while self.reserve(cpu) < min {
            let Some(element) = make() else { break };
            if let Some(extra) = self.reserve.lock(cpu).put(element) {
                release(extra);
            }
        }
        let filled = self.reserve(cpu) >= min;
        if !filled {
            self.reserve.lock(cpu).min = before;
        }
        while let Some(extra) = self.take_above(cpu) {
            release(extra);
        }
        if filled { Ok(()) } else { Err(NotFilled) }
    }

    /// An element: a fresh one from `make`, or one of the reserve if there is none (Linux `mempool_alloc`). `None`
    /// only while all reserved elements are out.
    pub fn alloc<C: Cpu>(&self, cpu: &C, make: impl FnOnce() -> Option<T>) -> Option<T> {
        make().or_else(|| self.take(cpu))
    }

    /// Takes an element back: into the reserve if that is not full, else to `release` (Linux `mempool_free`).
    pub fn free<C: Cpu>(&self, cpu: &C, element: T, release: impl FnOnce(T)) -> Freed {
        match self.reserve.lock(cpu).put(element) {
            None => Freed::Kept,
            Some(element) => {
                release(element);
                Freed::Released
            }
        }
    }

    /// How many elements the reserve has.
    pub fn reserve<C: Cpu>(&self, cpu: &C) -> usize {
        self.reserve.lock(cpu).len
    }

    /// How many it should have.
    pub fn min<C: Cpu>(&self, cpu: &C) -> usize {
        self.reserve.lock(cpu).min
    }

    fn take<C: Cpu>(&self, cpu: &C) -> Option<T> {
        self.reserve.lock(cpu).take()
    }

    fn take_above<C: Cpu>(&self, cpu: &C) -> Option<T> {
        let mut reserve = self.reserve.lock(cpu);
        if reserve.len > reserve.min { reserve.take() } else { None }
    }
}

impl<T, const N: usize> Default for Mempool<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const N: usize> Reserve<T, N> {
    /// Adds an element; gives it back if there are enough.
    fn put(&mut self, element: T) -> Option<T> {
        if self.len >= self.min {
            return Some(element);
        }
        match self.elements.get_mut(self.len) {
            Some(slot) => {
                *slot = Some(element);
                self.len += 1;
                None
            }
            None => Some(element),
        }
    }

    fn take(&mut self) -> Option<T> {
        self.len = self.len.checked_sub(1)?;
        self.elements.get_mut(self.len)?.take()
    }
}
