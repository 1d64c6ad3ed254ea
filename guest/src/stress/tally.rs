//! What the stress counts, a CPU each, and the mailboxes of its messages.

use super::Verdict;
use crate::arch::{cpu, smp, time, tlb};
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// CPUs that can take part.
pub const CPUS: usize = 8;
/// Senders a CPU: its task, and its timer handler.
pub const SENDERS: usize = 2;

/// A message from one sender to one CPU.
pub struct Mailbox {
    /// On its way.
    pub waiting: AtomicBool,
    /// How many were sent.
    pub sent: AtomicU64,
}

/// Mailboxes by sending CPU, sender and target.
pub static MAIL: [[[Mailbox; CPUS]; SENDERS]; CPUS] = [const {
    [const { [const { Mailbox { waiting: AtomicBool::new(false), sent: AtomicU64::new(0) } }; CPUS] };
        SENDERS]
}; CPUS];

/// One CPU's counts.
#[derive(Default)]
pub struct Cpu {
    /// Messages seen.
    pub received: AtomicU64,
    /// Timer interrupts.
    pub timers: AtomicU64,
    /// Page faults.
    pub faults: AtomicU64,
    /// Gate calls.
    pub gates: AtomicU64,
    /// Spins.
    pub spins: AtomicU64,
    /// Registers that came out wrong.
    pub wrong: AtomicU64,
    /// Its part is over.
    pub done: AtomicBool,
}

impl Cpu {
    const fn new() -> Self {
        Self {
            received: AtomicU64::new(0),
            timers: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            gates: AtomicU64::new(0),
            spins: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
            done: AtomicBool::new(false),
        }
    }

    fn counts(&self) -> [&AtomicU64; 6] {
        [&self.received, &self.timers, &self.faults, &self.gates, &self.spins, &self.wrong]
    }

    /// Back to zero.
    pub fn clear(&self) {
        self.counts().into_iter().for_each(|count| count.store(0, Ordering::Relaxed));
        self.done.store(false, Ordering::Relaxed);
    }
}

/// Counts by CPU.
pub static TALLY: [Cpu; CPUS] = [const { Cpu::new() }; CPUS];

/// How many CPUs take part.
pub fn cpus() -> usize {
    (smp::online() as usize).min(CPUS)
}

fn sent() -> u64 {
    MAIL.iter().flatten().flatten().map(|mailbox| mailbox.sent.load(Ordering::Relaxed)).sum()
}

/// Waits until every message has arrived, at most `ns` nanoseconds.
pub fn settle(ns: u64) {
    let received = || TALLY.iter().map(|tally| tally.received.load(Ordering::Relaxed)).sum::<u64>();
    let (start, length) = (cpu::rdtsc(), time::ns_to_tsc(ns));
    while sent() != received() && cpu::rdtsc().wrapping_sub(start) < length {
        core::hint::spin_loop();
    }
}

/// Prints the sums.
pub fn report(print: impl FnOnce(fmt::Arguments<'_>)) -> Verdict {
    let mut sums = [0; 6];
    for tally in &TALLY {
        for (sum, count) in sums.iter_mut().zip(tally.counts()) {
            *sum += count.load(Ordering::Relaxed);
        }
    }
    let [received, timers, faults, gates, spins, wrong] = sums;
    let sent = sent();
    // More seen than sent would be as wrong as a loss.
    let lost = sent.abs_diff(received);
    print(format_args!(
        "stress: ring={} cpus={} gates={gates} faults={faults} spins={spins} timers={timers} sent={sent} \
         received={received} flushes={} wrong={wrong} lost={lost}\n",
        cpu::ring(),
        cpus(),
        tlb::flushes(),
    ));
    Verdict { wrong, lost }
}
