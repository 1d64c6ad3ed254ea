//! The guest buffers of one request, as the host kernel's vectored I/O wants them.
//!
//! Owns: the translation of guest ranges to host I/O vectors, and the loop that finishes short
//! transfers. The only `unsafe` of the block device is here.
//! Stays outside: which descriptors are data (`request`), and which file (`backend`).
//! Invariants: every vector lies inside guest RAM, and `_memory` keeps that RAM mapped for as long
//! as the vectors exist. Guest bytes are never a Rust reference: only the kernel touches them.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use vm_memory::{GuestAddress, GuestMemory, Permissions, VolatileSlice};

use super::super::GuestRam;

/// The most vectors that one system call takes (Linux UIO_MAXIOV).
const MAX_VECTORS: usize = 1024;

/// A range of guest-physical addresses, not checked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First byte.
    pub address: GuestAddress,
    /// Length in bytes.
    pub len: u32,
}

/// A list of guest buffers that all lie in guest RAM.
pub struct GuestBuffers {
    /// Keeps the vectors valid.
    _memory: GuestRam,
    vectors: Vec<libc::iovec>,
    bytes: u64,
}

/// Whether a write must be on stable storage before it completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A later flush makes it stable.
    Cached,
    /// It is stable on completion.
    Through,
}

impl GuestBuffers {
    /// Translates `segments`. Returns `None` when a byte of them is not in guest RAM, or the
    /// driver may not access it with `access`.
    pub fn new(
        memory: &GuestRam,
        segments: impl IntoIterator<Item = Segment>,
        access: Permissions,
    ) -> Option<Self> {
        let mut vectors = Vec::new();
        let mut bytes = 0;
        for segment in segments {
            let len = usize::try_from(segment.len).ok()?;
            for slice in memory.get_slices(segment.address, len, access).ok()? {
                let slice = slice.ok()?;
                let guard = slice.ptr_guard_mut();
                vectors.push(libc::iovec { iov_base: guard.as_ptr().cast(), iov_len: slice.len() });
            }
            bytes += u64::from(segment.len);
        }
        Some(Self { _memory: memory.clone(), vectors, bytes })
    }

    /// No buffers at all.
    pub fn none(memory: &GuestRam) -> Self {
        Self { _memory: memory.clone(), vectors: Vec::new(), bytes: 0 }
    }

    /// Total length in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Copies `bytes` to the front of the buffers. Returns how many bytes fitted.
    pub fn store(&self, mut bytes: &[u8]) -> u32 {
        let mut stored = 0;
        for vector in &self.vectors {
            // SAFETY: the vector is a range of mapped guest RAM, kept mapped by `self._memory`,
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

    /// Fills the buffers from `file` at `offset` bytes. An end of file before the last byte is an
    /// error of kind `UnexpectedEof`.
    ///
    /// Returns the result and how many bytes were filled, from the first one on.
    pub fn fill_from(&mut self, file: &File, offset: u64) -> (u64, io::Result<()>) {
        self.transfer(offset, |vectors, count, offset| {
            // SAFETY: the first `count` entries of `vectors` are the ones of `self.vectors`, each
            // a range of mapped guest RAM that `self._memory` keeps mapped over the call. The
            // guest may race with the kernel for the contents, but nothing in this process holds
            // a reference to them. The descriptor is open because `file` is borrowed.
            unsafe { libc::preadv2(file.as_raw_fd(), vectors, count, offset, 0) }
        })
    }

    /// Writes the buffers to `file` at `offset` bytes.
    ///
    /// Returns the result and how many bytes were written, from the first one on.
    pub fn drain_to(&mut self, file: &File, offset: u64, durability: Durability) -> (u64, io::Result<()>) {
        let flags = match durability {
            Durability::Cached => 0,
            Durability::Through => libc::RWF_DSYNC,
        };
        self.transfer(offset, |vectors, count, offset| {
            // SAFETY: as in `fill_from`; the kernel only reads the guest's bytes here.
            unsafe { libc::pwritev2(file.as_raw_fd(), vectors, count, offset, flags) }
        })
    }

    /// Repeats `call` until all vectors are used up, an error, or a call that moves nothing.
    fn transfer(
        &mut self,
        offset: u64,
        mut call: impl FnMut(*const libc::iovec, libc::c_int, libc::off_t) -> isize,
    ) -> (u64, io::Result<()>) {
        let mut done = 0;
        let mut first = 0;
        while let Some(rest) = self.vectors.get_mut(first..).filter(|rest| !rest.is_empty()) {
            let Ok(position) = libc::off_t::try_from(offset.saturating_add(done)) else {
                return (done, Err(io::ErrorKind::InvalidInput.into()));
            };
            let count = rest.len().min(MAX_VECTORS);
            // `count` is at most 1024.
            match call(rest.as_ptr(), count as libc::c_int, position) {
                0 => return (done, Err(io::ErrorKind::UnexpectedEof.into())),
                moved if moved > 0 => {
                    done += moved as u64;
                    first += advance(rest, moved as usize);
                }
                _ => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    error => return (done, Err(error)),
                },
            }
        }
        (done, Ok(()))
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
