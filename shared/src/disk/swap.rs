//! Swap areas, as `mkswap` of util-linux writes them and Linux reads them.
//!
//! Owns: the header in the first page and its check. Stays outside: what is in the other pages.
//! Source: Linux `include/linux/swap.h` (`union swap_header`) and the checks of `swapon`.

use core::fmt;

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::BLOCK;
use super::uuid::Uuid;

/// Fewest pages that `mkswap` accepts.
pub const MIN_PAGES: u64 = 10;
/// Most bytes of a label; a zero byte follows.
pub const MAX_LABEL: usize = 15;
/// Most bad pages a header has room for.
pub const MAX_BAD_PAGES: usize = 637;

const SIGNATURE: [u8; 10] = *b"SWAPSPACE2";
const VERSION: u32 = 1;

/// The first page of a swap area.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SwapHeader {
    boot: [u8; 1024],
    version: U32,
    last_page: U32,
    bad_count: U32,
    uuid: Uuid,
    label: [u8; 16],
    padding: [U32; 117],
    bad_pages: [U32; MAX_BAD_PAGES],
    gap: [u8; 2],
    signature: [u8; 10],
}

/// What is wrong with a swap area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwapError {
    /// The page does not end in the signature.
    NoSignature,
    /// A version other than 1, in either byte order.
    Version(u32),
    /// The numbers are big-endian.
    BigEndian,
    /// Less than one page to swap to.
    Empty,
    /// The area ends behind its device: how many pages it has and how many there are.
    TooLong {
        /// Pages according to the header.
        pages: u64,
        /// Pages of the device.
        device: u64,
    },
    /// More bad pages than there is room for.
    TooManyBadPages(u32),
    /// A bad page that is the header, or behind the last page.
    BadPage(u32),
}

impl fmt::Display for SwapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSignature => f.write_str("no swap signature"),
            Self::Version(version) => write!(f, "swap area of version {version}, not 1"),
            Self::BigEndian => f.write_str("swap area of a big-endian machine"),
            Self::Empty => f.write_str("swap area without a page to swap to"),
            Self::TooLong { pages, device } => {
                write!(f, "swap area of {pages} pages on a device of {device}")
            }
            Self::TooManyBadPages(count) => write!(f, "{count} bad pages, at most {MAX_BAD_PAGES}"),
            Self::BadPage(page) => write!(f, "page {page} is called bad, which is not one to swap to"),
        }
    }
}

impl SwapHeader {
    /// The header of an area of `pages` pages, the header's own included. `None` when there are fewer than
    /// [`MIN_PAGES`], more than a 32-bit number, a label longer than [`MAX_LABEL`] or too many bad pages.
    #[must_use]
    pub fn new(pages: u64, uuid: Uuid, label: &str, bad: &[u32]) -> Option<Self> {
        let last_page = u32::try_from(pages.checked_sub(1)?).ok().filter(|_| pages >= MIN_PAGES)?;
        let mut header = Self {
            boot: [0; 1024],
            version: U32::new(VERSION),
            last_page: U32::new(last_page),
            bad_count: U32::new(u32::try_from(bad.len()).ok()?),
            uuid,
            label: [0; 16],
            padding: [U32::new(0); 117],
            bad_pages: [U32::new(0); MAX_BAD_PAGES],
            gap: [0; 2],
            signature: SIGNATURE,
        };
        header.label.get_mut(..MAX_LABEL)?.get_mut(..label.len())?.copy_from_slice(label.as_bytes());
        for (slot, page) in header.bad_pages.get_mut(..bad.len())?.iter_mut().zip(bad) {
            slot.set(*page);
        }
        Some(header)
    }

    /// Whether `page` ends as the first page of a swap area does.
    #[must_use]
    pub fn is_in(page: &[u8]) -> bool {
        Self::ref_from_prefix(page).is_ok_and(|(header, _)| header.signature == SIGNATURE)
    }

    /// The header in `page`, the first page of a device of `device` pages.
    ///
    /// # Errors
    /// Whatever would make Linux refuse the area, and a bad page that is none.
    pub fn read(page: &[u8], device: u64) -> Result<&Self, SwapError> {
        let (header, _) = Self::ref_from_prefix(page).map_err(|_| SwapError::NoSignature)?;
        if header.signature != SIGNATURE {
            return Err(SwapError::NoSignature);
        }
        match header.version.get() {
            VERSION => {}
            version if version.swap_bytes() == VERSION => return Err(SwapError::BigEndian),
            version => return Err(SwapError::Version(version)),
        }
        if header.last_page.get() == 0 {
            return Err(SwapError::Empty);
        }
        if header.pages() > device {
            return Err(SwapError::TooLong { pages: header.pages(), device });
        }
        let count = header.bad_count.get();
        if header.bad_pages().len() as u64 != u64::from(count) {
            return Err(SwapError::TooManyBadPages(count));
        }
        let last = header.last_page.get();
        match header.bad_pages().iter().find(|page| page.get() == 0 || page.get() > last) {
            Some(page) => Err(SwapError::BadPage(page.get())),
            None => Ok(header),
        }
    }

    /// Pages of the area, the header's own included.
    #[must_use]
    pub fn pages(&self) -> u64 {
        u64::from(self.last_page.get()) + 1
    }

    /// Pages that must not be used.
    #[must_use]
    pub fn bad_pages(&self) -> &[U32] {
        self.bad_pages.get(..self.bad_count.get() as usize).unwrap_or_default()
    }

    /// The area's identifier; nil for none.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// The area's name, up to its first zero byte. It may be no UTF-8.
    #[must_use]
    pub fn label(&self) -> &[u8] {
        self.label.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

const _: () = assert!(size_of::<SwapHeader>() == BLOCK as usize);
