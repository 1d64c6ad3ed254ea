//! Running a piece of work on another CPU.
//!
//! Owns: the one call that is under way. Stays outside: what is called. Invariants: one call at a time in the whole
//! machine; the caller waits with interrupts on, so a call to it and its own cannot wait for each other; the work
//! lives as long as the call.

use super::{irq, lapic, percpu, smp, tlb};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

/// The work of the call under way: a thin pointer to the caller's reference.
type Work<'a> = &'a (dyn Fn() + Sync);

static TAKEN: AtomicBool = AtomicBool::new(false);
static WORK: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
/// Whose turn it is, plus 1; 0 when the work has run.
static TARGET: AtomicU32 = AtomicU32::new(0);

/// Runs `work` on CPU `target` with interrupts masked there, and returns when it has run. Interrupts are on here,
/// unless `target` is this CPU. A CPU that is not there is left out.
pub fn on(target: u32, work: Work<'_>) {
    if target == percpu::cpu() {
        irq::disable();
        work();
        return irq::enable();
    }
    let Some(area) = smp::area(target).filter(|_| target < smp::online()) else { return };
    while TAKEN.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
        wait();
    }
    WORK.store((&raw const work) as *mut (), Ordering::Relaxed);
    TARGET.store(target + 1, Ordering::Release);
    lapic::send_ipi(percpu::apic_id_of(area), irq::line::CALL);
    while TARGET.load(Ordering::Acquire) != 0 {
        wait();
    }
    TAKEN.store(false, Ordering::Release);
}

fn wait() {
    tlb::service();
    core::hint::spin_loop();
}

/// The handler of the message.
pub fn on_message(_line: usize) {
    if TARGET.load(Ordering::Acquire) != percpu::cpu() + 1 {
        return;
    }
    let work = WORK.load(Ordering::Relaxed).cast_const().cast::<Work<'_>>();
    // SAFETY: the caller stored a pointer to its reference before it named this CPU, and waits until TARGET is 0.
    unsafe { (*work)() };
    TARGET.store(0, Ordering::Release);
}
