//! The lock and the one-time value under the model checker: every interleaving of two or three CPUs.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p mm --lib --release`.

extern crate std;

use super::{InitError, Once, SpinLock};
use crate::port::{Cpu, CpuId};
use core::cell::Cell;
use loom::sync::Arc;
use loom::thread;
use std::vec::Vec;

/// A CPU that knows how deep its interrupts are masked.
struct Core {
    id: u32,
    masked: Cell<u32>,
}

impl Core {
    fn new(id: u32) -> Self {
        Self { id, masked: Cell::new(0) }
    }

    fn is_masked(&self) -> bool {
        self.masked.get() != 0
    }
}

impl Cpu for Core {
    fn id(&self) -> CpuId {
        CpuId(self.id)
    }

    fn irq_disable(&self) {
        self.masked.set(self.masked.get() + 1);
    }

    fn irq_enable(&self) {
        self.masked.set(self.masked.get() - 1);
    }

    fn relax(&self) {
        thread::yield_now();
    }
}

/// Increments are never lost and loom sees no unsynchronized access: the lock excludes and publishes.
#[test]
fn lock_excludes_and_publishes() {
    loom::model(|| {
        let lock = Arc::new(SpinLock::new(0_u32));
        let workers: Vec<_> = (1..3)
            .map(|id| {
                let lock = Arc::clone(&lock);
                thread::spawn(move || {
                    let core = Core::new(id);
                    let mut value = lock.lock(&core);
                    assert!(core.is_masked());
                    let read = *value;
                    *value = read + 1;
                    drop(value);
                    assert!(!core.is_masked());
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
        assert_eq!(*lock.lock(&Core::new(0)), 2);
    });
}

/// Whoever sees the value sees all of it, and one of two fillers wins.
#[test]
fn once_publishes_one_complete_value() {
    loom::model(|| {
        let once = Arc::new(Once::new((0, 0)));
        let fill = |once: &Once<(u32, u32)>, n| {
            once.init(|value| {
                *value = (n, n);
                Ok::<(), ()>(())
            })
        };
        let other = {
            let once = Arc::clone(&once);
            thread::spawn(move || fill(&once, 1))
        };
        let mine = fill(&once, 2);
        if let Some(&(a, b)) = once.get() {
            assert!(a == b && a != 0);
        }
        let theirs = other.join().unwrap();
        assert!(mine.is_ok() != theirs.is_ok());
        assert!(mine == Err(InitError::Taken) || theirs == Err(InitError::Taken));
        assert!(once.get().is_some());
    });
}

/// A failed filling leaves the value unreadable, and a later one may succeed.
#[test]
fn once_can_be_retried_after_failure() {
    loom::model(|| {
        let once = Once::new(0);
        assert_eq!(once.init(|_| Err("no")), Err(InitError::Failed("no")));
        assert!(once.get().is_none());
        once.init(|value| {
            *value = 7;
            Ok::<(), &str>(())
        })
        .unwrap();
        assert_eq!(once.get(), Some(&7));
    });
}
