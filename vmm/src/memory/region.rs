//! Guest RAM as `vm-memory` sees it: one reservation of host addresses, one region per memslot.
//!
//! Owns: the host address range and its release when the last user is gone.
//! Stays outside: what backs the range (`memory::backing`), memslots (`kvm::vm`).
//! Invariants: guest-physical address `g` of RAM always lies at `base + g`, and `base` is a multiple
//! of 1 GiB, so guest and host addresses agree modulo 1 GiB and huge mappings are possible at every
//! level (KVM maps 2 MiB and 1 GiB only when both agree, `Documentation/virt/kvm/api.rst`). Before, behind and between
//! the regions lies memory that nobody may touch, so a stray access beside RAM meets no other data of the monitor.

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

use vm_memory::bitmap::BS;
use vm_memory::guest_memory::Result as RamResult;
use vm_memory::{
    GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryRegion, GuestMemoryRegionBytes,
    GuestRegionCollection, GuestRegionCollectionError, GuestUsize, MemoryRegionAddress, VolatileSlice,
};

use super::layout::RamRange;

/// All RAM of a guest. Cloning shares the memory.
///
/// Why not the collection itself: it searches by halves, and devices look up an address ten times for every request.
/// There are few regions, and almost everything is in the first.
#[derive(Clone, Debug)]
pub struct GuestRam(GuestRegionCollection<RamRegion>);

impl GuestRam {
    /// RAM of these regions, which are in order and do not overlap.
    pub(super) fn from_regions(regions: Vec<RamRegion>) -> Result<Self, GuestRegionCollectionError> {
        GuestRegionCollection::from_regions(regions).map(Self)
    }

    /// Has the processor bring the cache line at `addr` in while it does something else.
    #[inline]
    pub fn prefetch(&self, addr: GuestAddress) {
        if let Some(region) = self.find_region(addr) {
            let at = region.host.as_ptr().wrapping_add((addr.0 - region.range.base) as usize);
            // SAFETY: only a hint: it reads nothing that the program can see, and faults at no address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
        }
    }
}

impl GuestMemoryBackend for GuestRam {
    type R = RamRegion;

    fn num_regions(&self) -> usize {
        self.0.num_regions()
    }

    #[inline]
    fn find_region(&self, addr: GuestAddress) -> Option<&RamRegion> {
        self.0.iter().find(|region| region.contains(addr))
    }

    fn iter(&self) -> impl Iterator<Item = &RamRegion> {
        self.0.iter()
    }
}

/// Guest and host addresses agree modulo this.
const ALIGNMENT: usize = 1 << 30;
/// At least so many bytes before and behind RAM are inaccessible. A stray access is off by less than the longest
/// request: 32-bit lengths of single buffers are checked as a whole.
const GUARD: usize = 2 << 20;

/// A range of host addresses, inaccessible until something is mapped over it.
#[derive(Debug)]
pub(super) struct Reservation {
    start: NonNull<u8>,
    length: usize,
    /// First 1 GiB boundary behind the guard; where guest-physical 0 lies.
    base: usize,
}

// SAFETY: the reservation is only an address range. Memory in it is reached through
// `VolatileSlice`s, which are made for memory that several threads and the guest change.
unsafe impl Send for Reservation {}
// SAFETY: as above; no method needs exclusive access.
unsafe impl Sync for Reservation {}

impl Reservation {
    /// Reserves room for guest-physical addresses `0..top` (bytes).
    pub(super) fn new(top: u64) -> io::Result<Self> {
        let length = usize::try_from(top)
            .ok()
            .and_then(|top| top.checked_add(ALIGNMENT + 2 * GUARD))
            .ok_or(io::ErrorKind::OutOfMemory)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new anonymous mapping at an address the kernel chooses; it replaces nothing.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, libc::PROT_NONE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let base = GUARD + start.as_ptr().wrapping_add(GUARD).align_offset(ALIGNMENT);
        Ok(Self { start, length, base })
    }

    /// Host address of guest-physical `range`, if the range lies inside the reservation.
    pub(super) fn host_address(&self, range: &RamRange) -> Option<NonNull<u8>> {
        let offset = usize::try_from(range.base).ok()?.checked_add(self.base)?;
        let end = offset.checked_add(usize::try_from(range.size).ok()?)?;
        // SAFETY: `offset <= end < length`, so the address stays inside the reservation's mapping.
        (end <= self.length - GUARD).then(|| unsafe { self.start.add(offset) })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new` and belongs to this value alone. Every region holds
        // an `Arc` of it and every slice borrows a region, so nothing reaches the memory any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// One memslot's worth of guest RAM.
#[derive(Debug)]
pub struct RamRegion {
    range: RamRange,
    host: NonNull<u8>,
    /// Keeps the memory mapped.
    _reservation: Arc<Reservation>,
}

// SAFETY: `host` points into the reservation, which is `Send` and `Sync` and is kept alive here.
unsafe impl Send for RamRegion {}
// SAFETY: as above; guest memory is only reached through volatile accesses.
unsafe impl Sync for RamRegion {}

impl RamRegion {
    /// The region of `range`, or `None` when the reservation does not hold it.
    ///
    /// # Safety
    ///
    /// Readable and writable memory must be mapped over the whole range before the first access and
    /// stay mapped while `reservation` lives.
    pub(super) unsafe fn new(reservation: &Arc<Reservation>, range: RamRange) -> Option<Self> {
        let host = reservation.host_address(&range)?;
        Some(Self { range, host, _reservation: Arc::clone(reservation) })
    }

    /// The guest-physical range and its node.
    pub fn range(&self) -> RamRange {
        self.range
    }

    #[inline]
    fn contains(&self, addr: GuestAddress) -> bool {
        addr.0.wrapping_sub(self.range.base) < self.range.size
    }

    /// Host virtual address of the first byte, as memslots need it.
    pub fn host_address(&self) -> u64 {
        self.host.as_ptr() as u64
    }
}

impl GuestMemoryRegion for RamRegion {
    type B = ();

    fn len(&self) -> GuestUsize {
        self.range.size
    }

    fn start_addr(&self) -> GuestAddress {
        GuestAddress(self.range.base)
    }

    fn bitmap(&self) -> BS<'_, Self::B> {}

    fn get_host_address(&self, addr: MemoryRegionAddress) -> RamResult<*mut u8> {
        let slice = self.get_slice(addr, 1)?;
        Ok(slice.ptr_guard_mut().as_ptr())
    }

    fn get_slice(
        &self,
        offset: MemoryRegionAddress,
        count: usize,
    ) -> RamResult<VolatileSlice<'_, BS<'_, Self::B>>> {
        let fits = offset.0.checked_add(count as u64).is_some_and(|end| end <= self.range.size);
        let start = usize::try_from(offset.0).ok().filter(|_| fits);
        let start = start.ok_or(GuestMemoryError::InvalidBackendAddress)?;
        // SAFETY: `start + count` is within the region, whose memory is mapped readable and writable
        // for as long as `self` lives (contract of `RamRegion::new`); the slice borrows `self`.
        Ok(unsafe { VolatileSlice::new(self.host.as_ptr().add(start), count) })
    }
}

impl GuestMemoryRegionBytes for RamRegion {}
