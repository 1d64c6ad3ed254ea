//! Who allocated or freed an object (Linux `struct track`).
//!
//! Owns: the record. Invariants: a record is only believed if its check word fits, because an overrun may have
//! written over it; then the place in it is one that the compiler made.

use super::alloc::Site;
use core::fmt;
use core::panic::Location;

/// A line of code, and when and where it ran.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Track {
    site: usize,
    when_ms: u64,
    cpu: u32,
    task: u32,
    check: usize,
}

impl Track {
    /// Nothing happened yet.
    pub(super) const NONE: Self = Self { site: 0, when_ms: 0, cpu: 0, task: 0, check: 0 };

    pub(super) fn new(site: Site, when_ms: u64, cpu: u32, task: u32, key: usize) -> Self {
        let site = core::ptr::from_ref(site).expose_provenance();
        Self { site, when_ms, cpu, task, check: Self::sum(site, when_ms, cpu, task, key) }
    }

    const fn sum(site: usize, when_ms: u64, cpu: u32, task: u32, key: usize) -> usize {
        let mixed = site ^ key ^ (when_ms as usize).rotate_left(17) ^ (cpu as usize) << 32 ^ task as usize;
        mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
    }

    /// Whether it says anything, and what it says can be believed.
    pub(super) fn is_sound(&self, key: usize) -> bool {
        self.site != 0 && self.check == Self::sum(self.site, self.when_ms, self.cpu, self.task, key)
    }

    /// The line of code; for a track that is sound.
    fn site(&self) -> Option<Site> {
        let site = core::ptr::with_exposed_provenance::<Location<'static>>(self.site);
        // SAFETY: the check word fits, so `new` stored the address of a place, which is static.
        (self.site != 0).then(|| unsafe { &*site })
    }
}

/// A sound track as a report shows it.
pub(super) struct Shown<'a> {
    pub(super) verb: &'a str,
    pub(super) track: &'a Track,
    pub(super) now_ms: u64,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Track { when_ms, cpu, task, .. } = *self.track;
        let Some(site) = self.track.site() else { return Ok(()) };
        let age = self.now_ms.saturating_sub(when_ms);
        writeln!(f, "{} in {}:{} age={age} cpu={cpu} pid={task}", self.verb, site.file(), site.line())
    }
}
