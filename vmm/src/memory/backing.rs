//! The host pages behind guest RAM.
//!
//! Owns: the mmap and madvise calls of each `--hugepages` choice.
//! Stays outside: where the pages go (the caller's reservation).

use std::io;
use std::ptr::NonNull;

use super::MemoryError;

/// Bytes of one hugetlb page as used here.
const HUGE_PAGE: u64 = 2 << 20;

/// Which host pages back guest RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPages {
    /// Transparent huge pages where the host offers them.
    Auto,
    /// Transparent huge pages, or an error.
    Thp,
    /// Pages of the host's hugetlb pool, or an error.
    Hugetlb,
    /// 4 KiB pages.
    Small,
}

/// The host's choice for transparent huge pages (`always`, `madvise`, `never`), if it has them.
pub fn thp_mode() -> Option<String> {
    let text = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok()?;
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(mode, _)| mode.to_owned())
}

/// Maps `size` bytes of zeroed memory at `host`.
///
/// # Safety
///
/// `host..host + size` must be address space the caller owns and nobody uses: what is mapped there
/// is replaced.
pub(super) unsafe fn map(host: NonNull<u8>, size: u64, pages: HostPages) -> Result<(), MemoryError> {
    let length = size as usize;
    let mut flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    match pages {
        HostPages::Hugetlb => flags |= libc::MAP_HUGETLB | libc::MAP_HUGE_2MB,
        HostPages::Auto | HostPages::Thp | HostPages::Small => flags |= libc::MAP_NORESERVE,
    }
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the caller hands over the address range; nothing else is replaced by MAP_FIXED.
    let address = unsafe { libc::mmap(host.as_ptr().cast(), length, protection, flags, -1, 0) };
    if address == libc::MAP_FAILED {
        let source = io::Error::last_os_error();
        return Err(match pages {
            HostPages::Hugetlb => MemoryError::HugetlbPool { pages: size.div_ceil(HUGE_PAGE), source },
            HostPages::Auto | HostPages::Thp | HostPages::Small => MemoryError::Map { size, source },
        });
    }
    let advice = match pages {
        HostPages::Auto | HostPages::Thp => libc::MADV_HUGEPAGE,
        HostPages::Small => libc::MADV_NOHUGEPAGE,
        HostPages::Hugetlb => return Ok(()),
    };
    // A host built without transparent huge pages refuses both; its pages are small anyway.
    // SAFETY: advice on memory that was mapped above; it changes no contents.
    unsafe { libc::madvise(address, length, advice) };
    Ok(())
}

/// Brings in every page of `host..host + size`, which must be mapped writable.
pub(super) fn prefault(host: NonNull<u8>, size: u64) -> io::Result<()> {
    // SAFETY: populating changes no contents; an unmapped range gives an error, not a fault.
    let result = unsafe { libc::madvise(host.as_ptr().cast(), size as usize, libc::MADV_POPULATE_WRITE) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
