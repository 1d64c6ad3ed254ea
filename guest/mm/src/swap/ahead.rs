//! What is brought from swap with the page that is asked for (Linux `swap_cluster_readahead`, `swap_vma_readahead`).
//!
//! On a disk that turns what lies beside it on the disk comes with it, whoever owns it: one window for all. Where all areas
//! are on disks that do not turn, what lies beside it in its area of the context does: one window for each of those.
//! Where somebody goes on in order, the window after that is read too, and not waited for (ADR 0010; Linux does not).
//! Owns: the windows, and which page counts as a hit. Stays outside: reading (`io`), entries of page tables (`fault`).
//! Invariants: a window never has more than `vm.page-cluster` says; it is a guess, so what two CPUs do at once may be lost.
//! Source: Linux `mm/swap_state.c`.

use super::Swap;
use crate::folio::{Folio, FolioFlags};
use crate::mutant::planted;
use crate::port::{Machine, SwapEntry};
use crate::vmstat::VmEvent;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// The most pages of a window, as a power of two (`SWAP_RA_ORDER_CEILING`).
const ORDER_MAX: u32 = 5;

/// What comes with a page, and the page: what entries of the same table name.
pub(crate) struct Beside {
    /// Of the window, and behind them of the next.
    entries: [Option<SwapEntry>; 2 << ORDER_MAX],
    /// Pages of the window.
    now: usize,
}

impl Beside {
    /// What is in the window, and what is in the next.
    pub fn windows(&self) -> [impl Iterator<Item = SwapEntry> + '_; 2] {
        let parts = [(0, self.now), (self.now, self.entries.len())];
        parts.map(|(start, end)| self.entries.iter().take(end).skip(start).flatten().copied())
    }
}

/// What is read for a page: a window, and the next, which nobody waits for.
struct Windows {
    now: Range<u64>,
    next: Range<u64>,
}

impl Windows {
    /// One of `pages` pages, and the next where somebody who was at `before` and is at `at` uses what is read; all of them
    /// from `low` to `high`.
    fn new(
        now: Range<u64>,
        pages: u64,
        hits: u64,
        (before, at): (u64, u64),
        (low, high): (u64, u64),
    ) -> Self {
        // What is cut off on one side is not added on the other.
        let now = now.start.max(low)..now.end.min(high);
        let next = if hits == 0 || before.abs_diff(at) != 1 {
            0..0
        } else if at > before || planted("vm::swap_vma.next_is_above") {
            now.end..(now.end + pages).min(high)
        } else {
            now.start.saturating_sub(pages).max(low)..now.start
        };
        Self { now, next }
    }
}

/// The pages of a window: more the more of those that were read before their time were used, at least half of what it was,
/// and one alone where nobody goes on (Linux `__swapin_nr_pages`).
fn pages(hits: u64, before: u64, now: u64, most: u64, last: u64) -> u64 {
    let wanted = match hits {
        0 if before.abs_diff(now) != 1 => 1,
        0 => 2,
        hits => (hits + 2).next_power_of_two().max(4),
    };
    wanted.min(most).max(last / 2)
}

/// How readahead goes, and what it goes by on disks that turn (Linux `swapin_readahead_hits` and those beside it).
pub(super) struct Ahead {
    hits: AtomicU64,
    /// As [`Seen::ahead`].
    ahead: AtomicU64,
    last_slot: AtomicU64,
    last_pages: AtomicU64,
    /// The most pages that are read at once.
    most: AtomicU64,
    /// Swap areas on disks that turn (`nr_rotate_swap`).
    pub rotating: AtomicU32,
    /// `vma_ra_enabled`.
    by_area: AtomicBool,
}

impl Ahead {
    pub const fn new() -> Self {
        Self {
            hits: AtomicU64::new(4),
            ahead: AtomicU64::new(0),
            last_slot: AtomicU64::new(0),
            last_pages: AtomicU64::new(0),
            most: AtomicU64::new(8),
            rotating: AtomicU32::new(0),
            by_area: AtomicBool::new(true),
        }
    }

    fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }

    /// What is read when slot `slot` is asked for, of an area with `slots`.
    fn windows(&self, slot: u64, slots: u64) -> Windows {
        let most = self.most();
        if most <= 1 {
            return Windows { now: slot..slot + 1, next: 0..0 };
        }
        let before = self.last_slot.swap(slot, Ordering::Relaxed);
        let ahead = self.ahead.swap(0, Ordering::Relaxed);
        let passed = if before.abs_diff(slot) == 1 { ahead } else { 0 };
        let hits = self.hits.swap(0, Ordering::Relaxed) + passed;
        let pages = pages(hits, before, slot, most, self.last_pages.load(Ordering::Relaxed));
        self.last_pages.store(pages, Ordering::Relaxed);
        let first = slot & !(pages - 1);
        Windows::new(first..first + pages, pages, hits, (before, slot), (1, slots))
    }
}

/// Bits of a window, and of what is counted in it; a page number has at most 45.
const BITS: u32 = 6;
const MASK: u64 = (1 << BITS) - 1;

/// What readahead in one area of a context goes by.
#[derive(Clone, Copy)]
struct Seen {
    /// The page used or mapped last.
    last: u64,
    /// The window that was read last.
    pages: u64,
    /// Pages that were read before their time and used, since.
    hits: u64,
    /// Pages that were mapped before they were used: whether they are shows only where the next access is.
    ahead: u64,
}

impl Seen {
    /// The hits if page `vpn` is asked for: who goes on behind the pages that were mapped ahead has passed through them.
    fn hits_at(&self, vpn: u64) -> u64 {
        let is_behind = self.last.abs_diff(vpn) == 1;
        self.hits + if is_behind { self.ahead } else { 0 }
    }
}

/// That, in a word (Linux `swap_readahead_info`).
pub(crate) struct AreaWindow(AtomicU64);

impl AreaWindow {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn get(&self) -> Seen {
        match self.0.load(Ordering::Relaxed) {
            // As if something had been hit.
            0 => Seen { last: 0, pages: 0, hits: 4, ahead: 0 },
            word => Seen {
                last: word >> (3 * BITS),
                pages: word >> (2 * BITS) & MASK,
                hits: word >> BITS & MASK,
                ahead: word & MASK,
            },
        }
    }

    fn set(&self, seen: Seen) {
        let Seen { last, pages, hits, ahead } = seen;
        let word = last << (3 * BITS) | pages << (2 * BITS) | hits.min(MASK) << BITS | ahead.min(MASK);
        self.0.store(word, Ordering::Relaxed);
    }

    /// Page `vpn` was used; whether it had been brought before its time.
    fn used(&self, vpn: u64, is_hit: bool) {
        let seen = self.get();
        let hits = seen.hits_at(vpn) + u64::from(is_hit);
        self.set(Seen { last: vpn, hits, ahead: 0, ..seen });
    }

    /// So many pages were mapped before they were used, page `vpn` last.
    fn mapped_ahead(&self, pages: u64, vpn: u64) {
        let seen = self.get();
        self.set(Seen { last: vpn, ahead: seen.ahead + pages, ..seen });
    }

    /// What comes with page `vpn`, in windows of no more than `most` pages, of those in `range` (Linux `swap_vma_ra_win`).
    fn windows(&self, vpn: u64, most: u64, range: (u64, u64)) -> Option<Windows> {
        if most <= 1 {
            return None;
        }
        let seen = self.get();
        let hits = seen.hits_at(vpn);
        let pages = pages(hits, seen.last, vpn, most, seen.pages);
        self.set(Seen { last: vpn, pages, hits: 0, ahead: 0 });
        if pages == 1 {
            return None;
        }
        let left = if vpn == seen.last + 1 || planted("vm::swap_vma.goes_up_only") {
            vpn
        } else if seen.last == vpn + 1 {
            (vpn + 1).saturating_sub(pages)
        } else {
            vpn.saturating_sub((pages - 1) / 2)
        };
        Some(Windows::new(left..left + pages, pages, hits, (seen.last, vpn), range))
    }
}

