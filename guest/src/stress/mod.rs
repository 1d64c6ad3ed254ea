//! Trap soundness: gates, page faults, messages between CPUs, timer interrupts and TLB shootdowns at once,
//! every register checked across each event.
//!
//! Owns: its counters, and a window of addresses a CPU whose pages the fault handler maps. A message that was
//! sent and never seen is lost; each sender has at most one on its way to each CPU.

pub mod cost;
mod probe;
mod tally;

use crate::arch::trap::{self, TrapFrame};
use crate::arch::{cpu, irq, lapic, percpu, smp, time};
use crate::console;
use crate::memory::boot::{kernel_root, ring_bits};
use crate::memory::tables::KernelTables;
use crate::memory::{PHYS, free_block};
use crate::task;
use crate::timer::Timer;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use mm::addr::{Order, PAGE_SIZE, Pfn, VirtAddr};
use mm::pgtable::PageRange;
use mm::phys::GfpFlags;
use mm::port::{Level, PteBits};
use probe::{Context, Event, clobber_vectors};
use tally::{CPUS, Cpu, MAIL, SENDERS, TALLY};

/// Each CPU's window starts in a root entry of its own, so that no table spans two windows.
const WINDOW: u64 = 32 << 39;
const WINDOW_STRIDE: u64 = 1 << 39;
const PAGES: u64 = 512;
/// Between two timer interrupts of a CPU.
const TIMER_NS: u64 = 300_000;
/// How long a message may be on its way: a host that has put a CPU aside takes a while to come back to it.
const ARRIVAL_NS: u64 = 5_000_000_000;

static RUNNING: AtomicBool = AtomicBool::new(false);
static END: AtomicU64 = AtomicU64::new(0);
static FRAME: AtomicU64 = AtomicU64::new(0);
static TIMERS: [Timer; CPUS] = [const { Timer::new(on_timer) }; CPUS];

/// What a run found.
pub struct Verdict {
    /// Registers that came out wrong.
    pub wrong: u64,
    /// Messages that were sent and never seen.
    pub lost: u64,
}

fn me() -> usize {
    percpu::cpu() as usize % CPUS
}

fn window(cpu: usize) -> u64 {
    WINDOW + cpu as u64 * WINDOW_STRIDE
}

/// Maps the page that faulted, with interrupts on.
fn handle_fault(frame: &mut TrapFrame) -> bool {
    let base = window(me());
    let inside = (base..base + PAGES * PAGE_SIZE).contains(&frame.cr2);
    if frame.vector != trap::PAGE_FAULT || !inside {
        return false;
    }
    clobber_vectors();
    irq::enable();
    let page = VirtAddr::new(frame.cr2 & !(PAGE_SIZE - 1));
    let target = Pfn::new(FRAME.load(Ordering::Relaxed));
    let mapped = page.zip(target).is_some_and(|(page, target)| {
        let bits = PteBits::WRITE | PteBits::NO_EXEC | ring_bits();
        kernel_root().map(page, target.addr(), Level::PTE, bits, &KernelTables).is_ok()
    });
    TALLY[me()].faults.fetch_add(1, Ordering::Relaxed);
    irq::disable();
    mapped
}

fn empty_window() {
    let Some(range) = VirtAddr::new(window(me())).and_then(|va| PageRange::new(va, PAGES)) else { return };
    let root = kernel_root();
    let mut gather = root.gather(&KernelTables);
    if root.unmap(range, &mut gather, |_, _, _| {}).is_err() {
        TALLY[me()].wrong.fetch_add(1, Ordering::Relaxed);
    }
    let _flushed = gather.finish();
}

fn send(sender: usize, target: usize) {
    let mailbox = &MAIL[me()][sender % SENDERS][target % CPUS];
    if !mailbox.waiting.swap(true, Ordering::AcqRel) {
        mailbox.sent.fetch_add(1, Ordering::Relaxed);
        if let Some(area) = smp::area(target as u32) {
            lapic::send_ipi(percpu::apic_id_of(area), irq::line::STRESS);
        }
    }
}

