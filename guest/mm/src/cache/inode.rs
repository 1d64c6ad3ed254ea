//! Inodes: one file or disk, and what is in memory of it (Linux `struct inode`).

use super::{AddressSpace, FileSystem};
use crate::addr::PAGE_SIZE;
use crate::errno::Errno;
use crate::folio::Mapping;
use crate::port::Cpu;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

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
    /// When it became dirty, in nanoseconds since boot; 0 while it is clean (`dirtied_when`).
    dirtied: AtomicU64,
    /// How often what its file system keeps of it has changed: its size, where its pages are.
    changes: AtomicU64,
    /// How many of these changes are stable.
    stable: AtomicU64,
    /// Its pages before this one can be read from the disk. This and the next two change under the lock of the index.
    settled: AtomicU64,
    /// Its pages before this one have no place on the disk, or were written, or are going to be. Of those behind nothing is
    /// known: a file may have had places for more than was ever written.
    claimed: AtomicU64,
    /// The first page whose place holds what nobody wrote, and could not be given up.
    stuck: AtomicU64,
    /// Somebody changes its size, or writes (`i_rwsem`).
    is_locked: AtomicBool,
    /// It is swapped to, so it stays as it is (`S_SWAPFILE`). Changes under the lock.
    is_swapfile: AtomicBool,
    /// The next in its bucket of the table.
    pub(super) next: AtomicPtr<()>,
}

impl<'p> Inode<'p> {
    /// Inode `number` of `fs`, of `size` bytes, with nothing in memory and one reference.
    #[must_use]
    pub fn new(fs: &'p dyn FileSystem, number: u64, size: u64) -> Self {
        let valid = fs.valid(number).div_ceil(PAGE_SIZE);
        Self {
            mapping: AddressSpace::new(),
            fs,
            number,
            size: AtomicU64::new(size),
            refs: AtomicU32::new(1),
            dirtied: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            stable: AtomicU64::new(0),
            settled: AtomicU64::new(valid),
            claimed: AtomicU64::new(valid),
            stuck: AtomicU64::new(u64::MAX),
            is_locked: AtomicBool::new(false),
            is_swapfile: AtomicBool::new(false),
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
    pub(crate) fn set_size(&self, cpu: &impl Cpu, size: u64) {
        let end = size.div_ceil(PAGE_SIZE);
        let _settling = self.mapping.pages.lock(cpu);
        self.size.store(size, Ordering::Release);
        // What lay behind is not on the disk any more. A disk is all its own file has.
        if self.fs.valid(self.number) != u64::MAX {
            self.settled.fetch_min(end, Ordering::AcqRel);
            self.claimed.fetch_min(end, Ordering::AcqRel);
        }
        if self.stuck.load(Ordering::Relaxed) >= end {
            self.stuck.store(u64::MAX, Ordering::Relaxed);
        }
    }

    /// What its pages belong to.
    #[inline]
    pub(crate) fn of_pages(&self) -> Mapping {
        Mapping::File(core::ptr::from_ref(self).expose_provenance() as u64)
    }

    /// Keeps others from writing and from changing the size until the guard is dropped; sleeps while somebody else does.
    pub(crate) fn lock<'a, C: Cpu>(&'a self, cpu: &'a C) -> InodeGuard<'a, 'p, C> {
        let key = core::ptr::from_ref(&self.is_locked).addr() as u64;
        while self.is_locked.swap(true, Ordering::Acquire) {
            cpu.wait_on(key, &mut || !self.is_locked.load(Ordering::Relaxed));
        }
        InodeGuard { inode: self, cpu, key }
    }

    /// The same for who changes what the file has.
    ///
    /// # Errors
    /// `Etxtbsy`: it is swapped to.
    pub(crate) fn lock_to_change<'a, C: Cpu>(&'a self, cpu: &'a C) -> Result<InodeGuard<'a, 'p, C>, Errno> {
        let guard = self.lock(cpu);
        if self.is_swapfile() { Err(Errno::Etxtbsy) } else { Ok(guard) }
    }

    /// Whether it is swapped to.
    pub fn is_swapfile(&self) -> bool {
        self.is_swapfile.load(Ordering::Relaxed)
    }