impl<M: Machine> Swap<'_, M> {
    /// Sets how many pages are read at once: two to the power of `order` (`vm.page-cluster`).
    pub fn set_page_cluster(&self, order: u32) {
        self.ahead.most.store(1 << order.min(ORDER_MAX), Ordering::Relaxed);
    }

    /// Whether readahead goes by areas of contexts where no disk turns (`vma_ra_enabled`).
    pub fn set_vma_ra(&self, is_on: bool) {
        self.ahead.by_area.store(is_on, Ordering::Relaxed);
    }

    /// Whether what comes with a page is what lies beside it in its area, not on the disk (Linux `swap_use_vma_readahead`).
    pub(super) fn goes_by_area(&self) -> bool {
        let turns = self.ahead.rotating.load(Ordering::Relaxed) != 0
            && !planted("vm::swap_vma.turning_disks_do_not_matter");
        !turns && self.ahead.by_area.load(Ordering::Relaxed)
    }

    /// The slots that are read when `entry` is asked for, whose area has `slots`: it and those beside it, and those of the
    /// next window.
    pub(super) fn cluster(
        &self,
        entry: SwapEntry,
        slots: u64,
    ) -> [impl Iterator<Item = SwapEntry> + use<M>; 2] {
        let Windows { now, next } = self.ahead.windows(entry.offset(), slots);
        [now, next].map(|slots| slots.filter_map(move |slot| SwapEntry::new(entry.area(), slot)))
    }

    /// What is read when page `vpn` is asked for, which lies from `range.0` to `range.1` in an area with `window`: it and those
    /// beside it, or nothing else. `entry_of` says what the entry of a page names.
    pub(crate) fn beside(
        &self,
        window: &AreaWindow,
        vpn: u64,
        range: (u64, u64),
        entry_of: impl Fn(u64) -> Option<SwapEntry>,
    ) -> Beside {
        let mut beside = Beside { entries: [None; 2 << ORDER_MAX], now: 0 };
        if let Some(Windows { now, next }) = window.windows(vpn, self.ahead.most(), range) {
            beside.now = now.clone().count();
            beside.entries.iter_mut().zip(now.chain(next)).for_each(|(to, vpn)| *to = entry_of(vpn));
        }
        beside
    }

    /// A page that was found in the cache is used, by page `vpn` of an area with this window or by shared memory: whether it
    /// was read before its time is counted, once.
    pub(crate) fn used(&self, folio: Folio<'_>, place: Option<(&AreaWindow, u64)>) {
        let marked =
            folio.flags().contains(FolioFlags::READAHEAD) && !planted("vm::reclaim_replay.used_pages_go");
        // One that is being written is marked to go then, and does not.
        let before = if marked { folio.clear_flags(FolioFlags::READAHEAD) } else { FolioFlags::empty() };
        let is_hit = before.contains(FolioFlags::READAHEAD) && !before.contains(FolioFlags::WRITEBACK);
        let place = place.filter(|_| self.goes_by_area());
        if let Some((window, vpn)) = place {
            window.used(vpn, is_hit);
        }
        if is_hit {
            if place.is_none() {
                self.ahead.hits.fetch_add(1, Ordering::Relaxed);
            }
            self.stat().count(self.cpu(), VmEvent::SwapRaHit, 1);
        }
    }

    /// The most pages that are mapped at once when one of them is used.
    pub(crate) fn most_ahead(&self) -> u64 {
        self.ahead.most()
    }

    /// So many pages of an area with this window that were read before their time were mapped with another; the one furthest
    /// from it is page `last.0` and had slot `last.1`.
    pub(crate) fn mapped_ahead(&self, window: &AreaWindow, pages: u64, last: (u64, SwapEntry)) {
        if self.goes_by_area() {
            window.mapped_ahead(pages, last.0);
        } else {
            self.ahead.ahead.fetch_add(pages, Ordering::Relaxed);
            self.ahead.last_slot.store(last.1.offset(), Ordering::Relaxed);
        }
        self.stat().count(self.cpu(), VmEvent::SwapRaHit, pages);
    }
}
