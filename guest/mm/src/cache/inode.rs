//! Inodes: one file or disk, and what is in memory of it (Linux `struct inode`).

use super::{AddressSpace, FileSystem};
use crate::folio::Mapping;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

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
    /// The next in its bucket of the table.
    pub(super) next: AtomicPtr<()>,
}

impl<'p> Inode<'p> {
    /// Inode `number` of `fs`, of `size` bytes, with nothing in memory and one reference.
    #[must_use]
    pub const fn new(fs: &'p dyn FileSystem, number: u64, size: u64) -> Self {
        Self {
            mapping: AddressSpace::new(),
            fs,
            number,
            size: AtomicU64::new(size),
            refs: AtomicU32::new(1),
            next: AtomicPtr::new(null_mut()),
        }
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

    /// It has `size` bytes from now on. Whoever calls this has seen to the pages.
    pub(crate) fn set_size(&self, size: u64) {
        self.size.store(size, Ordering::Release);
    }

    /// What its pages belong to.
    #[inline]
    pub(crate) fn of_pages(&self) -> Mapping {
        Mapping::File(core::ptr::from_ref(self).expose_provenance() as u64)
    }

    /// One more has it; the caller has it, or holds the lock of its bucket.
    pub(super) fn get(&self) {
        self.refs.fetch_add(1, Ordering::Relaxed);
    }

    /// One less has it.
    pub(super) fn put(&self) {
        self.refs.fetch_sub(1, Ordering::Release);
    }
}