fn on_message(_line: usize) {
    clobber_vectors();
    let me = me();
    for mailbox in MAIL.iter().flatten().map(|targets| &targets[me]) {
        if mailbox.waiting.swap(false, Ordering::AcqRel) {
            TALLY[me].received.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn on_timer(_: usize) {
    clobber_vectors();
    TALLY[me()].timers.fetch_add(1, Ordering::Relaxed);
    for target in 0..tally::cpus() {
        send(1, target);
    }
    if RUNNING.load(Ordering::Relaxed) {
        TIMERS[me()].set(TIMER_NS, 0);
    }
}

/// Whether code at this ring can use 256-bit registers. The plain instruction on purpose: what counts is what
/// this code can execute, not what the virtual CPU claims.
fn wide_vectors() -> bool {
    let leaf = core::arch::x86_64::__cpuid(1);
    leaf.ecx & (1 << 27) != 0 && leaf.ecx & (1 << 28) != 0
}

/// One CPU's part, until the clock runs out.
fn run_here(_: usize) {
    let tally = &TALLY[me()];
    let mut context = Context::new(wide_vectors());
    let mut random = xorshift(0x9e37_79b9_7f4a_7c15 ^ (me() as u64 + 1) << 32);
    let mut page = 0;
    // The last one of another run may be late.
    TIMERS[me()].cancel();
    TIMERS[me()].set(TIMER_NS, 0);
    while cpu::rdtsc() < END.load(Ordering::Relaxed) {
        let (event, count) = match random() % 8 {
            0..=2 if cpu::ring() != 0 => (Event::Gate, Some(&tally.gates)),
            0..=5 => {
                if page == PAGES {
                    page = 0;
                    empty_window();
                }
                page += 1;
                let address = window(me()) + (page - 1) * PAGE_SIZE + (random() & 0xff8);
                (Event::Fault { address }, None)
            }
            _ => {
                send(0, random() as usize % tally::cpus());
                (Event::Spin { turns: random() % 20_000 }, Some(&tally.spins))
            }
        };
        tally.wrong.fetch_add(u64::from(context.run(event, &mut random)), Ordering::Relaxed);
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
    empty_window();
    tally.done.store(true, Ordering::Release);
}

fn xorshift(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

/// The frame behind all windows, and the fault handler before ours.
struct Session {
    frame: Pfn,
    before: Option<trap::Handler>,
}

/// From here on faults in the windows are repaired. `None` without memory for it.
fn begin_faults() -> Option<Session> {
    let (frame, _) = PHYS.alloc_pages(GfpFlags::GFP_KERNEL, Order::ZERO).ok()?.into_raw();
    FRAME.store(frame.get(), Ordering::Relaxed);
    Some(Session { frame, before: trap::set_handler(Some(handle_fault)) })
}

/// The windows are empty; faults in them are faults again.
fn end_faults(session: Session) {
    trap::set_handler(session.before);
    free_block(session.frame, Order::ZERO);
}

/// Runs the stress on every CPU for `ms` milliseconds and prints what it saw. `None` without memory for it.
pub fn run(ms: u64) -> Option<Verdict> {
    let session = begin_faults()?;
    TALLY.iter().for_each(Cpu::clear);
    MAIL.iter().flatten().flatten().for_each(|mailbox| mailbox.sent.store(0, Ordering::Relaxed));
    irq::set_handler(irq::line::STRESS, on_message);
    RUNNING.store(true, Ordering::Release);
    END.store(cpu::rdtsc() + time::ns_to_tsc(ms * 1_000_000), Ordering::Release);
    let mut helpers = [const { None }; CPUS];
    for (cpu, helper) in helpers.iter_mut().enumerate().take(tally::cpus()).skip(1) {
        *helper = task::spawn("stress", cpu as u32, run_here, 0).ok();
    }
    run_here(0);
    helpers.into_iter().flatten().for_each(task::Handle::join);
    RUNNING.store(false, Ordering::Release);
    // The last timers fire, and what they send arrives.
    time::delay(20_000_000);
    tally::settle(ARRIVAL_NS);
    end_faults(session);
    Some(tally::report(console::print))
}
