//! The lock and the one-time value under the model checker: every interleaving of two or three CPUs.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p mm --lib --release`.

extern crate std;

use super::ownership::{Freed, Place, RemoteWord};
use super::{InitError, Once, RwLock, SpinLock};
use crate::port::{Cpu, CpuId, TaskFlags};
use core::cell::Cell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
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

    fn can_wait(&self) -> bool {
        !self.is_masked()
    }

    fn call_on(&self, _cpu: CpuId, work: &(dyn Fn() + Sync)) {
        work();
    }

    fn wait_on(&self, _key: u64, _done: &mut dyn FnMut() -> bool) {
        loom::thread::yield_now();
    }

    fn wake(&self, _key: u64) {}

    fn wait_for(&self, _ns: u64) {
        loom::thread::yield_now();
    }

    fn now(&self) -> u64 {
        0
    }

    fn task_flags(&self) -> TaskFlags {
        TaskFlags::empty()
    }

    fn set_task_flags(&self, _flags: TaskFlags) {}

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

/// A reader sees all of a change or nothing of it, whether or not it waits, and leaves the lock open.
#[test]
fn readers_and_writers_exclude_each_other() {
    loom::model(|| {
        let lock = Arc::new(RwLock::new((0_u32, 0_u32)));
        let writer = {
            let lock = Arc::clone(&lock);
            thread::spawn(move || {
                let core = Core::new(1);
                let mut value = lock.write(&core);
                assert!(core.is_masked());
                value.0 += 1;
                value.1 += 1;
                drop(value);
                assert!(!core.is_masked());
            })
        };
        let core = Core::new(0);
        if let Some(value) = lock.try_read(&core) {
            assert!(core.is_masked() && value.0 == value.1);
        }
        assert!(!core.is_masked());
        let value = lock.read(&core);
        assert_eq!(value.0, value.1);
        drop(value);
        writer.join().unwrap();
        assert_eq!(*lock.write(&core), (1, 1));
    });
}

/// Two writers take turns, and what one leaves the other finds.
#[test]
fn writers_take_turns() {
    loom::model(|| {
        let lock = Arc::new(RwLock::new(0_u32));
        let other = {
            let lock = Arc::clone(&lock);
            thread::spawn(move || *lock.write(&Core::new(1)) += 1)
        };
        *lock.write(&Core::new(0)) += 1;
        other.join().unwrap();
        assert_eq!(*lock.write(&Core::new(0)), 2);
    });
}

