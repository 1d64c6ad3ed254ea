//! TLB shootdown: no CPU uses a translation that was removed before the call.
//!
//! Owns: the number of the last flush, and what each CPU is asked for and has done. A flush takes the next number, asks
//! the CPUs that it is for, interrupts them and waits until each has flushed at that number or later; concurrent flushes
//! share one round. Global mappings are not used, so loading the root drops everything. Stays outside: which changes
//! need a flush, and of whom.
//! Invariants: a waiting CPU serves the others' requests itself, in the wait and in every spin loop for a
//! lock, so two flushes, or a flush and a lock holder, cannot wait for each other. Who takes a later number has seen
//! what was changed before an earlier one was taken, so a CPU that has done the later one has done both.

use super::percpu::{self, MAX_CPUS};
use super::{cpu, irq, lapic, smp};
use core::sync::atomic::{AtomicU64, Ordering};
use mm::addr::VirtAddr;

/// Up to this many pages go one by one on this CPU; above, reloading the root is cheaper (measured on
/// software KVM: 8-15 us a page against 13-30 us for all).
const SINGLE_PAGES: u64 = 2;

/// The number of the last flush.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// One CPU's part, on a cache line of its own.
#[repr(align(64))]
struct Part {
    /// The last flush that it is asked for.
    wanted: AtomicU64,
    /// The last flush that it has done.
    seen: AtomicU64,
}

static PARTS: [Part; MAX_CPUS] =
    [const { Part { wanted: AtomicU64::new(0), seen: AtomicU64::new(0) } }; MAX_CPUS];
static FLUSHES: AtomicU64 = AtomicU64::new(0);
static REMOTE: AtomicU64 = AtomicU64::new(0);

/// What was asked for since boot.
pub struct Counts {
    /// Flushes.
    pub flushes: u64,
    /// Those for which other CPUs were interrupted.
    pub remote: u64,
}

/// Counts since boot.
pub fn counts() -> Counts {
    let [flushes, remote] = [&FLUSHES, &REMOTE].map(|counter| counter.load(Ordering::Relaxed));
    Counts { flushes, remote }
}

/// Flushes asked for since boot.
pub fn flushes() -> u64 {
    FLUSHES.load(Ordering::Relaxed)
}

/// Drops every translation of this CPU.
fn flush_here() {
    // SAFETY: the same root again.
    unsafe { cpu::write_cr3(cpu::read_cr3()) };
}

fn part(cpu: u32) -> &'static Part {
    // A CPU number is below MAX_CPUS from the moment it is given.
    &PARTS[cpu as usize % MAX_CPUS]
}

/// Flushes this CPU if another asked for it. Cheap when nobody did.
#[inline]
pub fn service() {
    let part = part(percpu::cpu());
    let wanted = part.wanted.load(Ordering::Acquire);
    if part.seen.load(Ordering::Relaxed) < wanted {
        serve(part, wanted);
    }
}

#[cold]
fn serve(part: &Part, wanted: u64) {
    irq::disable();
    flush_here();
    // Not beyond `wanted`: a request after the flush is another one.
    part.seen.fetch_max(wanted, Ordering::AcqRel);
    irq::enable();
}

/// The handler of the message line's flush requests.
pub fn on_message(_line: usize) {
    service();
}

/// The CPUs that run, a bit each.
fn online() -> u64 {
    match smp::online() {
        count @ ..64 => (1 << count) - 1,
        _ => u64::MAX,
    }
}

/// Drops the translations of `pages` pages from `start` everywhere.
pub fn flush_range(start: VirtAddr, pages: u64) {
    flush_range_on(online(), start, pages);
}

/// Drops the translations of `pages` pages from `start` on the CPUs whose bit is set in `cpus`.
pub fn flush_range_on(cpus: u64, start: VirtAddr, pages: u64) {
    let (cpus, me) = (cpus & online(), 1_u64 << (percpu::cpu() % u64::BITS));
    if cpus == 0 {
        return;
    }
    if pages > SINGLE_PAGES {
        return flush_on(cpus);
    }
    if cpus & me != 0 {
        for page in 0..pages {
            if let Some(va) = start.checked_add(page * mm::addr::PAGE_SIZE) {
                cpu::invlpg(va);
            }
        }
    }
    match cpus & !me {
        0 => _ = FLUSHES.fetch_add(1, Ordering::Relaxed),
        others => flush_on(others),
    }
}

/// Drops every translation everywhere.
pub fn flush_all() {
    flush_on(online());
}

/// The numbers of the CPUs in `cpus`.
fn each(mut cpus: u64) -> impl Iterator<Item = u32> {
    core::iter::from_fn(move || {
        let cpu = (cpus != 0).then(|| cpus.trailing_zeros());
        cpus &= cpus.wrapping_sub(1);
        cpu
    })
}

/// Drops every translation on the CPUs of `cpus`, which all run.
fn flush_on(cpus: u64) {
    FLUSHES.fetch_add(1, Ordering::Relaxed);
    let others = cpus & !(1 << (percpu::cpu() % u64::BITS));
    if others == 0 {
        return flush_here();
    }
    REMOTE.fetch_add(1, Ordering::Relaxed);
    let number = GENERATION.fetch_add(1, Ordering::AcqRel) + 1;
    each(cpus).for_each(|cpu| _ = part(cpu).wanted.fetch_max(number, Ordering::AcqRel));
    service();
    for area in each(others).filter_map(smp::area) {
        lapic::send_ipi(percpu::apic_id_of(area), irq::line::FLUSH);
    }
    for other in each(others) {
        while part(other).seen.load(Ordering::Acquire) < number {
            service();
            core::hint::spin_loop();
        }
    }
}
