//! CPUs for the model checker, with sections that calls from other CPUs wait for.

extern crate std;

use super::atomic::{AtomicBool, Ordering};
use crate::port::{Cpu, CpuId, TaskFlags};
use core::cell::Cell;
use loom::sync::Arc;
use loom::thread;
use std::vec::Vec;

/// One of several CPUs; the thread that has it plays it.
pub(crate) struct Core {
    id: u32,
    depth: Cell<u32>,
    /// Of each CPU, whether it is in a masked section or runs a call.
    busy: Arc<Vec<AtomicBool>>,
}

impl Core {
    /// `count` CPUs.
    pub(crate) fn all(count: u32) -> Vec<Self> {
        let busy: Arc<Vec<_>> = Arc::new((0..count).map(|_| AtomicBool::new(false)).collect());
        (0..count).map(|id| Self { id, depth: Cell::new(0), busy: Arc::clone(&busy) }).collect()
    }

    fn enter(&self, cpu: u32) {
        let busy = &self.busy[cpu as usize];
        while busy.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            thread::yield_now();
        }
    }

    fn leave(&self, cpu: u32) {
        self.busy[cpu as usize].store(false, Ordering::Release);
    }
}

impl Cpu for Core {
    fn id(&self) -> CpuId {
        CpuId(self.id)
    }

    fn irq_disable(&self) {
        if self.depth.replace(self.depth.get() + 1) == 0 {
            self.enter(self.id);
        }
    }

    fn irq_enable(&self) {
        self.depth.set(self.depth.get() - 1);
        if self.depth.get() == 0 {
            self.leave(self.id);
        }
    }

    fn can_wait(&self) -> bool {
        self.depth.get() == 0
    }

    fn wait_on(&self, _key: u64, _done: &mut dyn FnMut() -> bool) {
        thread::yield_now();
    }

    fn wake(&self, _key: u64) {}

    fn wait_for(&self, _ns: u64) {
        thread::yield_now();
    }

    fn now(&self) -> u64 {
        0
    }

    fn task_flags(&self) -> TaskFlags {
        TaskFlags::empty()
    }

    fn set_task_flags(&self, _flags: TaskFlags) {}

    fn call_on(&self, CpuId(cpu): CpuId, work: &(dyn Fn() + Sync)) {
        assert!(self.can_wait());
        self.enter(cpu);
        work();
        self.leave(cpu);
    }

    fn relax(&self) {
        thread::yield_now();
    }
}
