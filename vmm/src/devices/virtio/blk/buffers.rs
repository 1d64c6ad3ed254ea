//! The guest buffers of one request, as the host kernel's vectored I/O wants them.
//!
//! Owns: the translation of guest ranges to host I/O vectors, and what is left of them after a short transfer.
//! Stays outside: which descriptors are data (`request`), which file (`image`), who moves the bytes (`engine`).
//! Invariants: every vector lies inside guest RAM, and `memory` keeps that RAM mapped for as long
//! as the vectors exist. Guest bytes are never a Rust reference: only the kernel touches them.

use std::sync::Arc;

use vm_memory::{GuestAddress, GuestMemory, Permissions, VolatileSlice};

use super::super::GuestRam;

/// The most vectors that one system call takes (Linux UIO_MAXIOV).
const MAX_VECTORS: usize = 1024;
/// Longest list that is kept for another request: most requests are shorter, and a hostile driver cannot have us keep
/// much.
const KEPT_VECTORS: usize = 64;

/// A range of guest-physical addresses, not checked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First byte.
    pub address: GuestAddress,
    /// Length in bytes.
    pub len: u32,
}

impl Segment {
    /// Whether its first `bytes` bytes are whole words of memory.
    pub fn holds_words(&self, bytes: usize) -> bool {
        const WORD: usize = size_of::<u64>();
        self.len as usize >= bytes && bytes.is_multiple_of(WORD) && self.address.0.is_multiple_of(WORD as u64)
    }
}

/// A list of guest buffers that all lie in guest RAM.
pub struct GuestBuffers {
    /// Keeps the vectors valid.
    memory: GuestRam,
    vectors: Vec<libc::iovec>,
    /// Vectors that are used up.
    first: usize,
    /// Bytes that are left.
    bytes: u64,
}

// SAFETY: the vectors point into guest RAM, which `memory` keeps mapped and which every thread reaches only through
// the kernel or by volatile accesses.
unsafe impl Send for GuestBuffers {}

/// Whether a write must be on stable storage before it completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A later flush makes it stable.
    Cached,
    /// It is stable on completion.
    Through,
}

impl GuestBuffers {
    /// No buffers at all.
    pub fn none(memory: &GuestRam) -> Self {
        Self { memory: memory.clone(), vectors: Vec::new(), first: 0, bytes: 0 }
    }

    /// Holds `segments` of `memory` from now on, and nothing of what it held before. Returns `None` when a byte of them
    /// is not in guest RAM, or the driver may not access it with `access`; then what it holds means nothing.
    pub fn fill(
        &mut self,
        memory: &GuestRam,
        segments: impl IntoIterator<Item = Segment>,
        access: Permissions,
    ) -> Option<()> {
        self.vectors.clear();
        (self.first, self.bytes) = (0, 0);
        if !Arc::ptr_eq(&self.memory, memory) {
            self.memory = memory.clone();
        }
        for segment in segments {
            let len = usize::try_from(segment.len).ok()?;
            for slice in memory.get_slices(segment.address, len, access).ok()? {
                let slice = slice.ok()?;
                let guard = slice.ptr_guard_mut();
                self.vectors.push(libc::iovec { iov_base: guard.as_ptr().cast(), iov_len: slice.len() });
            }
            self.bytes += u64::from(segment.len);
        }
        Some(())
    }

    /// Whether its list is short enough to be kept for another request.
    pub fn is_small(&self) -> bool {
        self.vectors.capacity() <= KEPT_VECTORS
    }

    /// Length in bytes of what is left.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Copies `bytes` to the front of the buffers. Returns how many bytes fitted.
    pub fn store(&self, mut bytes: &[u8]) -> u32 {
        let mut stored = 0;
        for vector in &self.vectors {
            // SAFETY: the vector is a range of mapped guest RAM, kept mapped by `self.memory`,
            // which the slice does not outlive. All accesses of this process to guest RAM are
            // volatile.
            let slice = unsafe { VolatileSlice::new(vector.iov_base.cast(), vector.iov_len) };
            let count = slice.len().min(bytes.len());
            slice.copy_from(bytes);
            bytes = bytes.get(count..).unwrap_or_default();
            stored += count as u32;
        }
        stored
    }

    /// The vectors for the next system call: at most [`MAX_VECTORS`]. They stay valid and in place until
    /// [`GuestBuffers::advance`], [`GuestBuffers::truncate`] or the end of this value, wherever it is moved.
    pub fn vectors(&self) -> &[libc::iovec] {
        let rest = self.vectors.get(self.first..).unwrap_or_default();
        rest.get(..MAX_VECTORS).unwrap_or(rest)
    }

    /// Takes `moved` bytes, which a system call has moved, off the front.
    pub fn advance(&mut self, moved: u64) {
        let moved = moved.min(self.bytes);
        self.bytes -= moved;
        let rest = self.vectors.get_mut(self.first..).unwrap_or_default();
        // At most the sum of the vectors' lengths, which fits into memory.
        self.first += advance(rest, moved as usize);
    }

    /// Cuts the buffers off after `bytes` bytes.
    pub fn truncate(&mut self, bytes: u64) {
        let mut left = bytes;
        for vector in self.vectors.get_mut(self.first..).unwrap_or_default() {
            vector.iov_len = vector.iov_len.min(usize::try_from(left).unwrap_or(usize::MAX));
            left -= vector.iov_len as u64;
        }
        self.bytes = self.bytes.min(bytes);
    }

    /// Whether what is left begins at multiples of `memory` bytes and has lengths that are multiples of `length`.
    pub fn is_aligned(&self, memory: u64, length: u64) -> bool {
        let aligned = |vector: &libc::iovec| {
            (vector.iov_base as u64).is_multiple_of(memory) && (vector.iov_len as u64).is_multiple_of(length)
        };
        self.vectors.get(self.first..).unwrap_or_default().iter().all(aligned)
    }
}

/// Takes `moved` bytes off the front of `vectors`. Returns how many vectors are used up; the one
/// after those is shortened.
fn advance(vectors: &mut [libc::iovec], mut moved: usize) -> usize {
    let mut used = 0;
    for vector in vectors {
        if moved < vector.iov_len {
            vector.iov_base = vector.iov_base.wrapping_byte_add(moved);
            vector.iov_len -= moved;
            break;
        }
        moved -= vector.iov_len;
        used += 1;
    }
    used
}

#[cfg(test)]
mod tests;
