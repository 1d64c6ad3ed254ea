//! Segments of the address range, and the pool that their descriptors come from.
//!
//! Owns: the memory of descriptors. It comes a frame at a time from outside and never goes back, so a descriptor
//! that was once made stays readable (Linux: a slab cache of `vmap_area`). Stays outside: which segment is where.
//! Invariants: a [`Ref`] is made here only, from a frame that this pool owns for good; all access to descriptors
//! goes through the pool, so a borrow of the pool is a borrow of all of them.

use crate::addr::{PAGE_SIZE, PhysAddr};
use core::ptr::NonNull;

/// What a segment is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// For nothing: on a list of its size.
    Free,
    /// Somebody is mapping or unmapping it: nobody else looks below it.
    Changing,
    /// An area that somebody uses.
    Busy(Kind),
    /// An area that was freed: no entry translates, but CPUs may have cached what did.
    Lazy(Kind),
}

/// What an area maps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Frames of its own, which are freed with it (Linux `VM_ALLOC`).
    Vmalloc,
    /// Frames of somebody else (Linux `VM_MAP`).
    Vmap,
    /// Device registers from this address on (Linux `VM_IOREMAP`).
    Ioremap(PhysAddr),
}

/// Unmapped pages at the end of every area.
pub(super) const GUARD: u64 = 1;

/// A descriptor that may be missing.
pub(super) type Link = Option<Ref>;

/// Some pages in a row, guard included, that are used alike.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    /// First page, from the start of the range.
    pub start: u64,
    /// How many pages, the guard included.
    pub pages: u64,
    pub state: State,
    /// Who asked for the area.
    pub caller: u64,
    /// Neighbours by address.
    pub before: Link,
    pub after: Link,
    /// Neighbours on a list: of a size, of freed areas, or of unused descriptors.
    pub next: Link,
    pub prev: Link,
    /// The tree by address.
    pub left: Link,
    pub right: Link,
    pub priority: u32,
}

impl Segment {
    pub const fn new(start: u64, pages: u64, state: State) -> Self {
        let none: Link = None;
        Self {
            start,
            pages,
            state,
            caller: 0,
            before: none,
            after: none,
            next: none,
            prev: none,
            left: none,
            right: none,
            priority: 0,
        }
    }

    /// Pages that an area can map.
    #[inline]
    pub const fn mapped(&self) -> u64 {
        self.pages.saturating_sub(GUARD)
    }

    /// First page after it.
    pub const fn end(&self) -> u64 {
        self.start + self.pages
    }
}

/// A descriptor of a [`Pool`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ref(NonNull<Segment>);

// SAFETY: a name of a descriptor; what it names is reached only through its pool.
unsafe impl Send for Ref {}

/// How many descriptors a frame holds.
const PER_FRAME: usize = PAGE_SIZE as usize / size_of::<Segment>();

/// See the module documentation.
pub(super) struct Pool {
    unused: Link,
    count: usize,
    frames: u64,
}

impl Pool {
    pub const fn new() -> Self {
        Self { unused: None, count: 0, frames: 0 }
    }

    /// How many descriptors can be made without another frame.
    #[inline]
    pub const fn available(&self) -> usize {
        self.count
    }

    /// Frames that hold descriptors.
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// Takes a frame for descriptors.
    ///
    /// # Safety
    /// `frame` is the start of a whole frame that nobody else uses, mapped for as long as the pool is in use.
    pub unsafe fn add_frame(&mut self, frame: NonNull<u8>) {
        let first = frame.cast::<Segment>();
        for n in 0..PER_FRAME {
            let mut empty = Segment::new(0, 0, State::Free);
            empty.next = self.unused;
            // SAFETY: descriptor `n` lies whole in the frame, which is the pool's now.
            let at = unsafe {
                let at = first.add(n);
                at.write(empty);
                at
            };
            self.unused = Some(Ref(at));
        }
        self.count += PER_FRAME;
        self.frames += 1;
    }

    /// Makes a descriptor; `None` if another frame is needed.
    pub fn make(&mut self, segment: Segment) -> Link {
        let made = self.unused?;
        self.unused = self.get(made).next;
        self.count -= 1;
        *self.get_mut(made) = segment;
        Some(made)
    }

    /// Takes a descriptor back. No link leads to it any more.
    pub fn discard(&mut self, gone: Ref) {
        // It starts nowhere: who still has its name finds out.
        let mut empty = Segment::new(u64::MAX, 0, State::Free);
        empty.next = self.unused;
        *self.get_mut(gone) = empty;
        self.unused = Some(gone);
        self.count += 1;
    }

    #[inline(always)]
    pub fn get(&self, at: Ref) -> &Segment {
        // SAFETY: made by `add_frame` in memory that stays; `&self` keeps `get_mut` away.
        unsafe { at.0.as_ref() }
    }

    #[inline(always)]
    pub fn get_mut(&mut self, mut at: Ref) -> &mut Segment {
        // SAFETY: made by `add_frame` in memory that stays; `&mut self` keeps every other access away.
        unsafe { at.0.as_mut() }
    }
}
