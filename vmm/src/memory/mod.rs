//! Guest RAM: anonymous host memory, placed so that huge pages stay huge in the second level.
//!
//! Owns: choosing host pages (`--hugepages`), mapping and pre-faulting them.
//! Stays outside: the guest-physical layout (`layout`), memslots (`kvm::vm`).
//! Invariants: every range of the layout is mapped readable and writable before its region exists;
//! pages are zero until the guest or the loader writes them (the ELF loader leaves .bss to that).

mod backing;
pub mod layout;
mod region;

use std::io;
use std::sync::Arc;

pub use backing::{HostPages, thp_mode};
pub use layout::RamRange;
pub use region::{GuestRam, RamRegion};

use region::Reservation;

/// Why guest RAM could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The host has no room for the guest's address range.
    #[error("cannot reserve {size} bytes of address space for guest RAM; use a smaller --mem")]
    Reserve {
        /// Bytes asked for.
        size: u64,
        /// What mmap said.
        source: io::Error,
    },
    /// The host refused the memory itself.
    #[error("cannot map {size} bytes of guest RAM; use a smaller --mem")]
    Map {
        /// Bytes asked for.
        size: u64,
        /// What mmap said.
        source: io::Error,
    },
    /// The host has too few pages in its hugetlb pool.
    #[error(
        "the host has fewer than {pages} free 2 MiB hugetlb pages; \
         write a larger number to /proc/sys/vm/nr_hugepages or use --hugepages auto"
    )]
    HugetlbPool {
        /// Pages the guest needs.
        pages: u64,
        /// What mmap said.
        source: io::Error,
    },
    /// Transparent huge pages were demanded and the host has them switched off.
    #[error(
        "the host has transparent huge pages switched off; \
         write madvise to /sys/kernel/mm/transparent_hugepage/enabled or use --hugepages auto"
    )]
    NoThp,
    /// The pages could not be brought in ahead of time.
    #[error("cannot prefault guest RAM; drop --prefault or use a smaller --mem")]
    Prefault(#[source] io::Error),
    /// The layout is not one that `vm-memory` accepts.
    #[error("guest RAM layout is not usable: {0}")]
    Layout(String),
}

/// Maps the RAM of `ranges` with the given host pages; `prefault` brings all of it in at once.
pub fn allocate(ranges: &[RamRange], pages: HostPages, prefault: bool) -> Result<GuestRam, MemoryError> {
    if pages == HostPages::Thp && thp_mode().as_deref() == Some("never") {
        return Err(MemoryError::NoThp);
    }
    let top = layout::ram_top(ranges);
    let reservation = Reservation::new(top).map_err(|source| MemoryError::Reserve { size: top, source })?;
    let reservation = Arc::new(reservation);
    let mut regions = Vec::with_capacity(ranges.len());
    for range in ranges {
        let outside = || MemoryError::Layout(format!("{range:x?} is outside the reservation"));
        let host = reservation.host_address(range).ok_or_else(outside)?;
        // SAFETY: `host..host + size` lies in the reservation, which nothing uses yet: ranges are
        // disjoint, so no region of an earlier round is replaced.
        unsafe { backing::map(host, range.size, pages) }?;
        if prefault {
            backing::prefault(host, range.size).map_err(MemoryError::Prefault)?;
        }
        // SAFETY: the range was mapped readable and writable just above, and only the drop of the
        // reservation unmaps it.
        regions.push(unsafe { RamRegion::new(&reservation, *range) }.ok_or_else(outside)?);
    }
    GuestRam::from_regions(regions).map_err(|error| MemoryError::Layout(error.to_string()))
}

#[cfg(test)]
mod tests;
