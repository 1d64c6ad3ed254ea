//! Anchors: the areas that may map the same anonymous folios, because one was forked from the other, split from it, or
//! lies beside it (Linux `struct anon_vma`).
//!
//! Owns: the list of an anchor, threaded through the links. Invariants: the list and the range of a linked area change
//! under the anchor's lock only; an anchor lives as long as a link is on its list, and a grace period longer: whoever
//! takes off the last one frees it by way of [`Limbo`]. So who sees a folio mapped, in a read section, may follow it to
//! its anchor.

use crate::port::Cpu;
use crate::sync::SpinLock;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// The list of an anchor.
struct List {
    first: Option<NonNull<AnonLink>>,
    len: u32,
}

// SAFETY: the list is only followed under its lock, and links may be used from any CPU: they are atomics.
unsafe impl Send for List {}

/// See the module documentation.
pub struct AnonVma {
    links: SpinLock<List>,
    /// Of anchors without areas that wait to be freed: the next.
    waits: AtomicPtr<AnonVma>,
}

/// Anchors without areas: whoever came to one from a folio, in a read section, may still look at it.
pub struct Limbo(SpinLock<Waiting>);

struct Waiting {
    first: Option<NonNull<AnonVma>>,
    len: u32,
}

// SAFETY: only whoever takes the list out follows it, and anchors may be used from any CPU.
unsafe impl Send for Waiting {}

impl Limbo {
    /// Nobody waits.
    #[must_use]
    pub const fn new() -> Self {
        Self(SpinLock::new(Waiting { first: None, len: 0 }))
    }

    /// How many wait.
    pub fn len(&self, cpu: &impl Cpu) -> u32 {
        self.0.lock(cpu).len
    }

    /// Whether none does.
    pub fn is_empty(&self, cpu: &impl Cpu) -> bool {
        self.len(cpu) == 0
    }

    /// One more waits.
    ///
    /// # Safety
    /// It has no areas, and is the caller's to free once nobody looks at it.
    pub unsafe fn push(&self, cpu: &impl Cpu, anchor: NonNull<AnonVma>) {
        let mut waiting = self.0.lock(cpu);
        let next = waiting.first.map_or(ptr::null_mut(), NonNull::as_ptr);
        // SAFETY: it is not freed yet.
        unsafe { anchor.as_ref() }.waits.store(next, Ordering::Relaxed);
        waiting.first = Some(anchor);
        waiting.len += 1;
    }

    /// Takes all out; shows each after `wait`, which says whether all read sections that ran have ended. If not they
    /// wait on.
    pub fn take(&self, cpu: &impl Cpu, wait: impl FnOnce() -> bool, mut free: impl FnMut(NonNull<AnonVma>)) {
        let taken = core::mem::replace(&mut *self.0.lock(cpu), Waiting { first: None, len: 0 });
        let ended = wait();
        let mut next = taken.first;
        while let Some(anchor) = next {
            // SAFETY: it was put in, is freed by nobody else, and not yet.
            next = NonNull::new(unsafe { anchor.as_ref() }.waits.load(Ordering::Relaxed));
            if ended {
                free(anchor);
            } else {
                // SAFETY: as when it was put in.
                unsafe { self.push(cpu, anchor) };
            }
        }
    }
}

impl Default for Limbo {
    fn default() -> Self {
        Self::new()
    }
}

/// An area's place on the list of its anchor, and what of it the list shows.
#[derive(Default)]
pub struct AnonLink {
    anchor: AtomicPtr<AnonVma>,
    next: AtomicPtr<AnonLink>,
    prev: AtomicPtr<AnonLink>,
    mm: AtomicU32,
    start: AtomicU64,
    end: AtomicU64,
    pgoff: AtomicU64,
}

impl AnonVma {
    /// Bytes of an anchor.
    pub const SIZE: usize = size_of::<Self>();

    /// No links.
    #[must_use]
    pub const fn new() -> Self {
        Self { links: SpinLock::new(List { first: None, len: 0 }), waits: AtomicPtr::new(ptr::null_mut()) }
    }

    /// How many areas are linked to it.
    pub fn len(&self, cpu: &impl Cpu) -> u32 {
        self.links.lock(cpu).len
    }

    /// Whether none is.
    pub fn is_empty(&self, cpu: &impl Cpu) -> bool {
        self.len(cpu) == 0
    }

    /// Shows every area that may map pages `index..index + pages`: the number of its context, the first of these pages
    /// there, and how many lie in the area. Runs under the lock of the anchor: `visit` must not wait for a context.
    pub fn each(&self, cpu: &impl Cpu, index: u64, pages: u64, mut visit: impl FnMut(u32, u64, u64)) {
        let list = self.links.lock(cpu);
        let mut next = list.first;
        while let Some(link) = next {
            // SAFETY: a link on the list stays where it is until it is taken off under the lock that is held.
            let link = unsafe { link.as_ref() };
            next = NonNull::new(link.next.load(Ordering::Relaxed));
            let (start, end, pgoff) = (link.start(), link.end(), link.pgoff());
            let first = index.max(pgoff);
            let last = (index + pages).min(pgoff + (end - start));
            if first < last {
                visit(link.mm(), start + (first - pgoff), last - first);
            }
        }
    }
}

