//! Shared memory and swap: which objects there are, pages that go and come back, and the end of an object (Linux
//! `shmem_writeout`, `shmem_unuse`, `shmem_evict_inode`).
//!
//! Invariants: an object is in the table of all as long as it lives, and leaves it under the table's lock before its memory
//! goes. A locked page of an object keeps it: so who ends an object leaves it where it is if somebody has a page of it
//! locked, and whoever unlocks such pages looks whether an object was left.

use super::{Errno, Vm};
use crate::folio::{Folio, FolioFlags, Mapping};
use crate::phys::FrameAllocator;
use crate::port::{Machine, SwapEntry};
use crate::shmem::{Found, Shmem};
use crate::swap::Brought;
use crate::vma::Backing;
use crate::vmstat::NodeStat;
use crate::xarray::{Entry, Source, XArray, XaError};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Objects are at least so far apart, in bits of an address.
const OBJECT_BITS: u32 = 3;

/// All objects of shared memory.
pub(super) struct Objects {
    /// By address.
    all: XArray,
    /// How many were left.
    left: AtomicU32,
    /// Somebody ends those that were left; another came meanwhile.
    ending: AtomicBool,
    again: AtomicBool,
}

fn place_of(object: NonNull<()>) -> u64 {
    object.addr().get() as u64 >> OBJECT_BITS
}

impl Objects {
    pub(super) const fn new() -> Self {
        Self {
            all: XArray::new(),
            left: AtomicU32::new(0),
            ending: AtomicBool::new(false),
            again: AtomicBool::new(false),
        }
    }

    /// One more.
    pub(super) fn add<'p, M: Machine, F: FrameAllocator<'p>>(
        &self,
        source: &Source<'_, '_, 'p, M, F>,
        object: NonNull<()>,
        entry: Entry,
    ) -> Result<(), XaError> {
        self.all.insert(source, place_of(object), entry)
    }
}

impl<'p, M: Machine> Vm<'p, M> {
    /// The object that a locked page belongs to.
    pub(super) fn object_of(&self, folio: Folio<'_>) -> Option<&Shmem> {
        let Mapping::Space(at) = folio.mapping() else { return None };
        // SAFETY: the address was exposed by `Shmem::mapping`, and a locked page keeps its object.
        unsafe { core::ptr::with_exposed_provenance::<Shmem>(at as usize).as_ref() }
    }

    /// Shows all objects until `visit` gives something. Under the lock of their table.
    fn each_object<T>(&self, mut visit: impl FnMut(NonNull<Shmem>, &Shmem) -> Option<T>) -> Option<T> {
        let all = self.shared.all.lock(self.machine().cpu());
        let mut first = 0;
        loop {
            let found = all.find(first, u64::MAX, None)?;
            let object = found.entry.as_pointer()?.cast::<Shmem>();
            // SAFETY: it leaves the table under the lock that is held before it goes.
            let result = visit(object, unsafe { object.as_ref() });
            if result.is_some() {
                return result;
            }
            first = found.index + 1;
        }
    }

    /// How many pages of shared memory are in a slot.
    pub(super) fn shared_naming(&self, slot: SwapEntry) -> u32 {
        let (cpu, mut count) = (self.machine().cpu(), 0);
        let _: Option<()> = self.each_object(|_, object| {
            count += object.names(cpu, slot);
            None
        });
        count
    }