    /// It is swapped to from now on, or no more.
    pub(crate) fn set_swapfile(&self, _: &InodeGuard<'_, 'p, impl Cpu>, is_swapfile: bool) {
        self.is_swapfile.store(is_swapfile, Ordering::Relaxed);
    }

    /// It has become dirty, if it was clean.
    pub(crate) fn mark_dirty(&self, now: u64) {
        let _ = self.dirtied.compare_exchange(0, now.max(1), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// When it became dirty; `None` while it is clean.
    pub fn dirtied_when(&self) -> Option<u64> {
        Some(self.dirtied.load(Ordering::Relaxed)).filter(|&when| when != 0)
    }

    /// All that was dirty of it is being written; what becomes dirty now starts anew.
    pub(crate) fn mark_clean(&self) {
        self.dirtied.store(0, Ordering::Relaxed);
    }

    /// Its pages before this one can be read from the disk, or are in memory.
    pub(crate) fn settled(&self) -> u64 {
        self.settled.load(Ordering::Acquire)
    }

    pub(super) fn set_settled(&self, pages: u64) {
        self.settled.fetch_max(pages, Ordering::AcqRel);
    }

    /// See `claimed`.
    pub(super) fn claimed(&self) -> u64 {
        self.claimed.load(Ordering::Acquire)
    }

    /// The caller has the lock of the index, and has seen to the pages before `end`.
    pub(super) fn set_claimed(&self, end: u64) {
        self.claimed.store(end, Ordering::Release);
    }

    /// See `stuck`.
    pub(super) fn stuck(&self) -> u64 {
        self.stuck.load(Ordering::Relaxed)
    }

    /// The place of page `index` is not to be read. The caller has the lock of the index.
    pub(super) fn set_stuck(&self, index: u64) {
        self.stuck.fetch_min(index, Ordering::Relaxed);
    }

    /// All that was dirty of it was to be sent; if something was left out it is dirty since `when` (Linux `requeue_inode`),
    /// whoever made it dirty meanwhile.
    pub(crate) fn requeue(&self, when: u64) {
        let earlier = |now| (now == 0 || now > when).then_some(when.max(1));
        if self.mapping.is_dirty() {
            let _ = self.dirtied.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earlier);
        }
    }

    /// It ends at byte `size` from now on, here and in its file system. The caller keeps others from doing the same.
    ///
    /// # Errors
    /// As [`FileSystem::set_size`].
    pub(crate) fn resize(&self, cpu: &impl Cpu, size: u64) -> Result<(), Errno> {
        self.fs.set_size(self.number, size)?;
        self.set_size(cpu, size);
        self.mark_changed();
        Ok(())
    }

    /// Its size, or where its pages are, has changed.
    pub(super) fn mark_changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Is another when a page that was not in memory and is now may be elsewhere on the disk: the file was shorter in between,
    /// or somebody gave the page a place, or all that was written is known to the file system.
    pub(super) fn places(&self) -> Places {
        Places { changes: self.changes(), settled: self.settled() }
    }

    /// Whether that is not stable yet.
    pub fn is_changed(&self) -> bool {
        !self.is_stable(self.changes())
    }

    /// How often it was changed so far: what to tell [`Inode::mark_stable`] when all that is stable.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Whether that many changes are stable. Everybody who needs that has to see to it, though somebody else may be at it: only
    /// the end of that counts.
    pub(crate) fn is_stable(&self, changes: u64) -> bool {
        self.stable.load(Ordering::Acquire) >= changes
    }

    /// What was changed before [`Inode::changes`] was asked is stable.
    pub(crate) fn mark_stable(&self, changes: u64) {
        self.stable.fetch_max(changes, Ordering::AcqRel);
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

/// See [`Inode::places`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Places {
    changes: u64,
    settled: u64,
}

/// The right to write and to change the size.
#[must_use = "dropping it ends it at once"]
pub(crate) struct InodeGuard<'a, 'p, C: Cpu> {
    inode: &'a Inode<'p>,
    cpu: &'a C,
    key: u64,
}

impl<C: Cpu> Drop for InodeGuard<'_, '_, C> {
    fn drop(&mut self) {
        self.inode.is_locked.store(false, Ordering::Release);
        self.cpu.wake(self.key);
    }
}
