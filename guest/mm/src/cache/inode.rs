//! Inodes: one file or disk, and what is in memory of it (Linux `struct inode`).

use super::{AddressSpace, FileSystem};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// See the module documentation.
#[repr(C)]
pub struct Inode<'p> {
    /// First, so that the address of the one is the address of the other.
    mapping: AddressSpace,
    fs: &'p dyn FileSystem,
    number: u64,
    /// Its size in bytes (`i_size`).
    size: AtomicU64,
    refs: AtomicU32,
}

impl<'p> Inode<'p> {
    /// Inode `number` of `fs`, of `size` bytes, with nothing in memory and one reference.
    #[must_use]
    pub const fn new(fs: &'p dyn FileSystem, number: u64, size: u64) -> Self {
        Self { mapping: AddressSpace::new(), fs, number, size: AtomicU64::new(size), refs: AtomicU32::new(1) }
    }

    /// Its pages.
    pub fn mapping(&self) -> &AddressSpace {
        &self.mapping
    }

    /// Where it is.
    pub fn fs(&self) -> &'p dyn FileSystem {
        self.fs
    }

    /// Its number in its file system.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Its size in bytes.
    #[inline]
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Who has it.
    pub fn refs(&self) -> u32 {
        self.refs.load(Ordering::Relaxed)
    }
}
