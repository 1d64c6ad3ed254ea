//! `tlb dirty-race`: no write is lost to a dirty bit that was cleared too quietly.
//!
//! Each round, one CPU writes to a page without a pause while the other cleans it and then takes a copy, as writeback
//! does. The writer stops with one write after the copy. So the page differs from the copy, and its entry must say that
//! it was written: if it does not, nobody would write that page back again, and the last write would be lost.

use super::{two_places, verdict};
use crate::commands::support::Random;
use crate::commands::vm::{Scratch, ended, load, store};
use crate::commands::{Outcome, fail};
use crate::console;
use crate::context;
use crate::memory::slab::FRAMES;
use crate::memory::vm::VM;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicU64, Ordering};
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::pgtable::{PageRange, X86_64};
use mm::port::{PteBits, PteCodec, PteView};
use mm::space::Errno;
use shared::exit::ExitStatus;

/// Pages that the rounds use in turn.
const PAGES: u64 = 16;
/// Rounds a writer may look for before it gives up.
const OVER: u64 = u64::MAX;
/// How long the writer is left alone before the page is cleaned, in turns of a loop.
const HEAD_START: u64 = 200;

/// How far the two CPUs are: the number of the round.
struct Race {
    rounds: u64,
    flush: bool,
    first: u64,
    started: AtomicU64,
    copied: AtomicU64,
    done: AtomicU64,
    lost: AtomicU64,
    failed: AtomicU64,
}

/// `tlb dirty-race ROUNDS`; without `flush` the dirty bits are cleared and trusted at once.
pub fn race(rounds: u64, flush: bool) -> Outcome {
    let scratch = Scratch::new("dirty-race")?;
    let zero = || AtomicU64::new(0);
    let first = scratch.map_small(PAGES)?;
    let (started, copied, done, lost, failed) = (zero(), zero(), zero(), zero(), zero());
    let race = Race { rounds, flush, first, started, copied, done, lost, failed };
    let ran = context::run_each(&two_places(&scratch), &|n| match n {
        0 => race.clean_all(&scratch),
        _ => race.write_all(),
    });
    if let Err(failure) = ran {
        return ended(failure);
    }
    if race.failed.load(Ordering::Relaxed) != 0 {
        return Err(fail(ExitStatus::CheckFailed, format_args!("tlb dirty-race: pages cannot be cleaned")));
    }
    let (lost, flush) = (race.lost.load(Ordering::Relaxed), u64::from(flush));
    console::print(format_args!("rounds={rounds} flush_on_clean={flush} lost_writes={lost}\n"));
    verdict("tlb dirty-race", lost)
}

impl Race {
    fn page(&self, round: u64) -> u64 {
        self.first + round % PAGES * PAGE_SIZE
    }

    /// The CPU that writes.
    fn write_all(&self) {
        for round in 1..=self.rounds {
            while self.started.load(Ordering::Acquire) < round {
                spin_loop();
            }
            if self.started.load(Ordering::Acquire) == OVER {
                return;
            }
            let (page, mut value) = (self.page(round), round << 32);
            loop {
                store(page, value);
                value += 1;
                if self.copied.load(Ordering::Acquire) >= round {
                    break;
                }
            }
            store(page, value);
            self.done.store(round, Ordering::Release);
        }
    }

    /// The CPU that cleans.
    fn clean_all(&self, scratch: &Scratch) {
        let mut random = Random::new(self.rounds);
        for round in 1..=self.rounds {
            let page = self.page(round);
            self.started.store(round, Ordering::Release);
            while load(page) >> 32 != round {
                spin_loop();
            }
            (0..random.below(HEAD_START)).for_each(|_| spin_loop());
            let cleaned = self.clean(scratch, page);
            let copy = load(page);
            self.copied.store(round, Ordering::Release);
            while self.done.load(Ordering::Acquire) < round {
                spin_loop();
            }
            if cleaned.is_err() {
                self.failed.store(1, Ordering::Relaxed);
                self.started.store(OVER, Ordering::Release);
                return;
            }
            if load(page) != copy && !is_dirty(scratch, page) {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn clean(&self, scratch: &Scratch, page: u64) -> Result<(), Errno> {
        let (mm, va) = (scratch.context.mm(), VirtAddr::truncate(page));
        if self.flush {
            return VM.clean_range(mm, va, PAGE_SIZE, &FRAMES).map(drop);
        }
        let range = PageRange::new(va, 1).ok_or(Errno::Einval)?;
        mm.tree().scan(range, |slot, _, _| {
            let _ = slot.update(|pte| X86_64::with_bits(pte, X86_64::bits(pte) - PteBits::DIRTY));
        })?;
        Ok(())
    }
}

fn is_dirty(scratch: &Scratch, page: u64) -> bool {
    let view = scratch.context.mm().tree().view(VirtAddr::truncate(page));
    matches!(view, Some(PteView::Present { bits, .. }) if bits.contains(PteBits::DIRTY))
}
