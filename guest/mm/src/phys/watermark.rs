//! Watermarks: how many free pages a zone keeps for whom.
//!
//! Owns: the marks of a zone, Linux's formulas for them, and the test whether an allocation may take from a zone.
//! Stays outside: what happens when it may not (`slowpath`). Invariants: `fast` is the high mark with the reserve for
//! each kind and all that only some may use, so a zone with more free pages than that serves any allocation. A boost
//! lies on all marks alike.
//! Source: Linux 6.18 `mm/page_alloc.c` (`__setup_per_zone_wmarks`, `setup_per_zone_lowmem_reserve`,
//! `boost_watermark`, `zone_watermark_fast`, `__zone_watermark_ok`).

use super::GfpFlags;
use super::free_area::FreeCounts;
use crate::addr::Order;
use crate::frame::{MigrateType, ZoneKind};
use bitflags::bitflags;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

bitflags! {
    /// What an allocation may do beyond the ordinary (Linux `ALLOC_*`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(super) struct AllocFlags: u8 {
        /// Below the low mark, down to the minimum: the caller has tried everything else.
        const WMARK_MIN = 1 << 0;
        /// Watermarks do not count.
        const NO_WATERMARKS = 1 << 1;
        /// The caller cannot wait.
        const NON_BLOCK = 1 << 2;
        /// Half of the minimum may be used.
        const MIN_RESERVE = 1 << 3;
        /// The blocks that are held back for those who cannot wait may be used.
        const HIGHATOMIC = 1 << 4;
        /// The OOM killer has chosen the caller.
        const OOM = 1 << 5;
        /// kswapd is woken.
        const KSWAPD = 1 << 6;
        /// Any of the reserves.
        const RESERVES = Self::NON_BLOCK.bits() | Self::MIN_RESERVE.bits() | Self::HIGHATOMIC.bits()
            | Self::OOM.bits();
    }
}

impl AllocFlags {
    /// What the flags of an allocation allow after the first attempt (Linux `gfp_to_alloc_flags`).
    pub(super) fn of(gfp: GfpFlags, order: Order) -> Self {
        let mut flags = Self::WMARK_MIN;
        flags.set(Self::MIN_RESERVE, gfp.contains(GfpFlags::__GFP_HIGH));
        flags.set(Self::KSWAPD, gfp.contains(GfpFlags::__GFP_KSWAPD_RECLAIM));
        if !gfp.intersects(GfpFlags::__GFP_DIRECT_RECLAIM) && !gfp.contains(GfpFlags::__GFP_NOMEMALLOC) {
            flags.insert(Self::NON_BLOCK);
            flags.set(Self::HIGHATOMIC, order > Order::ZERO);
        }
        flags
    }
}

/// The settings that watermarks and per-CPU lists follow from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReserveConfig {
    /// Free memory for those who cannot wait, in kB (`vm.min_free_kbytes`).
    pub min_free_kbytes: u64,
    /// Distance between the marks, in 1/10000 of a zone (`vm.watermark_scale_factor`).
    pub watermark_scale_factor: u64,
    /// How far the marks may rise when pageblocks get pages of different kinds, in 1/10000 of the high mark; 0 for not
    /// at all (`vm.watermark_boost_factor`).
    pub watermark_boost_factor: u64,
    /// For each kind of zone, one page in so many of the higher zones is kept from their users, 0 for none
    /// (`vm.lowmem_reserve_ratio`).
    pub lowmem_reserve_ratio: [u64; ZoneKind::COUNT],
    /// The largest share of a zone on one CPU's lists, as a divisor; 0 to follow the low mark
    /// (`vm.percpu_pagelist_high_fraction`).
    pub high_fraction: u64,
}

/// The marks of a zone, in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Watermarks {
    /// Below this only reserves are served.
    pub min: u64,
    /// Below this kswapd wakes.
    pub low: u64,
    /// Above this kswapd sleeps.
    pub high: u64,
    /// Above this pages are promoted from slower memory.
    pub promo: u64,
}

impl Watermarks {
    /// Linux's formula. `share` is the zone's part of `min_free_kbytes`, in pages.
    pub(super) fn of(kind: ZoneKind, managed: u64, share: u64, scale_factor: u64) -> Self {
        let min = match kind {
            ZoneKind::HighMem | ZoneKind::Movable => (managed / 1024).clamp(32, 128),
            _ => share,
        };
        let step = (share >> 2).max(mult_frac(managed, scale_factor, 10_000));
        Self { min, low: min + step, high: min + 2 * step, promo: min + 3 * step }
    }

