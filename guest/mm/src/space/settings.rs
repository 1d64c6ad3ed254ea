//! What can be changed while the machine runs: Linux's `vm.*` and `transparent_hugepage/*`.

use crate::addr::PAGE_SIZE;
use crate::port::Level;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// When a first touch is given a huge page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ThpMode {
    /// Wherever one fits.
    Always,
    /// Where [`MADV_HUGEPAGE`](super::Advice::HugePage) asks for it.
    Madvise,
    /// Never.
    Never,
}

/// What is promised (`vm.overcommit_memory`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum OvercommitMode {
    /// All but what obviously cannot be.
    Guess,
    /// Everything.
    Always,
    /// Up to a limit.
    Never,
}

/// See the module documentation.
#[derive(Debug)]
pub struct Settings {
    thp: AtomicU8,
    /// Whether reads of huge pages are given a huge page of zeroes.
    use_zero_page: AtomicU8,
    overcommit: AtomicU8,
    overcommit_ratio: AtomicU32,
    /// Instead of the ratio, in pages; 0 for the ratio.
    overcommit_pages: AtomicU64,
    admin_reserve: AtomicU64,
    user_reserve: AtomicU64,
    max_map_count: AtomicU32,
    /// The first byte that may be mapped.
    mmap_min_addr: AtomicU64,
    /// Pages that stay empty below a stack.
    stack_guard_gap: AtomicU64,
    /// Pages that a read of a file maps at once, a power of two.
    fault_around_pages: AtomicU64,
    /// 0 puts contexts where nothing is moved by chance.
    seed: AtomicU64,
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident, $set:ident, $type:ty;)*) => {
        $(
            $(#[$doc])*
            #[inline]
            #[must_use]
            pub fn $name(&self) -> $type {
                self.$name.load(Ordering::Relaxed)
            }

            /// Changes it.
            pub fn $set(&self, to: $type) {
                self.$name.store(to, Ordering::Relaxed);
            }
        )*
    };
}

impl Settings {
    /// Linux's defaults, huge pages wherever they fit.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            thp: AtomicU8::new(ThpMode::Always as u8),
            use_zero_page: AtomicU8::new(1),
            overcommit: AtomicU8::new(OvercommitMode::Guess as u8),
            overcommit_ratio: AtomicU32::new(50),
            overcommit_pages: AtomicU64::new(0),
            admin_reserve: AtomicU64::new(2048),
            user_reserve: AtomicU64::new(32768),
            max_map_count: AtomicU32::new(65530),
            mmap_min_addr: AtomicU64::new(65536),
            stack_guard_gap: AtomicU64::new(256),
            fault_around_pages: AtomicU64::new(16),
            seed: AtomicU64::new(0),
        }
    }

    numbers! {
        /// Percent of RAM that may be promised beside swap.
        overcommit_ratio, set_overcommit_ratio, u32;
        /// Pages that may be promised beside swap, instead of the ratio; 0 for the ratio.
        overcommit_pages, set_overcommit_pages, u64;
        /// Pages that are not promised to users (`admin_reserve_kbytes`).
        admin_reserve, set_admin_reserve, u64;
        /// Pages that are not promised to one context (`user_reserve_kbytes`).
        user_reserve, set_user_reserve, u64;
        /// Areas a context may have.
        max_map_count, set_max_map_count, u32;
        /// The first byte that may be mapped.
        mmap_min_addr, set_mmap_min_addr, u64;
        /// Pages that stay empty below a stack.
        stack_guard_gap, set_stack_guard_gap, u64;
        /// What moves contexts by chance; 0 for nothing (`norandmaps`).
        seed, set_seed, u64;
    }

    /// Pages that a read of a file maps at once, if they are in memory.
    #[inline]
    #[must_use]
    pub fn fault_around_pages(&self) -> u64 {
        self.fault_around_pages.load(Ordering::Relaxed)
    }

    /// Changes that to `bytes` (`fault_around_bytes`): whole pages, a power of two of them, and no more than a table maps;
    /// rounded down.
    pub fn set_fault_around_bytes(&self, bytes: u64) {
        let pages = (bytes / PAGE_SIZE).clamp(1, Level::ENTRIES as u64);
        self.fault_around_pages.store(1 << pages.ilog2(), Ordering::Relaxed);
    }

    /// When a first touch is given a huge page.
    #[inline]
    #[must_use]
    pub fn thp(&self) -> ThpMode {
        match self.thp.load(Ordering::Relaxed) {
            0 => ThpMode::Always,
            1 => ThpMode::Madvise,
            _ => ThpMode::Never,
        }
    }

    /// Changes it.
    pub fn set_thp(&self, mode: ThpMode) {
        self.thp.store(mode as u8, Ordering::Relaxed);
    }

    /// Whether reads of huge pages are given a huge page of zeroes.
    #[must_use]
    pub fn use_zero_page(&self) -> bool {
        self.use_zero_page.load(Ordering::Relaxed) != 0
    }

    /// Changes it.
    pub fn set_use_zero_page(&self, on: bool) {
        self.use_zero_page.store(on.into(), Ordering::Relaxed);
    }

    /// What is promised.
    #[must_use]
    pub fn overcommit(&self) -> OvercommitMode {
        match self.overcommit.load(Ordering::Relaxed) {
            0 => OvercommitMode::Guess,
            1 => OvercommitMode::Always,
            _ => OvercommitMode::Never,
        }
    }

    /// Changes it.
    pub fn set_overcommit(&self, mode: OvercommitMode) {
        self.overcommit.store(mode as u8, Ordering::Relaxed);
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::new()
    }
}
