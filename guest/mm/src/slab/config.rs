//! What the boot parameters decide, and what the allocator asks of its surroundings.

use super::{OrderRules, Report, SlabFlags};

/// Answers from outside, for reports. They may be called with interrupts masked and a lock held, and must not
/// allocate.
#[derive(Clone, Copy)]
pub struct Hooks {
    /// A corruption was found. What the report says is fixed or taken out of use if this returns.
    pub report: fn(&Report<'_>),
    /// The time since boot in milliseconds.
    pub now_ms: fn() -> u64,
    /// The number of the running task.
    pub task: fn() -> u32,
}

/// How the allocator works, fixed at boot.
#[derive(Clone, Copy)]
pub struct SlabConfig {
    /// How slabs are sized; `cpus` is also how many CPUs there will ever be.
    pub rules: OrderRules,
    /// Caches of like size share slabs (`slab_nomerge` clears it).
    pub merge: bool,
    /// A place in a slab that was freed is given out again (`slab.reuse=0` clears it, to compare with): otherwise it
    /// stays unused until its whole slab goes back. Caches under `slab_debug=` always reuse.
    pub reuse: bool,
    /// Objects are zeroed when they are allocated (`init_on_alloc=`).
    pub init_on_alloc: bool,
    /// Objects are zeroed when they are freed (`init_on_free=`).
    pub init_on_free: bool,
    /// The free lists of new slabs are in random order (Linux `CONFIG_SLAB_FREELIST_RANDOM`).
    pub randomize: bool,
    /// Links of free objects are not stored in the clear, and lie away from the ends of objects (Linux
    /// `CONFIG_SLAB_FREELIST_HARDENED`).
    pub hardened: bool,
    /// A secret of this boot: keys of free lists and their order come from it.
    pub seed: u64,
    /// The checks of the cache with this name (`slab_debug=`).
    pub debug: fn(&str) -> SlabFlags,
    /// See [`Hooks`].
    pub hooks: Hooks,
}

impl SlabConfig {
    /// What distributions build and boot Linux with, for one CPU, without answers.
    pub const LINUX: Self = Self {
        rules: OrderRules { min_order: 0, max_order: 3, min_objects: 0, cpus: 1 },
        merge: true,
        reuse: true,
        init_on_alloc: false,
        init_on_free: false,
        randomize: true,
        hardened: true,
        seed: 0,
        debug: |_| SlabFlags::empty(),
        hooks: Hooks { report: |_| {}, now_ms: || 0, task: || 0 },
    };

    /// Some 64 bits that depend on the seed and on `salt`. Source: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
    #[inline]
    pub(super) const fn random(&self, salt: u64) -> u64 {
        let word = self.seed.wrapping_add(salt.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let a = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let b = (a ^ a >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        b ^ b >> 31
    }
}
