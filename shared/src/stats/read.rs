//! Reading the statistics area of a guest that may be hostile: every copy is checked, every wait is bounded.

use super::{ABI_VERSION, Header, MAGIC, group};
use core::fmt;
use core::mem::size_of;
use zerocopy::FromBytes;

/// Why the statistics cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatsError {
    /// The note or the area is shorter than its structure.
    Short {
        /// Bytes needed.
        need: usize,
        /// Bytes there.
        have: usize,
    },
    /// The guest has not published anything yet.
    NotYet,
    /// The area does not begin with [`MAGIC`].
    Magic(u64),
    /// The guest was built for another layout.
    Version(u64),
    /// The header's sizes do not belong to this version.
    Shape,
    /// The area or a buffer it names does not lie in guest RAM.
    Outside(u64),
    /// The guest kept writing during every attempt.
    Busy {
        /// Number of the group.
        group: usize,
    },
    /// There is no group of this number.
    NoGroup(usize),
}

impl fmt::Display for StatsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Short { need, have } => write!(f, "statistics need {need} bytes, the guest gives {have}"),
            Self::NotYet => f.write_str("the guest has published no statistics yet, let it boot"),
            Self::Magic(word) => {
                write!(f, "no statistics area: it begins with {word:#x}, check the ELF note")
            }
            Self::Version(version) => write!(
                f,
                "statistics version {version}, this program reads {ABI_VERSION}: use a guest of the same build"
            ),
            Self::Shape => f.write_str("statistics header with wrong sizes: use a guest of the same build"),
            Self::Outside(address) => {
                write!(f, "statistics at {address:#x}, outside guest RAM: use a guest of the same build")
            }
            Self::Busy { group } => write!(f, "statistics group {group} changes all the time, try again"),
            Self::NoGroup(group) => write!(f, "no statistics group {group}"),
        }
    }
}

impl core::error::Error for StatsError {}

/// The structure at the beginning of `bytes`.
pub(super) fn prefix<T: FromBytes>(bytes: &[u8]) -> Result<T, StatsError> {
    let short = |_| StatsError::Short { need: size_of::<T>(), have: bytes.len() };
    T::read_from_prefix(bytes).map(|(value, _)| value).map_err(short)
}

/// Checks a copy of the head of the area.
///
/// # Errors
/// What is wrong with it.
pub fn check_header(bytes: &[u8]) -> Result<(), StatsError> {
    let header: Header = prefix(bytes)?;
    let expected = Header::new();
    match header.magic {
        0 => Err(StatsError::NotYet),
        MAGIC if header.abi_version != expected.abi_version => Err(StatsError::Version(header.abi_version)),
        MAGIC if header != expected => Err(StatsError::Shape),
        MAGIC => Ok(()),
        other => Err(StatsError::Magic(other)),
    }
}

/// Whether a copy taken between two reads of its seqlock word is whole: the word was even and did not
/// change. The copy itself must lie between the two reads in memory order.
#[must_use]
pub const fn is_consistent(before: u64, after: u64) -> bool {
    before == after && before & 1 == 0
}

/// Copies bytes from an offset in the area in guest RAM.
pub type CopyFrom<'a> = dyn FnMut(usize, &mut [u8]) -> Result<(), StatsError> + 'a;

/// Copies one group into `buffer` until the copy is whole, at most `tries` times.
///
/// `copy(offset, bytes)` copies from the area in guest RAM; it is called for the word, the group and the
/// word again, and must not be reordered (volatile or atomic reads). It fails when the area is not in RAM.
///
/// # Errors
/// [`StatsError::NoGroup`], [`StatsError::Short`] when `buffer` is too small, [`StatsError::Busy`], or that
/// of `copy`.
pub fn copy_group<'b>(
    number: usize,
    tries: u32,
    buffer: &'b mut [u8],
    copy: &mut CopyFrom<'_>,
) -> Result<&'b [u8], StatsError> {
    let (offset, size) = group(number).ok_or(StatsError::NoGroup(number))?;
    let have = buffer.len();
    let bytes = buffer.get_mut(..size).ok_or(StatsError::Short { need: size, have })?;
    for _ in 0..tries {
        let mut before = [0; 8];
        let mut after = [0; 8];
        copy(offset, &mut before)?;
        copy(offset, bytes)?;
        copy(offset, &mut after)?;
        if is_consistent(u64::from_le_bytes(before), u64::from_le_bytes(after)) {
            return Ok(bytes);
        }
    }
    Err(StatsError::Busy { group: number })
}