    /// The largest boost of a zone with these marks: none where a few pageblocks are all there is.
    pub(super) fn max_boost(&self, managed: u64, boost_factor: u64) -> u64 {
        const PAGES: u64 = Order::PAGEBLOCK.pages();
        match mult_frac(self.high, boost_factor, 10_000) {
            0 => 0,
            _ if managed < 4 * PAGES => 0,
            most => most.max(PAGES),
        }
    }
}

/// `x * n / d` without overflow of the product (Linux `mult_frac`).
fn mult_frac(x: u64, n: u64, d: u64) -> u64 {
    (x / d).saturating_mul(n).saturating_add((x % d).saturating_mul(n) / d)
}

/// The marks of a zone, as everybody reads them.
#[repr(C)]
pub(super) struct Marks {
    fast: [AtomicU64; ZoneKind::COUNT],
    min: AtomicU64,
    low: AtomicU64,
    high: AtomicU64,
    promo: AtomicU64,
    /// Pages on top of all marks, until room has been made; changes under the lock of the zone.
    boost: AtomicU64,
    max_boost: AtomicU64,
    reserve: [AtomicU64; ZoneKind::COUNT],
    /// Pages of pageblocks that are held back for those who cannot wait.
    highatomic: AtomicU64,
    /// An allocation has found less than the high mark free (Linux `ZONE_BELOW_HIGH`).
    below_high: AtomicBool,
}

fn load(word: &AtomicU64) -> u64 {
    word.load(Ordering::Relaxed)
}

impl Marks {
    /// Nothing is kept.
    pub(super) const fn new() -> Self {
        Self {
            fast: [const { AtomicU64::new(0) }; ZoneKind::COUNT],
            min: AtomicU64::new(0),
            low: AtomicU64::new(0),
            high: AtomicU64::new(0),
            promo: AtomicU64::new(0),
            boost: AtomicU64::new(0),
            max_boost: AtomicU64::new(0),
            reserve: [const { AtomicU64::new(0) }; ZoneKind::COUNT],
            highatomic: AtomicU64::new(0),
            below_high: AtomicBool::new(false),
        }
    }

    /// Sets marks and reserves; a boost ends.
    pub(super) fn set(&self, marks: Watermarks, max_boost: u64, reserve: [u64; ZoneKind::COUNT]) {
        self.max_boost.store(max_boost, Ordering::Relaxed);
        self.boost.store(0, Ordering::Relaxed);
        self.min.store(marks.min, Ordering::Relaxed);
        self.low.store(marks.low, Ordering::Relaxed);
        self.high.store(marks.high, Ordering::Relaxed);
        self.promo.store(marks.promo, Ordering::Relaxed);
        for (word, pages) in self.reserve.iter().zip(reserve) {
            word.store(pages, Ordering::Relaxed);
        }
        self.settle();
    }

    /// Sets how many pages are held back for those who cannot wait. Under the lock of the zone.
    pub(super) fn set_highatomic(&self, pages: u64) {
        self.highatomic.store(pages, Ordering::Relaxed);
        self.settle();
    }

    /// Raises all marks by a pageblock, up to the limit, so that room is made before pages mix again.
    pub(super) fn raise(&self) {
        let most = load(&self.max_boost);
        let boost = load(&self.boost) + Order::PAGEBLOCK.pages();
        self.boost.store(boost.min(most), Ordering::Relaxed);
        self.settle();
    }

    /// Lowers a boost by `pages`, or ends it.
    pub(super) fn lower(&self, pages: u64) {
        self.boost.store(load(&self.boost).saturating_sub(pages), Ordering::Relaxed);
        self.settle();
    }

    /// Pages on top of all marks.
    pub(super) fn boost(&self) -> u64 {
        load(&self.boost)
    }

    /// A mark with the boost.
    fn raised(&self, mark: &AtomicU64) -> u64 {
        load(mark).saturating_add(self.boost())
    }

    fn settle(&self) {
        let base = self.raised(&self.high).saturating_add(load(&self.highatomic));
        for (fast, reserve) in self.fast.iter().zip(&self.reserve) {
            fast.store(base.saturating_add(load(reserve)), Ordering::Relaxed);
        }
    }

