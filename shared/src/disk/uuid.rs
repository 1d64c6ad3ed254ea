//! Unique identifiers, as RFC 9562 writes them and as partition tables store them.

use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Where the text of a UUID has its hyphens, in bytes of the UUID.
const HYPHENS: [usize; 4] = [4, 6, 8, 10];
/// Characters of the text.
const TEXT: usize = 36;

/// A UUID in the order it is written in.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(transparent)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// The UUID of version 4 that `random` makes.
    #[must_use]
    pub fn from_random(mut random: [u8; 16]) -> Self {
        random[6] = random[6] & 0x0f | 0x40;
        random[8] = random[8] & 0x3f | 0x80;
        Self(random)
    }

    /// Reads 8-4-4-4-12 hexadecimal digits, of either case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut digits = text.bytes();
        let mut bytes = [0; 16];
        if digits.len() != TEXT {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            if HYPHENS.contains(&at) && digits.next() != Some(b'-') {
                return None;
            }
            *byte = hex(digits.next()?)? << 4 | hex(digits.next()?)?;
        }
        Some(Self(bytes))
    }

    /// The UUID `n` after this one, counted in its last four bytes: names for the parts of a whole.
    #[must_use]
    pub fn offset(mut self, n: u32) -> Self {
        if let Some(last) = self.0.last_chunk_mut() {
            *last = u32::from_be_bytes(*last).wrapping_add(n).to_be_bytes();
        }
        self
    }

    /// Whether it is the nil UUID, which stands for none.
    #[must_use]
    pub fn is_nil(self) -> bool {
        self.0 == [0; 16]
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if HYPHENS.contains(&at) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// A UUID as UEFI stores it: the first three fields little-endian.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(transparent)]
pub struct Guid([u8; 16]);

impl Guid {
    /// The stored form of `uuid`.
    #[must_use]
    pub const fn new(uuid: Uuid) -> Self {
        Self(swap_fields(uuid.0))
    }

    /// The UUID that is stored.
    #[must_use]
    pub const fn uuid(self) -> Uuid {
        Uuid(swap_fields(self.0))
    }
}

/// Turns one order into the other.
const fn swap_fields(bytes: [u8; 16]) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
    let [i, j, k, l, m, n, o, p] = rest;
    [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]
}
