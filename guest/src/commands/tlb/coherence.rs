//! `tlb test`: one CPU changes mappings that another uses all the time.
//!
//! Whoever uses a page learns from numbers in kernel memory what it may find there: a number is published only after
//! the call that made it true has returned.

use super::{two_places, verdict};
use crate::arch::time;
use crate::commands::vm::{Scratch, ended, load, store};
use crate::commands::{Outcome, fail};
use crate::console;
use crate::context::{self, Failure};
use crate::memory::slab::FRAMES;
use crate::memory::vm::VM;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::space::{MapFlags, MapRequest};
use mm::vma::VmFlags;
use shared::exit::ExitStatus;

/// Pages that are used at once.
const PAGES: u64 = 64;
const SECOND: u64 = 1_000_000_000;
/// How long pages that must not change are watched.
const WATCH_NS: u64 = 20_000;
/// Writes that a writer gets done before its page is protected.
const HEAD_START: u64 = 100;

/// What the phases count.
#[derive(Default)]
struct Tally {
    rounds: AtomicU64,
    accesses: AtomicU64,
    stale: AtomicU64,
    lost: AtomicU64,
    failed: AtomicU64,
}

impl Tally {
    fn add(counter: &AtomicU64, is_wrong: bool) {
        counter.fetch_add(is_wrong.into(), Ordering::Relaxed);
    }

    fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    /// Prints a phase; how much was wrong.
    fn report(&self, phase: &str) -> Result<u64, ExitStatus> {
        let [rounds, accesses, stale, lost, failed] =
            [&self.rounds, &self.accesses, &self.stale, &self.lost, &self.failed].map(Self::get);
        console::print(format_args!(
            "{phase}: rounds={rounds} accesses={accesses} stale_reads={stale} lost_writes={lost}\n"
        ));
        if failed != 0 || rounds == 0 || accesses == 0 {
            return Err(fail(
                ExitStatus::CheckFailed,
                format_args!("tlb test: {phase} did not run to its end"),
            ));
        }
        Ok(stale + lost)
    }
}

/// `tlb test`: each phase for `seconds`.
pub fn test(seconds: u64) -> Outcome {
    let mut wrong = 0;
    for (phase, run) in [
        ("unmap", unmap_under_reader as fn(u64, &Tally) -> Outcome),
        ("protect", protect_under_writer),
        ("clone", clone_under_writer),
    ] {
        let tally = Tally::default();
        run(time::since_boot_ns() + seconds * SECOND, &tally)?;
        wrong += tally.report(phase)?;
    }
    console::print(format_args!("tlb test: wrong={wrong}\n"));
    verdict("tlb test", wrong)
}

fn is_over(end: u64) -> bool {
    time::since_boot_ns() >= end
}

/// What the reader may find: pages hold `floor` or more, or nothing; exactly `filled` while they are not taken away.
struct Epochs {
    floor: AtomicU64,
    filled: AtomicU64,
    closing: AtomicU64,
    stop: AtomicBool,
}

fn unmap_under_reader(end: u64, tally: &Tally) -> Outcome {
    let scratch = Scratch::new("tlb-unmap")?;
    let at = scratch.map_small(PAGES)?;
    let zero = || AtomicU64::new(0);
    let epochs =
        Epochs { floor: AtomicU64::new(1), filled: zero(), closing: zero(), stop: AtomicBool::new(false) };
    let ran = context::run_each(&two_places(&scratch), &|n| match n {
        0 => replace_pages(&scratch, at, &epochs, end, tally),
        _ => read_pages(at, &epochs, tally),
    });
    ran.or_else(ended)
}

/// Fills the pages with the number of the epoch, and maps new ones in their place.
fn replace_pages(scratch: &Scratch, at: u64, epochs: &Epochs, end: u64, tally: &Tally) {
    let request =
        MapRequest { addr: VirtAddr::new(at), flags: MapFlags::FIXED, ..MapRequest::anon(PAGES * PAGE_SIZE) };
    let mut epoch = 1;
    while !is_over(end) {
        (0..PAGES).for_each(|n| store(at + n * PAGE_SIZE, epoch));
        epochs.filled.store(epoch, Ordering::Release);
        (0..tally.rounds.load(Ordering::Relaxed) % 64).for_each(|_| spin_loop());
        epochs.closing.store(epoch, Ordering::SeqCst);
        if VM.mmap(scratch.context.mm(), &request, &FRAMES).is_err() {
            tally.failed.fetch_add(1, Ordering::Relaxed);
            break;
        }
        epoch += 1;
        epochs.floor.store(epoch, Ordering::Release);
        tally.rounds.fetch_add(1, Ordering::Relaxed);
    }
    epochs.stop.store(true, Ordering::Release);
}

