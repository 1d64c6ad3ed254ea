//! What the map of an area says of one slot: a byte, and the steps it can take (Linux `swap_map`).
//!
//! Invariants: a slot is free iff its byte is 0; the cache bit is set iff the swap cache has or is about to get a page
//! for it. Above [`Count::MAX`] the count is carried (`carries`), and the byte says so.

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
    /// There is no memory to name it once more.
    Full,
}

/// Some of the count is elsewhere (`COUNT_CONTINUED`).
const CARRIED: u8 = 0x80;
const CACHE: u8 = 0x40;
const COUNT: u8 = 0x3f;

impl Count {
    /// Must not be used: bad on the disk, or the header.
    pub const BAD: Self = Self(COUNT);
    /// The most entries that the byte counts (`SWAP_MAP_MAX`).
    pub const MAX: u8 = COUNT - 1;
    /// Just taken, for a page that the cache gets.
    pub const TAKEN: Self = Self(CACHE);

    pub const fn of(byte: u8) -> Self {
        Self(byte)
    }

    pub const fn byte(self) -> u8 {
        self.0
    }

    /// Entries that name it, `carries` of which the byte does not count; 0 for a bad one.
    pub const fn entries(self, carries: u32) -> u32 {
        if self.is_bad() { 0 } else { (self.0 & COUNT) as u32 + carries * COUNT as u32 }
    }

    /// Whether some entry names it.
    pub const fn is_named(self) -> bool {
        !self.is_bad() && self.0 & (COUNT | CARRIED) != 0
    }

    /// Whether some of the count is elsewhere.
    pub const fn is_carried(self) -> bool {
        self.0 & CARRIED != 0
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

    /// One entry more than the byte can count names it: all of them are carried.
    pub fn carry(self) -> Self {
        Self(self.0 & CACHE | CARRIED)
    }

    /// One entry less names it. `Full` if the byte does not count it: then it is to be borrowed.
    pub fn less(self) -> Result<Self, Refused> {
        match self.0 & COUNT {
            0 if self.is_carried() => Err(Refused::Full),
            0 => Err(Refused::Free),
            _ if self.is_bad() => Err(Refused::Free),
            _ => Ok(Self(self.0 - 1)),
        }
    }

    /// One entry less than was carried names it, and of what was carried there is more or not.
    pub fn borrow(self, is_carried: bool) -> Self {
        Self(self.0 & CACHE | Self::MAX | if is_carried { CARRIED } else { 0 })
    }

    /// The cache gets a page for it, which some entry names.
    pub fn cached(self) -> Result<Self, Refused> {
        match (self.is_named(), self.is_cached()) {
            (_, true) => Err(Refused::Cached),
            (false, false) => Err(Refused::Free),
            _ => Ok(Self(self.0 | CACHE)),
        }
    }

    /// The cache has no page for it any more.
    pub fn uncached(self) -> Result<Self, Refused> {
        if self.is_cached() { Ok(Self(self.0 & !CACHE)) } else { Err(Refused::Free) }
    }
}
