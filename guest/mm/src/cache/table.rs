//! All inodes that are in memory, by file system and number (Linux `fs/inode.c`).
//!
//! Owns: the table, and inodes as objects of the slab caches `inode_cache` and, of disks, `bdev_cache`. Stays outside: what a file system keeps of them.
//! Invariants: an inode stands in the table once, as long as it is in memory; it stays without users until it is
//! [dropped](PageCache::drop_inode), so that its pages can be found again; references are taken under the lock of its bucket.

use super::{FileSystem, Inode, PageCache};
use crate::errno::Errno;
use crate::phys::{FrameAllocator, GfpFlags};
use crate::port::Machine;
use crate::sync::SpinLock;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, Ordering};

const BUCKETS: usize = 64;

/// Inodes with the same remainder, linked through themselves.
struct Bucket {
    first: AtomicPtr<()>,
}

/// See the module documentation.
pub(super) struct Table {
    buckets: [SpinLock<Bucket>; BUCKETS],
}

impl Table {
    pub(super) const fn new() -> Self {
        Self {
            buckets: [const { SpinLock::new(Bucket { first: AtomicPtr::new(core::ptr::null_mut()) }) };
                BUCKETS],
        }
    }

    fn bucket(&self, number: u64) -> Option<&SpinLock<Bucket>> {
        // Fibonacci hashing.
        self.buckets.get((number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize)
    }
}

/// The inodes of a bucket.
struct Chain<'p> {
    next: *mut (),
    _of: core::marker::PhantomData<&'p Inode<'p>>,
}

impl<'p> Iterator for Chain<'p> {
    type Item = &'p Inode<'p>;

    fn next(&mut self) -> Option<&'p Inode<'p>> {
        let inode = NonNull::new(self.next.cast::<Inode<'p>>())?;
        // SAFETY: whoever made the chain holds the lock of the bucket or has the inode before, so the next stays.
        let inode = unsafe { inode.as_ref() };
        self.next = inode.next.load(Ordering::Acquire);
        Some(inode)
    }
}

impl Bucket {
    fn chain<'p>(&self) -> Chain<'p> {
        Chain { next: self.first.load(Ordering::Relaxed), _of: core::marker::PhantomData }
    }
}

fn is_of(inode: &Inode<'_>, fs: &dyn FileSystem, number: u64) -> bool {
    let (mine, other) = (core::ptr::from_ref(inode.fs()).cast::<()>(), core::ptr::from_ref(fs).cast::<()>());
    inode.number() == number && mine.addr() == other.addr()
}

impl<'p, M: Machine> PageCache<'p, M> {
    /// Inode `number` of `fs` with a reference more; made with `size` bytes if it is not in memory (Linux `iget_locked`).
    ///
    /// # Errors
    /// `Enomem`.
    pub fn iget(
        &self,
        fs: &'p dyn FileSystem,
        number: u64,
        size: u64,
        frames: &impl FrameAllocator<'p>,
    ) -> Result<&'p Inode<'p>, Errno> {
        if let Some(found) = self.find_inode(fs, number) {
            return Ok(found);
        }
        let ground = self.ground().ok_or(Errno::Enodev)?;
        let inodes = ground.inodes_of(fs);
        let memory = self.slabs.alloc(inodes, frames, GfpFlags::GFP_KERNEL)?.cast::<Inode<'p>>();
        // SAFETY: the object has the size and alignment of an inode and is the caller's alone.
        unsafe { memory.write(Inode::new(fs, number, size)) };
        let bucket = self.table.bucket(number).ok_or(Errno::Einval)?;
        let bucket = bucket.lock(self.machine().cpu());
        if let Some(other) = bucket.chain().find(|inode| is_of(inode, fs, number)) {
            other.get();
            // SAFETY: the object came from this cache, and nobody has seen it.
            let _ = unsafe { self.slabs.free(inodes, memory.cast()) };
            return Ok(other);
        }
        // SAFETY: the object is a complete inode, which only `drop_inode` takes away.
        let inode: &'p Inode<'p> = unsafe { memory.as_ref() };
        // SAFETY: it stays where it is until `drop_inode` has emptied it, and the cache has but one supply of nodes.
        unsafe { inode.mapping().pages.watch() };
        inode.next.store(bucket.first.load(Ordering::Relaxed), Ordering::Relaxed);
        bucket.first.store(memory.as_ptr().cast(), Ordering::Relaxed);
        Ok(inode)
    }

    /// Inode `number` of `fs` with a reference more, if it is in memory.
    pub fn find_inode(&self, fs: &dyn FileSystem, number: u64) -> Option<&'p Inode<'p>> {
        let bucket = self.table.bucket(number)?.lock(self.machine().cpu());
        bucket.chain().find(|inode| is_of(inode, fs, number)).inspect(|inode| inode.get())
    }

    /// One more has an inode that the caller has (Linux `ihold`).
    pub fn ihold(&self, inode: &Inode<'p>) {
        inode.get();
    }

    /// Gives a reference back. The inode stays in memory with its pages.
    pub fn iput(&self, inode: &Inode<'p>) {
        inode.put();
    }

    /// Shows every inode in memory, each with a reference meanwhile and without any lock. Those that come or go meanwhile
    /// may be missed.
    pub fn for_each_inode(&self, mut visit: impl FnMut(&'p Inode<'p>)) {
        let cpu = self.machine().cpu();
        for bucket in &self.table.buckets {
            let first = bucket.lock(cpu).chain().next().inspect(|inode| inode.get());
            let mut at = first;
            while let Some(inode) = at {
                visit(inode);
                let locked = bucket.lock(cpu);
                // It stands in the chain as long as it has a reference.
                let mut rest =
                    Chain { next: inode.next.load(Ordering::Relaxed), _of: core::marker::PhantomData };
                at = rest.next().inspect(|inode| inode.get());
                drop(locked);
                inode.put();
            }
        }
    }

    /// Frees an inode that nobody has and that has nothing in memory (Linux `evict`); whether it could.
    ///
    /// # Safety
    /// Nobody uses the inode without a reference: no folio belongs to it, no area maps it.
    pub unsafe fn drop_inode(&self, fs: &dyn FileSystem, number: u64) -> bool {
        let (Some(ground), Some(bucket)) = (self.ground(), self.table.bucket(number)) else { return false };
        let bucket = bucket.lock(self.machine().cpu());
        let Some(inode) = bucket.chain().find(|inode| is_of(inode, fs, number)) else { return false };
        if inode.refs() != 0 || inode.mapping().nrpages() != 0 {
            return false;
        }
        let next = inode.next.load(Ordering::Relaxed);
        let me = core::ptr::from_ref(inode).cast::<()>().cast_mut();
        match bucket.chain().find(|before| before.next.load(Ordering::Relaxed) == me) {
            Some(before) => before.next.store(next, Ordering::Relaxed),
            None => bucket.first.store(next, Ordering::Relaxed),
        }
        drop(bucket);
        // What is left are shadows.
        inode.mapping().pages.destroy(&ground.nodes);
        let inodes = ground.inodes_of(fs);
        // SAFETY: the object came from this cache; it is in no table, and nobody has it, by the caller.
        NonNull::new(me.cast::<u8>()).is_some_and(|object| unsafe { self.slabs.free(inodes, object) }.is_ok())
    }
}
