//! Timers: functions that a CPU calls when their time has come.
//!
//! Owns: a list for each CPU, in the order in which they are due, over the one-shot timer of its APIC. Stays outside:
//! what is called. Invariants: a timer is on one list at most, that of the CPU that set it, and only that CPU touches
//! the list, with interrupts masked; the hardware is set for the first of the list or earlier. Nothing ticks while the
//! list is empty. Source: Linux `kernel/time/hrtimer.c`, one clock base and no tree.

use crate::arch::percpu::{self, MAX_CPUS};
use crate::arch::{cpu, irq, time};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// A timer. Lives for good.
pub struct Timer {
    call: fn(usize),
    argument: AtomicUsize,
    /// When, in TSC units.
    due: AtomicU64,
    next: AtomicPtr<Timer>,
    listed: AtomicBool,
}

/// The list of one CPU.
struct List {
    first: AtomicPtr<Timer>,
    /// What the hardware is set for; 0 for nothing.
    armed: AtomicU64,
}

static LISTS: [List; MAX_CPUS] =
    [const { List { first: AtomicPtr::new(null_mut()), armed: AtomicU64::new(0) } }; MAX_CPUS];

/// From here on timers can be set, on every CPU. Once.
pub fn start() {
    irq::set_handler(irq::line::TIMER, on_interrupt);
}

fn here() -> &'static List {
    // A CPU number is below MAX_CPUS from the moment it is given.
    &LISTS[percpu::cpu() as usize % MAX_CPUS]
}

fn timer<'a>(raw: *mut Timer) -> Option<&'a Timer> {
    // SAFETY: lists hold only what `Timer::set` put there, which lives for good.
    unsafe { raw.as_ref() }
}

impl Timer {
    /// A timer that calls `call`, with interrupts masked.
    pub const fn new(call: fn(usize)) -> Self {
        Self {
            call,
            argument: AtomicUsize::new(0),
            due: AtomicU64::new(0),
            next: AtomicPtr::new(null_mut()),
            listed: AtomicBool::new(false),
        }
    }

    /// Calls the function with `argument` on this CPU once `ns` nanoseconds have passed. It is not set.
    pub fn set(&'static self, ns: u64, argument: usize) {
        irq::disable();
        let due = cpu::rdtsc().wrapping_add(time::ns_to_tsc(ns)).max(1);
        self.argument.store(argument, Ordering::Relaxed);
        self.due.store(due, Ordering::Relaxed);
        self.listed.store(true, Ordering::Relaxed);
        let list = here();
        let mut link = &list.first;
        while let Some(other) = timer(link.load(Ordering::Relaxed)) {
            if other.due.load(Ordering::Relaxed) > due {
                break;
            }
            link = &other.next;
        }
        self.next.store(link.load(Ordering::Relaxed), Ordering::Relaxed);
        link.store(core::ptr::from_ref(self).cast_mut(), Ordering::Relaxed);
        let armed = list.armed.load(Ordering::Relaxed);
        if armed == 0 || due < armed {
            list.arm();
        }
        irq::enable();
    }

    /// Takes it back, on the CPU that has set it; nothing if it was called already. The hardware may still interrupt.
    pub fn cancel(&'static self) {
        irq::disable();
        if self.listed.swap(false, Ordering::Relaxed) {
            let mut link = &here().first;
            while let Some(other) = timer(link.load(Ordering::Relaxed)) {
                if core::ptr::eq(other, self) {
                    link.store(self.next.load(Ordering::Relaxed), Ordering::Relaxed);
                    break;
                }
                link = &other.next;
            }
        }
        irq::enable();
    }
}

impl List {
    /// Sets the hardware for the first of the list.
    fn arm(&self) {
        let Some(first) = timer(self.first.load(Ordering::Relaxed)) else {
            return self.armed.store(0, Ordering::Relaxed);
        };
        let due = first.due.load(Ordering::Relaxed);
        self.armed.store(due, Ordering::Relaxed);
        time::arm_timer(time::tsc_to_ns(due.saturating_sub(cpu::rdtsc())));
    }
}

/// The handler of the timer's interrupt: calls what is due, and sets the hardware for the rest.
fn on_interrupt(_line: usize) {
    let list = here();
    while let Some(first) = timer(list.first.load(Ordering::Relaxed)) {
        if first.due.load(Ordering::Relaxed) > cpu::rdtsc() {
            break;
        }
        list.first.store(first.next.load(Ordering::Relaxed), Ordering::Relaxed);
        first.listed.store(false, Ordering::Relaxed);
        (first.call)(first.argument.load(Ordering::Relaxed));
    }
    list.arm();
}
