//! Trap soundness: gates, page faults, messages between CPUs and timer interrupts at once, every register
//! checked across each.
//!
//! Owns: its counters and a window of addresses whose pages it maps in the fault handler. "Lost" is a
//! message sent and never seen; each sender has at most one on its way to each CPU.

mod probe;

use crate::arch::percpu::{self, MAX_CPUS};
use crate::arch::trap::{self, TrapFrame};
use crate::arch::{cpu, irq, lapic, smp, time};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use probe::{Context, Event};

/// CPUs that can take part.
const CPUS: usize = 8;
/// Senders a CPU: its loop, and its timer handler.
const SENDERS: usize = 2;
const WINDOW: u64 = 0x1000_0000_0000;
const WINDOW_STRIDE: u64 = 0x20_0000;
const PAGES: usize = 512;

struct Mailbox {
    waiting: AtomicBool,
    sent: AtomicU64,
}

static MAIL: [[[Mailbox; CPUS]; SENDERS]; CPUS] = [const {
    [const { [const { Mailbox { waiting: AtomicBool::new(false), sent: AtomicU64::new(0) } }; CPUS] };
        SENDERS]
}; CPUS];

struct Tally {
    received: AtomicU64,
    timers: AtomicU64,
    faults: AtomicU64,
    gates: AtomicU64,
    spins: AtomicU64,
    wrong: AtomicU64,
    done: AtomicBool,
}

static TALLY: [Tally; CPUS] = [const {
    Tally {
        received: AtomicU64::new(0),
        timers: AtomicU64::new(0),
        faults: AtomicU64::new(0),
        gates: AtomicU64::new(0),
        spins: AtomicU64::new(0),
        wrong: AtomicU64::new(0),
        done: AtomicBool::new(false),
    }
}; CPUS];

static RUNNING: AtomicBool = AtomicBool::new(false);
static GO: AtomicU32 = AtomicU32::new(0);

#[repr(C, align(4096))]
struct Table([AtomicU64; 512]);

static PDPT: Table = Table([const { AtomicU64::new(0) }; 512]);
static PD: Table = Table([const { AtomicU64::new(0) }; 512]);
static PTS: [Table; CPUS] = [const { Table([const { AtomicU64::new(0) }; 512]) }; CPUS];
static FRAME: [Table; CPUS] = [const { Table([const { AtomicU64::new(0) }; 512]) }; CPUS];

fn phys<T>(what: &T) -> u64 {
    what as *const T as u64 - shared::layout::IMAGE_OFFSET
}

unsafe extern "C" {
    static mut boot_pml4: u64;
}

fn link_tables() {
    let slot = (WINDOW >> 39 & 511) as usize;
    // SAFETY: the slot is unused; the tables are static.
    unsafe { (&raw mut boot_pml4).add(slot).write_volatile(phys(&PDPT) | 7) };
    PDPT.0[0].store(phys(&PD) | 7, Ordering::Release);
    for (n, table) in PTS.iter().enumerate() {
        PD.0[n].store(phys(table) | 7, Ordering::Release);
    }
}

fn handle_fault(frame: &mut TrapFrame) -> bool {
    let me = percpu::cpu() as usize;
    let base = WINDOW + me as u64 * WINDOW_STRIDE;
    if frame.vector != trap::PAGE_FAULT || frame.cr2 < base || frame.cr2 >= base + WINDOW_STRIDE {
        return false;
    }
    irq::enable();
    let page = ((frame.cr2 - base) >> 12) as usize;
    PTS[me].0[page].store(phys(&FRAME[me]) | 7, Ordering::Release);
    TALLY[me].faults.fetch_add(1, Ordering::Relaxed);
    irq::disable();
    true
}

fn send(sender: usize, target: usize) {
    let me = percpu::cpu() as usize;
    let mailbox = &MAIL[me][sender][target];
    if !mailbox.waiting.swap(true, Ordering::AcqRel) {
        mailbox.sent.fetch_add(1, Ordering::Relaxed);
        if let Some(area) = smp::area(target as u32) {
            lapic::send_ipi(percpu::apic_id_of(area), irq::line::STRESS);
        }
    }
}