/// While a writer waits no reader comes in, so one who reads again and again lets it in.
#[test]
fn a_writer_that_waits_keeps_new_readers_out() {
    loom::model(|| {
        let lock = Arc::new(RwLock::new(0_u32));
        let core = Core::new(0);
        let first = lock.read(&core);
        let writer = {
            let lock = Arc::clone(&lock);
            thread::spawn(move || *lock.write(&Core::new(1)) = 1)
        };
        // Either the writer has not come yet, or nobody gets in any more.
        let before = lock.try_read(&core).is_some();
        let after = lock.try_read(&core).is_some();
        assert!(before || !after, "a reader came in past a writer that waits");
        drop(first);
        writer.join().unwrap();
        assert_eq!(*lock.read(&core), 1);
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

/// A slab of three objects: the shared word, and links of which every access is seen by the model checker.
struct Slab {
    word: AtomicU64,
    links: [loom::cell::UnsafeCell<Option<u32>>; 3],
    claims: AtomicUsize,
}

// SAFETY: the protocol under test says who may touch a link; the checker fails if it is wrong.
unsafe impl Sync for Slab {}
// SAFETY: as above.
unsafe impl Send for Slab {}

impl Slab {
    fn new(place: Place) -> Arc<Self> {
        let slab = Self {
            word: AtomicU64::new(0),
            links: [(); 3].map(|()| loom::cell::UnsafeCell::new(None)),
            claims: AtomicUsize::new(0),
        };
        RemoteWord(&slab.word).init(place);
        Arc::new(slab)
    }

    fn word(&self) -> RemoteWord<'_> {
        RemoteWord(&self.word)
    }

    fn link(&self, object: u32, to: Option<u32>) {
        // SAFETY: the freer owns the object until it is on a list.
        self.links[object as usize].with_mut(|link| unsafe { *link = to });
    }

    /// Frees `object` on `cpu`: onto the chain, or, by whoever becomes the owner, onto `local`.
    fn free(&self, cpu: u32, object: u32, local: &mut Vec<u32>) {
        if self.word().load().is(Place::Owned(cpu)) {
            self.link(object, local.last().copied());
            local.push(object);
            return;
        }
        let freed = self.word().free(cpu, object, |chain| {
            self.link(object, (chain.count != 0).then_some(chain.first));
            true
        });
        if freed == Freed::Claimed {
            self.claims.fetch_add(1, Ordering::Relaxed);
            self.link(object, None);
            local.push(object);
        }
    }

    /// Takes the chain and follows it.
    fn take(&self) -> Vec<u32> {
        let chain = self.word().take_chain();
        let (mut next, mut objects) = ((chain.count != 0).then_some(chain.first), Vec::new());
        while let Some(object) = next {
            objects.push(object);
            // SAFETY: the chain was taken off, so its objects are the taker's.
            next = self.links[object as usize].with(|link| unsafe { *link });
        }
        assert_eq!(objects.len(), chain.count as usize);
        objects
    }
}

/// Two CPUs free into a full slab: one of them becomes the owner, and no object is lost or doubled.
#[test]
fn a_full_slab_gets_one_owner_and_keeps_every_object() {
    loom::model(|| {
        let slab = Slab::new(Place::Full);
        let other = {
            let slab = Arc::clone(&slab);
            thread::spawn(move || {
                let mut local = Vec::new();
                slab.free(1, 0, &mut local);
                local
            })
        };
        let mut local = Vec::new();
        slab.free(2, 1, &mut local);
        slab.free(2, 2, &mut local);
        let mut all = other.join().unwrap();
        all.append(&mut local);
        all.append(&mut slab.take());
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
        assert_eq!(slab.claims.load(Ordering::Relaxed), 1);
    });
}

/// The owner gives the slab up while others free: either it gets their objects, or one of them becomes the owner.
#[test]
fn giving_up_a_slab_races_with_frees() {
    loom::model(|| {
        let slab = Slab::new(Place::Owned(0));
        let freers: Vec<_> = (1..3)
            .map(|cpu| {
                let slab = Arc::clone(&slab);
                thread::spawn(move || {
                    let mut local = Vec::new();
                    slab.free(cpu, cpu, &mut local);
                    local
                })
            })
            .collect();
        let mut all = Vec::new();
        loop {
            all.append(&mut slab.take());
            if slab.word().retire(0) {
                break;
            }
        }
        freers.into_iter().for_each(|freer| all.append(&mut freer.join().unwrap()));
        // What came after a new owner was found is still on the chain.
        all.append(&mut slab.take());
        all.sort_unstable();
        assert_eq!(all, [1, 2]);
    });
}

/// A slab changes hands with its chain: nothing that was pushed before or after is lost, and the last one to push
/// onto a slab of the node sees that all came back.
#[test]
fn handing_over_keeps_the_chain() {
    loom::model(|| {
        let slab = Slab::new(Place::Owned(0));
        let freer = {
            let slab = Arc::clone(&slab);
            thread::spawn(move || {
                let freed = slab.word().free(1, 0, |_| true);
                matches!(freed, Freed::Pushed(word) if word.is(Place::Node) && word.chain().count == 1)
            })
        };
        slab.word().hand_to(Place::Node);
        let seen_here = slab.word().load().chain().count == 1;
        let seen_there = freer.join().unwrap();
        assert!(seen_here || seen_there);
        assert_eq!(slab.take(), [0]);
        assert_eq!(slab.word().load().place(), Place::Node);
    });
}

/// An object that is the first of the chain already is not linked to itself.
#[test]
fn a_refused_link_changes_nothing() {
    loom::model(|| {
        let slab = Slab::new(Place::Node);
        assert!(matches!(slab.word().free(1, 2, |_| true), Freed::Pushed(_)));
        let before = slab.word().load();
        assert_eq!(slab.word().free(1, 2, |chain| chain.first != 2), Freed::Refused);
        assert_eq!(slab.word().load(), before);
    });
}