fn read_pages(at: u64, epochs: &Epochs, tally: &Tally) {
    let mut n = 0;
    while !epochs.stop.load(Ordering::Acquire) {
        let (filled, floor) = (epochs.filled.load(Ordering::Acquire), epochs.floor.load(Ordering::Acquire));
        let value = load(at + n % PAGES * PAGE_SIZE);
        let closing = epochs.closing.load(Ordering::SeqCst);
        let ceiling = epochs.floor.load(Ordering::Acquire);
        let is_known = value == 0 || (floor..=ceiling).contains(&value);
        // Filled before the read, and not yet taken away after it.
        let is_there = filled == floor && closing < floor;
        Tally::add(&tally.stale, !is_known || (is_there && value != floor));
        n += 1;
    }
    tally.accesses.fetch_add(n, Ordering::Relaxed);
}

/// Each round: a page is made read-only while it is written. Its writer is killed, by intent.
fn protect_under_writer(end: u64, tally: &Tally) -> Outcome {
    while !is_over(end) {
        let scratch = Scratch::new("tlb-protect")?;
        let at = scratch.map_small(1)?;
        let (written, over) = (AtomicU64::new(0), AtomicBool::new(false));
        let ran = context::run_each(&two_places(&scratch), &|n| match n {
            0 => protect_page(&scratch, at, &written, &over, tally),
            _ => write_page(at, &written, &over),
        });
        match ran {
            Err(Failure::Killed(_)) => {}
            // The writer was not stopped.
            Ok(()) => Tally::add(&tally.lost, true),
            Err(failure) => return ended(failure),
        }
        tally.accesses.fetch_add(written.load(Ordering::Relaxed), Ordering::Relaxed);
        tally.rounds.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn write_page(at: u64, written: &AtomicU64, over: &AtomicBool) {
    let mut n = 0;
    while !over.load(Ordering::Acquire) {
        n += 1;
        store(at, n);
        written.store(n, Ordering::Release);
    }
}

fn protect_page(scratch: &Scratch, at: u64, written: &AtomicU64, over: &AtomicBool, tally: &Tally) {
    while written.load(Ordering::Acquire) < HEAD_START {
        spin_loop();
    }
    let va = VirtAddr::truncate(at);
    let closed = VM.mprotect(scratch.context.mm(), va, PAGE_SIZE, VmFlags::READ, &FRAMES);
    Tally::add(&tally.failed, closed.is_err());
    let before = load(at);
    time::delay(WATCH_NS);
    let known = written.load(Ordering::Acquire);
    let after = load(at);
    // What was written stays, and nothing more is written.
    Tally::add(&tally.lost, before != after || after < known);
    over.store(true, Ordering::Release);
}

/// Each round: a context is cloned while it writes; the clone keeps what it has, and no write of the parent is lost.
fn clone_under_writer(end: u64, tally: &Tally) -> Outcome {
    let scratch = Scratch::new("tlb-clone")?;
    let at = scratch.map_overlay(PAGES)?;
    let (written, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let ran = context::run_each(&two_places(&scratch), &|n| match n {
        0 => {
            while !is_over(end) && clone_once(&scratch, at, &written, tally).is_ok() {
                tally.rounds.fetch_add(1, Ordering::Relaxed);
            }
            Tally::add(&tally.failed, !is_over(end));
            stop.store(true, Ordering::Release);
        }
        _ => write_in_turn(at, &written, &stop, tally),
    });
    ran.or_else(ended)
}

/// Writes ever larger numbers to one page after the other, and looks whether its last number is still there.
fn write_in_turn(at: u64, written: &AtomicU64, stop: &AtomicBool, tally: &Tally) {
    let mut n = 0;
    while !stop.load(Ordering::Acquire) {
        n += 1;
        let page = at + n % PAGES * PAGE_SIZE;
        if n > PAGES {
            Tally::add(&tally.lost, load(page) != n - PAGES);
        }
        store(page, n);
        written.store(n, Ordering::Release);
    }
    tally.accesses.fetch_add(n, Ordering::Relaxed);
}

/// The number that a page must hold at least when `written` numbers have been written.
fn floor_of(page: u64, written: u64) -> u64 {
    match written {
        ..PAGES => 0,
        n => n - (n - page) % PAGES,
    }
}

fn clone_once(scratch: &Scratch, at: u64, written: &AtomicU64, tally: &Tally) -> Outcome {
    let known = written.load(Ordering::Acquire);
    let child = scratch.clone_as("tlb-clone-child")?;
    let pages = || (0..PAGES).map(|n| load(at + n * PAGE_SIZE));
    let sum = || pages().fold(0, u64::wrapping_add);
    let first = child.run(sum)?;
    time::delay(WATCH_NS);
    let (second, old) =
        child.run(|| (sum(), (0..PAGES).zip(pages()).any(|(n, value)| value < floor_of(n, known))))?;
    Tally::add(&tally.stale, first != second);
    Tally::add(&tally.lost, old);
    Ok(())
}
