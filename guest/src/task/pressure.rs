//! Pressure of memory: what the scheduler tells `mm::psi`, and stretches in which a task waits for memory.
//!
//! Owns: the one [`Psi`]. Invariants: every task but idle ones is counted as running from the moment it is ready to that
//! in which it parks or ends, on the CPU that it is pinned to.

use super::{Task, current};
use crate::arch::percpu;
use crate::machine::{CPU, Cpu};
use crate::settings;
use core::sync::atomic::{AtomicBool, Ordering};
use mm::port::{Cpu as _, CpuId, Memstall};
use mm::psi::{Psi, TaskChange};

/// The pressure of memory.
pub static PSI: Psi = Psi::new();

static IS_ON: AtomicBool = AtomicBool::new(true);

/// Does what `psi=` says. At boot.
pub fn apply_settings() {
    IS_ON.store(settings::is_on("psi"), Ordering::Relaxed);
}

/// Whether pressure is measured.
pub fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

fn tell(task: &Task, change: TaskChange) {
    if is_on() {
        PSI.change(&CPU, CpuId(task.cpu()), change);
    }
}

/// A task runs, or could, from now on.
pub(super) fn runs(task: &Task) {
    let stalled_running = i32::from(task.stalled.load(Ordering::Relaxed));
    tell(task, TaskChange { running: 1, stalled_running, ..TaskChange::default() });
}

/// A task runs no more.
pub(super) fn stops(task: &Task) {
    let stalled_running = -i32::from(task.stalled.load(Ordering::Relaxed));
    tell(task, TaskChange { running: -1, stalled_running, ..TaskChange::default() });
}

/// The running task waits for memory from now on, or does so no more; whether it did before. Before there are tasks nobody
/// is told.
pub fn set_stalled(is_stalled: bool) -> bool {
    if percpu::current() == 0 {
        return true;
    }
    let me = current();
    let was_stalled = me.stalled.swap(is_stalled, Ordering::Relaxed);
    if was_stalled != is_stalled {
        let change = if is_stalled { 1 } else { -1 };
        tell(me, TaskChange { stalled: change, stalled_running: change, ..TaskChange::default() });
    }
    was_stalled
}

/// The running task waits for memory until this is dropped.
pub fn memstall() -> Memstall<'static, Cpu> {
    CPU.memstall()
}
