//! `bench fault`: what it costs to touch, share, protect and take away memory of a context.
//!
//! Every number is the mean over many pages, tables and refills of the CPU's lists included, least of the rounds.

use super::Least;
use crate::arch::percpu;
use crate::commands::{Outcome, fail};
use crate::console;
use crate::context::{self, Context};
use crate::machine::Kernel;
use crate::memory::slab::FRAMES;
use crate::memory::vm::VM;
use core::sync::atomic::{AtomicU64, Ordering};
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::port::{Access, Level};
use mm::space::{Advice, Errno, MapFlags, MapRequest, Mm};
use mm::vma::VmFlags;
use shared::exit::ExitStatus;

/// Small pages of a round.
const PAGES: u64 = 4096;
/// Huge pages of a round.
const HUGE: u64 = 8;

/// What is measured.
struct Costs {
    anon: Least,
    /// Of `anon`, what is left without the trap.
    handler: Least,
    zero: Least,
    cow: Least,
    reuse: Least,
    thp: Least,
    dontneed: Least,
    unmap: Least,
    clone: Least,
    read_only: Least,
    read_write: Least,
}

/// Runs it.
pub fn fault(rounds: u64) -> Outcome {
    let small = || Least::of(PAGES);
    let mut costs = Costs {
        anon: small(),
        handler: small(),
        zero: small(),
        cow: small(),
        reuse: small(),
        thp: Least::of(HUGE),
        dontneed: small(),
        unmap: small(),
        clone: small(),
        read_only: small(),
        read_write: small(),
    };
    for _ in 0..rounds {
        costs.round().map_err(|errno| fail(ExitStatus::CheckFailed, format_args!("bench fault: {errno}")))?;
    }
    let Costs { anon, handler, zero, cow, reuse, thp, dontneed, unmap, clone, read_only, read_write } = costs;
    console::print(format_args!("anon_fault={anon} zero_fault={zero} cow_fault={cow} reuse_fault={reuse}\n"));
    console::print(format_args!("thp_fault={thp} dontneed={dontneed} unmap={unmap}\n"));
    console::print(format_args!("clone={clone} protect_ro={read_only} protect_rw={read_write}\n"));
    let per_mille = handler.tsc.saturating_mul(1000) / anon.tsc.max(1);
    console::print(format_args!(
        "tsc_khz={} handler={handler} handler_share={}.{}%\n",
        crate::arch::time::tsc_khz(),
        per_mille / 10,
        per_mille % 10
    ));
    Ok(())
}

/// Touches a page every `step` bytes from `at` on, `count` times, in `context`; the time-stamp units that took.
pub(super) fn touch(context: &Context, at: VirtAddr, step: u64, count: u64, write: bool) -> u64 {
    let taken = AtomicU64::new(u64::MAX);
    let work = || {
        let start = crate::arch::cpu::rdtsc();
        for n in 0..count {
            let place = (at.get() + n * step) as *mut u64;
            // SAFETY: the page is mapped in the context that this runs in, and nobody else uses it.
            unsafe {
                if write {
                    place.write_volatile(n);
                } else {
                    place.read_volatile();
                }
            }
        }
        taken.store(crate::arch::cpu::rdtsc().wrapping_sub(start), Ordering::Relaxed);
    };
    // Without an end there is no number, and the least stays what it is.
    let _ = context::run(context, percpu::cpu(), work);
    taken.load(Ordering::Relaxed)
}

/// What the handler does for the first touch of page `n` from `at` on.
fn handle(mm: &Mm<'static, Kernel>, at: VirtAddr, n: u64) {
    // A page that could not be made is touched, and counted, later.
    let _ = VM.fault(mm, VirtAddr::truncate(at.get() + n * PAGE_SIZE), Access::Write, &FRAMES);
}

impl Costs {
    fn round(&mut self) -> Result<(), Errno> {
        let parent = context::create("bench")?;
        let result = self.measure(&parent);
        parent.kill();
        result
    }

    fn measure(&mut self, parent: &Context) -> Result<(), Errno> {
        let (mm, bytes) = (parent.mm(), PAGES * PAGE_SIZE);
        let map = |bytes| {
            let request = MapRequest { flags: MapFlags::OVERLAY, ..MapRequest::anon(bytes) };
            VM.mmap(mm, &request, &FRAMES)
        };
        let small = |at| VM.madvise(mm, at, bytes, Advice::NoHugePage, &FRAMES);
        let zeroes = map(bytes)?;
        small(zeroes)?;
        self.zero.take(touch(parent, zeroes, PAGE_SIZE, PAGES, false));
        VM.munmap(mm, zeroes, bytes, &FRAMES)?;

        let at = map(bytes)?;
        small(at)?;
        self.anon.take(touch(parent, at, PAGE_SIZE, PAGES, true));
        let mut result = Ok(());
        self.dontneed.time(0, || result = VM.madvise(mm, at, bytes, Advice::DontNeed, &FRAMES));
        result?;
        self.anon.take(touch(parent, at, PAGE_SIZE, PAGES, true));
        VM.madvise(mm, at, bytes, Advice::DontNeed, &FRAMES)?;
        self.handler.time(0, || (0..PAGES).for_each(|n| handle(mm, at, n)));
        let rights = |rights| VM.mprotect(mm, at, bytes, rights, &FRAMES);
        self.read_only.time(0, || result = rights(VmFlags::READ));
        self.read_write.time(0, || result = rights(VmFlags::READ | VmFlags::WRITE));
        result?;
        let mut child = Err(Errno::Enomem);
        self.clone.time(0, || child = context::clone(parent, "child"));
        let child = child?;
        self.cow.take(touch(&child, at, PAGE_SIZE, PAGES, true));
        child.kill();
        drop(child);
        self.reuse.take(touch(parent, at, PAGE_SIZE, PAGES, true));
        self.unmap.time(0, || result = VM.munmap(mm, at, bytes, &FRAMES));
        result?;

        let huge = map(HUGE * Level::PMD.size())?;
        VM.madvise(mm, huge, HUGE * Level::PMD.size(), Advice::HugePage, &FRAMES)?;
        self.thp.take(touch(parent, huge, Level::PMD.size(), HUGE, true));
        VM.munmap(mm, huge, HUGE * Level::PMD.size(), &FRAMES)
    }
}
