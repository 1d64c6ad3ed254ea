//! Pressure of memory: what the scheduler tells `mm::psi`, and stretches in which a task waits for memory.
//!
//! Owns: the one [`Psi`]. Invariants: every task but idle ones is counted as running from the moment it is ready to that
//! in which it parks or ends, on the CPU that it is pinned to.

use super::{Task, current};
use crate::machine::CPU;
use crate::settings;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicBool, Ordering};
use mm::port::CpuId;
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

/// The running task waits for memory until this is dropped (Linux `psi_memstall_enter`).
#[must_use = "dropping it ends the wait"]
pub struct Memstall {
    /// An outer one tells.
    is_inner: bool,
    _this_task: PhantomData<*const ()>,
}

/// Begins to wait for memory.
pub fn memstall() -> Memstall {
    let me = current();
    let is_inner = me.stalled.swap(true, Ordering::Relaxed);
    if !is_inner {
        tell(me, TaskChange { stalled: 1, stalled_running: 1, ..TaskChange::default() });
    }
    Memstall { is_inner, _this_task: PhantomData }
}

impl Drop for Memstall {
    fn drop(&mut self) {
        if !self.is_inner {
            let me = current();
            me.stalled.store(false, Ordering::Relaxed);
            tell(me, TaskChange { stalled: -1, stalled_running: -1, ..TaskChange::default() });
        }
    }
}
