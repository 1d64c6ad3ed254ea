//! TLB shootdown: no CPU uses a translation that was removed before the call.
//!
//! Owns: one generation word. A flush raises it, interrupts the other CPUs and waits until each has flushed
//! at that generation or later; concurrent flushes share one round. Global mappings are not used, so loading
//! the root drops everything. Stays outside: which changes need a flush.
//! Invariants: a waiting CPU serves the others' requests itself, in the wait and in every spin loop for a
//! lock, so two flushes, or a flush and a lock holder, cannot wait for each other.

use super::percpu::{self, MAX_CPUS};
use super::{cpu, irq, lapic, smp};
use core::sync::atomic::{AtomicU64, Ordering};
use mm::addr::VirtAddr;

/// Up to this many pages go one by one on this CPU; above, reloading the root is cheaper (measured on
/// software KVM: 8-15 us a page against 13-30 us for all).
const SINGLE_PAGES: u64 = 2;

static GENERATION: AtomicU64 = AtomicU64::new(0);
static SEEN: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
static FLUSHES: AtomicU64 = AtomicU64::new(0);

/// Flushes asked for since boot.
pub fn flushes() -> u64 {
    FLUSHES.load(Ordering::Relaxed)
}

/// Drops every translation of this CPU.
fn flush_here() {
    // SAFETY: the same root again.
    unsafe { cpu::write_cr3(cpu::read_cr3()) };
}

/// Flushes this CPU if another asked for it. Cheap when nobody did.
#[inline]
pub fn service() {
    let wanted = GENERATION.load(Ordering::Acquire);
    let seen = &SEEN[percpu::cpu() as usize % MAX_CPUS];
    if seen.load(Ordering::Relaxed) < wanted {
        serve(seen, wanted);
    }
}

#[cold]
fn serve(seen: &AtomicU64, wanted: u64) {
    irq::disable();
    flush_here();
    // Not beyond `wanted`: a request after the flush is another one.
    seen.fetch_max(wanted, Ordering::AcqRel);
    irq::enable();
}

/// The handler of the message line's flush requests.
pub fn on_message(_line: usize) {
    service();
}

/// Drops the translations of `pages` pages from `start` everywhere.
pub fn flush_range(start: VirtAddr, pages: u64) {
    if smp::online() > 1 || pages > SINGLE_PAGES {
        return flush_all();
    }
    FLUSHES.fetch_add(1, Ordering::Relaxed);
    for page in 0..pages {
        if let Some(va) = start.checked_add(page * mm::addr::PAGE_SIZE) {
            cpu::invlpg(va);
        }
    }
}

/// Drops every translation everywhere.
pub fn flush_all() {
    FLUSHES.fetch_add(1, Ordering::Relaxed);
    let wanted = GENERATION.fetch_add(1, Ordering::AcqRel) + 1;
    service();
    let me = percpu::cpu();
    for other in (0..smp::online()).filter(|&other| other != me) {
        if let Some(area) = smp::area(other) {
            lapic::send_ipi(percpu::apic_id_of(area), irq::line::FLUSH);
        }
    }
    for other in (0..smp::online()).filter(|&other| other != me) {
        while SEEN[other as usize % MAX_CPUS].load(Ordering::Acquire) < wanted {
            service();
            core::hint::spin_loop();
        }
    }
}