    /// More free pages than this, and the largest block of the request on top, and anybody may allocate.
    #[inline(always)]
    pub(super) fn fast(&self, highest: ZoneKind) -> u64 {
        // SAFETY: `index` is below `ZoneKind::COUNT`, the length of the array.
        load(unsafe { self.fast.get_unchecked(highest.index()) })
    }

    pub(super) fn watermarks(&self) -> Watermarks {
        let Self { min, low, high, promo, .. } = self;
        let [min, low, high, promo] = [min, low, high, promo].map(|mark| self.raised(mark));
        Watermarks { min, low, high, promo }
    }

    pub(super) fn reserve(&self, highest: ZoneKind) -> u64 {
        self.reserve.get(highest.index()).map_or(0, load)
    }

    /// Pages of pageblocks that are held back.
    pub(super) fn highatomic(&self) -> u64 {
        load(&self.highatomic)
    }

    /// Whether no allocation has found the zone below its high mark lately.
    pub(super) fn is_roomy(&self) -> bool {
        !self.below_high.load(Ordering::Relaxed)
    }

    /// Notes that pages were freed.
    pub(super) fn look_again(&self, free: u64) {
        if !self.is_roomy() && free > self.raised(&self.high) {
            self.below_high.store(false, Ordering::Relaxed);
        }
    }

    /// Whether the zone has more than its high mark free; notes it if not.
    pub(super) fn above_high(&self, counts: &FreeCounts, request: &Wanted) -> bool {
        if self.is_roomy() {
            if self.allows(counts, self.raised(&self.high), request) {
                return true;
            }
            self.below_high.store(true, Ordering::Relaxed);
        }
        false
    }

    /// Whether an allocation may take from the zone at its mark. A boost does not count for single pages that may go
    /// below the minimum.
    pub(super) fn at_mark(&self, counts: &FreeCounts, request: &Wanted) -> bool {
        if !request.flags.contains(AllocFlags::WMARK_MIN) {
            return self.allows(counts, self.raised(&self.low), request);
        }
        let is_urgent = request.order == Order::ZERO && request.flags.contains(AllocFlags::MIN_RESERVE);
        self.allows(counts, self.raised(&self.min), request)
            || is_urgent && self.boost() > 0 && self.allows(counts, load(&self.min), request)
    }

    /// Whether the zone has its high mark free; nothing is noted.
    pub(super) fn has_high(&self, counts: &FreeCounts, request: &Wanted) -> bool {
        self.allows(counts, self.raised(&self.high), request)
    }

    /// Whether the zone would have its minimum free if `pages` pages were.
    pub(super) fn would_do(&self, counts: &FreeCounts, pages: u64, request: &Wanted) -> bool {
        self.allows_of(counts, pages, self.raised(&self.min), request)
    }

    fn allows(&self, counts: &FreeCounts, mark: u64, request: &Wanted) -> bool {
        self.allows_of(counts, counts.pages(), mark, request)
    }

    /// Linux's `__zone_watermark_ok`.
    fn allows_of(&self, counts: &FreeCounts, pages: u64, mark: u64, request: &Wanted) -> bool {
        let Wanted { order, highest, flags } = *request;
        let held_back = if flags.intersects(AllocFlags::RESERVES) || self.highatomic() == 0 {
            0
        } else {
            Order::all().map(|o| u64::from(counts.blocks(o, MigrateType::HighAtomic)) * o.pages()).sum()
        };
        let free = pages.saturating_sub(order.pages() - 1).saturating_sub(held_back);
        let mut min = mark;
        if flags.contains(AllocFlags::MIN_RESERVE) {
            min -= min / 2;
            if flags.contains(AllocFlags::NON_BLOCK) {
                min -= min / 4;
            }
        }
        if flags.contains(AllocFlags::OOM) {
            min -= min / 2;
        }
        if free <= min.saturating_add(self.reserve(highest)) {
            return false;
        }
        let has = |mt| Order::all().any(|o| o >= order && counts.blocks(o, mt) > 0);
        order == Order::ZERO
            || [MigrateType::Unmovable, MigrateType::Movable, MigrateType::Reclaimable].into_iter().any(has)
            || flags.intersects(AllocFlags::HIGHATOMIC | AllocFlags::OOM) && has(MigrateType::HighAtomic)
    }
}

/// What an allocation asks of a zone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) order: Order,
    pub(super) highest: ZoneKind,
    pub(super) flags: AllocFlags,
}