fn on_message(_line: usize) {
    let me = percpu::cpu() as usize;
    for sender in &MAIL {
        for mailbox in sender.iter().map(|targets| &targets[me]) {
            if mailbox.waiting.swap(false, Ordering::AcqRel) {
                TALLY[me].received.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn on_timer(_line: usize) {
    let me = percpu::cpu() as usize;
    TALLY[me].timers.fetch_add(1, Ordering::Relaxed);
    for target in 0..smp::online() as usize {
        send(1, target);
    }
    if RUNNING.load(Ordering::Relaxed) {
        time::arm_timer(300_000);
    }
}

fn wide_vectors() -> bool {
    // The plain instruction on purpose: what counts is what CPL3 can execute.
    let leaf = core::arch::x86_64::__cpuid(1);
    leaf.ecx & (1 << 27) != 0 && leaf.ecx & (1 << 28) != 0
}

/// One CPU's part, until the clock runs out.
fn run_here(end: u64) {
    let me = percpu::cpu() as usize;
    let cpus = smp::online() as usize;
    let mut context = Context::new(wide_vectors());
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ (me as u64 + 1) << 32;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut page = 0;
    let base = WINDOW + me as u64 * WINDOW_STRIDE;
    time::arm_timer(300_000);
    while cpu::rdtsc() < end {
        let tally = &TALLY[me];
        let choice = random() % 8;
        let (event, count) = match choice {
            0..=2 if cpu::ring() != 0 => (Event::Gate, &tally.gates),
            0..=5 => {
                if page == PAGES {
                    page = 0;
                    for entry in &PTS[me].0 {
                        entry.store(0, Ordering::Relaxed);
                    }
                    // SAFETY: the same root again.
                    unsafe { cpu::write_cr3(cpu::read_cr3()) };
                }
                page += 1;
                (Event::Fault { address: base + (page as u64 - 1) * 4096 + (random() & 0xff8) }, &tally.spins)
            }
            _ => {
                send(0, (random() % cpus as u64) as usize);
                (Event::Spin { turns: random() % 20_000 }, &tally.spins)
            }
        };
        let wrong = context.run(event, &mut random);
        tally.wrong.fetch_add(u64::from(wrong), Ordering::Relaxed);
        count.fetch_add(1, Ordering::Relaxed);
    }
    TALLY[me].done.store(true, Ordering::Release);
}

/// What an AP does: wait for the go, take part, idle.
pub fn ap_main() -> ! {
    while GO.load(Ordering::Acquire) == 0 {
        core::hint::spin_loop();
    }
    run_here(END.load(Ordering::Acquire));
    irq::wait_until(|| false);
    cpu::stop()
}

static END: AtomicU64 = AtomicU64::new(0);

/// Runs the stress on every CPU for `seconds`; true if nothing was wrong or lost.
pub fn run(seconds: u64) -> bool {
    link_tables();
    trap::set_handler(Some(handle_fault));
    irq::set_handler(irq::line::TIMER, on_timer);
    irq::set_handler(irq::line::STRESS, on_message);
    RUNNING.store(true, Ordering::Release);
    let end = cpu::rdtsc() + time::ns_to_tsc(seconds * 1_000_000_000);
    END.store(end, Ordering::Release);
    GO.store(1, Ordering::Release);
    run_here(end);
    let cpus = (smp::online() as usize).min(CPUS);
    while !TALLY[..cpus].iter().all(|t| t.done.load(Ordering::Acquire)) {
        core::hint::spin_loop();
    }
    RUNNING.store(false, Ordering::Release);
    time::delay(20_000_000);
    let sum = |f: fn(&Tally) -> &AtomicU64| TALLY.iter().map(|t| f(t).load(Ordering::Relaxed)).sum::<u64>();
    let sent: u64 = MAIL.iter().flatten().flatten().map(|m| m.sent.load(Ordering::Relaxed)).sum();
    let received = sum(|t| &t.received);
    let wrong = sum(|t| &t.wrong);
    crate::serial::print(format_args!(
        "stress ring={} cpus={cpus} gates={} faults={} spins={} timers={} sent={sent} received={received} wrong={wrong} lost={}\n",
        cpu::ring(),
        sum(|t| &t.gates),
        sum(|t| &t.faults),
        sum(|t| &t.spins),
        sum(|t| &t.timers),
        sent - received
    ));
    wrong == 0 && sent == received
}

const _: () = assert!(CPUS <= MAX_CPUS);
