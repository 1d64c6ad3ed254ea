//! What the map of an area says of one slot: a byte, and the steps it can take (Linux `swap_map`).
//!
//! Invariants: a slot is free iff its byte is 0; the cache bit is set iff the swap cache has or is about to get a page
//! for it. Linux goes on above [`Count::MAX`] in pages of their own; here whoever wants one more is told that there is
//! no memory: that is 62 entries for one page.

/// The byte of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Count(u8);

/// Why a slot cannot take a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    /// It is free, or must not be used.
    Free,
    /// The cache has it already.
    Cached,
    /// As many entries name it as can.
    Full,
}

const CACHE: u8 = 0x40;
const COUNT: u8 = 0x3f;

impl Count {
    /// Must not be used: bad on the disk, or the header.
    pub const BAD: Self = Self(COUNT);
    /// The most entries that can name a slot (`SWAP_MAP_MAX`).
    pub const MAX: u8 = COUNT - 1;
    /// Just taken, for a page that the cache gets.
    pub const TAKEN: Self = Self(CACHE);

    pub const fn of(byte: u8) -> Self {
        Self(byte)
    }

    pub const fn byte(self) -> u8 {
        self.0
    }

    /// Entries that name it; 0 for a bad one.
    pub const fn entries(self) -> u32 {
        if self.is_bad() { 0 } else { (self.0 & COUNT) as u32 }
    }

    pub const fn is_cached(self) -> bool {
        self.0 & CACHE != 0
    }

    pub const fn is_free(self) -> bool {
        self.0 == 0
    }

    pub const fn is_bad(self) -> bool {
        self.0 & COUNT == COUNT
    }

    /// One entry more names it.
    pub fn more(self) -> Result<Self, Refused> {
        match self.0 & COUNT {
            _ if self.is_bad() || self.is_free() => Err(Refused::Free),
            Self::MAX => Err(Refused::Full),
            _ => Ok(Self(self.0 + 1)),
        }
    }

    /// One entry less names it.
    pub fn less(self) -> Result<Self, Refused> {
        if self.entries() == 0 { Err(Refused::Free) } else { Ok(Self(self.0 - 1)) }
    }

    /// The cache gets a page for it, which some entry names.
    pub fn cached(self) -> Result<Self, Refused> {
        match (self.entries(), self.is_cached()) {
            (_, true) => Err(Refused::Cached),
            (0, false) => Err(Refused::Free),
            _ => Ok(Self(self.0 | CACHE)),
        }
    }

    /// The cache has no page for it any more.
    pub fn uncached(self) -> Result<Self, Refused> {
        if self.is_cached() { Ok(Self(self.0 & !CACHE)) } else { Err(Refused::Free) }
    }
}