    /// Gives a locked page of shared memory, which nobody maps and no CPU can reach, a slot, and its object the name of that;
    /// whether it could. Then it is in the swap cache, dirty.
    pub(crate) fn swap_out_shared<A: FrameAllocator<'p>>(&self, folio: Folio<'p>, frames: &A) -> bool {
        let (swap, cpu) = (self.swap(), self.machine().cpu());
        let (Some(object), Some(nodes)) = (self.object_of(folio), self.nodes()) else { return false };
        if !swap.add(folio, frames) {
            return false;
        }
        let Some(slot) = swap.entry_of(folio) else { return false };
        if swap.duplicate(slot, frames).is_ok() {
            if object.swap_out(nodes, cpu, folio, slot) {
                self.count_shared(folio, false);
                return true;
            }
            let _ = swap.free_slot(slot);
        }
        swap.try_remove(folio);
        false
    }

    /// Puts a locked page that was in swap back in its object; whether it belonged there.
    pub(crate) fn swap_in_shared(
        &self,
        object: &Shmem,
        folio: Folio<'p>,
        (index, slot): (u64, SwapEntry),
    ) -> bool {
        let Some(nodes) = self.nodes() else { return false };
        let is_in = object.swap_in(nodes, self.machine().cpu(), folio, (index, slot));
        if is_in {
            self.count_shared(folio, true);
            let _ = self.swap().free_slot(slot);
            self.swap().try_remove(folio);
        }
        is_in
    }

    /// A page of shared memory has come into memory, or left it.
    fn count_shared(&self, folio: Folio<'_>, is_more: bool) {
        let (cpu, stat, node) = (self.machine().cpu(), self.stat(), folio.node());
        for what in [NodeStat::Shmem, NodeStat::FilePages] {
            if is_more {
                stat.grow(cpu, node, what, 1);
            } else {
                stat.shrink(cpu, node, what, 1);
            }
        }
    }

    /// Brings a page of shared memory that is in area `area` back; whether there was one (Linux `shmem_unuse`). Only where this
    /// code can wait.
    ///
    /// # Errors
    /// `Enomem`; `Eio`.
    pub(crate) fn unuse_shared<A: FrameAllocator<'p>>(&self, area: u32, frames: &A) -> Result<bool, Errno> {
        let (swap, cpu) = (self.swap(), self.machine().cpu());
        let Some(table) = self.frame_table() else { return Ok(false) };
        let found = self.each_object(|at, object| {
            let (mut next, mut first) = (None, 0);
            while let Some(index) = object.next(cpu, first) {
                match object.find(cpu, table, index) {
                    Found::Swapped(slot) if slot.area() == area => {
                        next = Some((at, index, slot));
                        break;
                    }
                    Found::Page(folio) | Found::Other(folio) => swap.put(folio),
                    _ => {}
                }
                first = index + 1;
            }
            next.filter(|_| object.try_get())
        });
        let Some((at, index, slot)) = found else { return Ok(false) };
        let result = match swap.bring(slot, || None, frames) {
            Ok(Brought::Folio(folio, _)) => {
                swap.wait_unlocked(folio, FolioFlags::LOCKED);
                swap.wait_unlocked(folio, FolioFlags::WRITEBACK);
                // SAFETY: our reference keeps the object.
                let result = self.put_back(unsafe { at.as_ref() }, folio, (index, slot));
                swap.put(folio);
                result
            }
            Ok(Brought::Gone) => Ok(true),
            Err(_) => Err(Errno::Enomem),
        };
        self.let_go(Backing::Shmem(at));
        result
    }

    fn put_back(&self, object: &Shmem, folio: Folio<'p>, place: (u64, SwapEntry)) -> Result<bool, Errno> {
        // Who has it now is done soon, and then this comes again.
        if !folio.try_lock() {
            return Ok(true);
        }
        let is_still = self.swap().entry_of(folio) == Some(place.1);
        let is_writing = folio.flags().contains(FolioFlags::WRITEBACK);
        let result = if is_still && !is_writing && !folio.is_uptodate() {
            Err(Errno::Eio)
        } else {
            if is_still && !is_writing {
                self.swap_in_shared(object, folio, place);
            }
            Ok(true)
        };
        folio.unlock(self.machine().cpu());
        result
    }

    /// Ends an object that nobody shows any more: its pages and slots go, then its memory. False if somebody has a page of it
    /// locked.
    pub(super) fn end_shared(&self, object: &Shmem) -> bool {
        let (Some(ground), Some(table), Some(nodes)) = (self.ground(), self.frame_table(), self.nodes())
        else {
            return true;
        };
        let (cpu, mut first, mut is_busy) = (self.machine().cpu(), 0, false);
        while let Some(index) = object.next(cpu, first) {
            match object.find(cpu, table, index) {
                Found::Nothing => {}
                Found::Other(folio) => self.swap().put(folio),
                Found::Swapped(slot) => {
                    object.take(nodes, index);
                    let _ = self.swap().free(slot);
                }
                Found::Page(folio) => {
                    if self.drop_shared(object, folio, index) {
                        continue;
                    }
                    // Somebody has it locked.
                    is_busy = true;
                    first = index + 1;
                }
            }
        }
        if is_busy {
            return false;
        }
        self.uncharge_all(object.charged());
        let memory = NonNull::from(object).cast::<u8>();
        self.shared.all.erase(nodes, place_of(memory.cast()));
        // SAFETY: nobody has a reference of the object any more, no page belongs to it, it is in no table, and it came from this
        // cache.
        let _ = unsafe { self.slabs.free(ground.shmem, memory) };
        true
    }

    /// Takes a page to which the caller has a reference out of an object that nobody shows, and gives that reference back;
    /// false if somebody has it locked.
    fn drop_shared(&self, object: &Shmem, folio: Folio<'p>, index: u64) -> bool {
        let (cpu, is_ours) = (self.machine().cpu(), folio.try_lock());
        // Reclaim may have sent it to swap just now.
        if is_ours && folio.mapping() == object.mapping() {
            self.nodes().into_iter().for_each(|nodes| object.take(nodes, index));
            folio.attach(Mapping::None);
            self.count_shared(folio, false);
            // The object's reference; ours is another.
            let _ = folio.put(1);
        }
        if is_ours {
            folio.unlock(cpu);
        }
        self.swap().put(folio);
        is_ours
    }

    /// Leaves an object that could not be ended to whoever has a page of it locked, if he is not done by now.
    pub(super) fn leave_shared(&self, object: &Shmem) {
        object.leave();
        self.shared.left.fetch_add(1, Ordering::SeqCst);
        self.end_left();
    }

    /// Ends the objects that were left, so far as nobody has a page of them locked now.
    #[inline]
    pub(crate) fn end_left(&self) {
        if self.shared.left.load(Ordering::SeqCst) != 0 {
            self.end_those_left();
        }
    }

    #[cold]
    fn end_those_left(&self) {
        loop {
            // Before he looks whether somebody is at it: that one looks once more then.
            self.shared.again.store(true, Ordering::SeqCst);
            if self.shared.ending.swap(true, Ordering::SeqCst) {
                return;
            }
            self.shared.again.store(false, Ordering::SeqCst);
            let mut busy = 0;
            loop {
                let mut seen = 0;
                let next = self.each_object(|at, object| {
                    seen += u32::from(object.is_left());
                    (object.is_left() && seen > busy).then_some(at)
                });
                let Some(at) = next else { break };
                // SAFETY: it was left, and of those who come here only one is at it.
                if self.end_shared(unsafe { at.as_ref() }) {
                    self.shared.left.fetch_sub(1, Ordering::SeqCst);
                } else {
                    busy += 1;
                }
            }
            self.shared.ending.store(false, Ordering::SeqCst);
            if !self.shared.again.swap(false, Ordering::SeqCst) {
                return;
            }
        }
    }
}