impl Default for AnonVma {
    fn default() -> Self {
        Self::new()
    }
}

impl AnonLink {
    /// An area of context `mm` with pages `start..end`, of which the first is page `pgoff` of the memory behind it.
    #[must_use]
    pub const fn new(mm: u32, start: u64, end: u64, pgoff: u64) -> Self {
        Self {
            anchor: AtomicPtr::new(ptr::null_mut()),
            next: AtomicPtr::new(ptr::null_mut()),
            prev: AtomicPtr::new(ptr::null_mut()),
            mm: AtomicU32::new(mm),
            start: AtomicU64::new(start),
            end: AtomicU64::new(end),
            pgoff: AtomicU64::new(pgoff),
        }
    }

    /// The number of the context.
    #[inline]
    pub fn mm(&self) -> u32 {
        self.mm.load(Ordering::Relaxed)
    }

    /// The first page.
    #[inline]
    pub fn start(&self) -> u64 {
        self.start.load(Ordering::Relaxed)
    }

    /// The page after the last.
    #[inline]
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    /// What the first page is in the memory behind the area.
    #[inline]
    pub fn pgoff(&self) -> u64 {
        self.pgoff.load(Ordering::Relaxed)
    }

    /// The anchor, if it has one.
    #[inline]
    pub fn anchor(&self) -> Option<NonNull<AnonVma>> {
        NonNull::new(self.anchor.load(Ordering::Acquire))
    }

    /// The anchor as a reference.
    fn anchored(&self) -> Option<&AnonVma> {
        // SAFETY: an anchor lives as long as a link is on its list, and this one is.
        self.anchor().map(|anchor| unsafe { anchor.as_ref() })
    }

    /// As [`AnonVma::each`], of the anchor that this area has; the caller keeps the area from being taken away.
    pub fn each(&self, cpu: &impl Cpu, index: u64, pages: u64, visit: impl FnMut(u32, u64, u64)) {
        if let Some(anchor) = self.anchored() {
            anchor.each(cpu, index, pages, visit);
        }
    }

    /// Changes what of the area the list shows.
    pub fn set_range(&self, cpu: &impl Cpu, start: u64, end: u64, pgoff: u64) {
        let _held = self.anchored().map(|anchor| anchor.links.lock(cpu));
        self.start.store(start, Ordering::Relaxed);
        self.end.store(end, Ordering::Relaxed);
        self.pgoff.store(pgoff, Ordering::Relaxed);
    }

    /// Links the area to `anchor`; whether it was without one.
    ///
    /// # Safety
    /// 1. `anchor` is empty and nobody else's, or a link of the caller's is on its list and stays there meanwhile.
    /// 2. This link stays where it is until [`AnonLink::detach`].
    pub unsafe fn attach(&self, cpu: &impl Cpu, anchor: NonNull<AnonVma>) -> bool {
        // SAFETY: it lives, by (1).
        let mut list = unsafe { anchor.as_ref() }.links.lock(cpu);
        let none = ptr::null_mut();
        // Two CPUs may fault for the first time in an area: one of them makes the anchor.
        let set = self.anchor.compare_exchange(none, anchor.as_ptr(), Ordering::AcqRel, Ordering::Acquire);
        if set.is_err() {
            return false;
        }
        let this = NonNull::from(self);
        self.prev.store(none.cast(), Ordering::Relaxed);
        self.next.store(list.first.map_or(none.cast(), NonNull::as_ptr), Ordering::Relaxed);
        if let Some(first) = list.first {
            // SAFETY: it is on the list, whose lock is held.
            unsafe { first.as_ref() }.prev.store(this.as_ptr(), Ordering::Relaxed);
        }
        list.first = Some(this);
        list.len += 1;
        true
    }

    /// Takes the area off the list of its anchor; gives the anchor if it was the last, to be freed.
    #[must_use = "an anchor without areas that nobody frees is lost"]
    pub fn detach(&self, cpu: &impl Cpu) -> Option<NonNull<AnonVma>> {
        let anchor = self.anchor()?;
        // SAFETY: this link is on its list, so it lives.
        let mut list = unsafe { anchor.as_ref() }.links.lock(cpu);
        let (next, prev) = (self.next.load(Ordering::Relaxed), self.prev.load(Ordering::Relaxed));
        // SAFETY: both neighbours are on the list, whose lock is held.
        unsafe {
            if let Some(next) = next.as_ref() {
                next.prev.store(prev, Ordering::Relaxed);
            }
            match prev.as_ref() {
                Some(prev) => prev.next.store(next, Ordering::Relaxed),
                None => list.first = NonNull::new(next),
            }
        }
        list.len -= 1;
        self.anchor.store(ptr::null_mut(), Ordering::Release);
        let is_last = list.len == 0;
        drop(list);
        is_last.then_some(anchor)
    }
}
