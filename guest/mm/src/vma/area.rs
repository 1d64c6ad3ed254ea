//! One area: a range of pages of a context with the same rights and the same memory behind (Linux `vm_area_struct`).
//!
//! Owns: the description. Invariants: range, rights and the memory behind change only under the write lock of the
//! context; the range also under the locks of the list and the tree that the area is in, because reverse mapping reads it there: that
//! of its anchor, for pages that are its own, and that of the object or file that it shows.

use super::VmFlags;
use crate::cache::FileRef;
use crate::port::{Cpu, Level};
use crate::rmap::{AnonLink, AreaLink};
use crate::shmem::Shmem;
use crate::swap::AreaWindow;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

/// What an area is for; it decides what it is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VmaKind {
    /// Code.
    Text,
    /// Data that comes with the code.
    Data,
    /// The heap (`brk`).
    Heap,
    /// The stack.
    Stack,
    /// Anything that was mapped.
    Map,
}

impl VmaKind {
    /// The name in `/proc/PID/maps`, where Linux has one.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "[text]",
            Self::Data => "[data]",
            Self::Heap => "[heap]",
            Self::Stack => "[stack]",
            Self::Map => "",
        }
    }
}

/// The memory behind an area.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backing {
    /// Nothing: pages are made of zeroes when they are touched.
    Anon,
    /// Pages from the pool of huge pages of this level.
    Hugetlb(Level),
    /// An object that several areas may show.
    Shmem(NonNull<Shmem>),
    /// An open file.
    File(FileRef),
}

impl Backing {
    /// Base pages of the smallest part that can be mapped.
    #[must_use]
    pub const fn pages(self) -> u64 {
        match self {
            Self::Anon | Self::Shmem(_) | Self::File(_) => 1,
            Self::Hugetlb(level) => level.pages(),
        }
    }
}

// SAFETY: an object of shared memory may be used from any CPU, and whoever has a `Backing` of one has a reference.
unsafe impl Send for Backing {}
// SAFETY: as above.
unsafe impl Sync for Backing {}

/// See the module documentation.
pub struct Vma {
    pub(crate) link: AnonLink,
    /// Its place among the areas that show the same.
    pub(crate) shown: AreaLink,
    /// What comes with a page that comes from swap.
    pub(crate) swap_window: AreaWindow,
    flags: AtomicU32,
    kind: VmaKind,
    backing: Backing,
}

/// What a new area is to be.
#[derive(Clone, Copy, Debug)]
pub struct VmaInit {
    /// The number of the context.
    pub mm: u32,
    /// The first page.
    pub start: u64,
    /// The page after the last.
    pub end: u64,
    /// What the first page is in the memory behind it.
    pub pgoff: u64,
    /// Rights and treatment.
    pub flags: VmFlags,
    /// What it is for.
    pub kind: VmaKind,
    /// The memory behind it.
    pub backing: Backing,
}

impl Vma {
    /// An area without an anchor. It must lie where it stays: see [`Objects`](super::Objects).
    pub(super) const fn new(init: &VmaInit) -> Self {
        Self {
            link: AnonLink::new(init.mm, init.start, init.end, init.pgoff),
            shown: AreaLink::new(init.mm, init.start, init.end, init.pgoff),
            swap_window: AreaWindow::new(),
            flags: AtomicU32::new(init.flags.bits()),
            kind: init.kind,
            backing: init.backing,
        }
    }

    /// What would make the same area again.
    #[must_use]
    pub fn init(&self) -> VmaInit {
        VmaInit {
            mm: self.link.mm(),
            start: self.start(),
            end: self.end(),
            pgoff: self.pgoff(),
            flags: self.flags(),
            kind: self.kind,
            backing: self.backing,
        }
    }

    /// The first page.
    #[inline]
    #[must_use]
    pub fn start(&self) -> u64 {
        self.link.start()
    }

    /// The page after the last.
    #[inline]
    #[must_use]
    pub fn end(&self) -> u64 {
        self.link.end()
    }

    /// What the first page is in the memory behind it.
    #[inline]
    #[must_use]
    pub fn pgoff(&self) -> u64 {
        self.link.pgoff()
    }

    /// How many pages it has.
    #[inline]
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.end() - self.start()
    }

    /// What page `vpn` of it is in the memory behind it (Linux `linear_page_index`).
    #[inline]
    #[must_use]
    pub fn index_of(&self, vpn: u64) -> u64 {
        self.pgoff() + (vpn - self.start())
    }

    /// Rights and treatment.
    #[inline]
    #[must_use]
    pub fn flags(&self) -> VmFlags {
        VmFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    pub(super) fn set_flags(&self, flags: VmFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
    }

    /// What it is for.
    #[must_use]
    pub const fn kind(&self) -> VmaKind {
        self.kind
    }

    /// The memory behind it.
    #[inline]
    #[must_use]
    pub const fn backing(&self) -> Backing {
        self.backing
    }

    /// Whether its pages belong to nobody else: writes of others are not seen, and other contexts get copies.
    #[inline]
    #[must_use]
    pub fn is_private(&self) -> bool {
        !self.flags().contains(VmFlags::SHARED)
    }

    /// Links it to the anchor of `other`, if that has one; whether it was without one.
    pub(crate) fn share_anchor(&self, cpu: &impl Cpu, other: &Self) -> bool {
        // SAFETY: `other` is on the anchor's list, and an area leaves it when it is removed, which nobody can do while there
        // are references to areas. The same holds for this one, which stays where it is until then.
        other.link.anchor().is_some_and(|anchor| unsafe { self.link.attach(cpu, anchor) })
    }

    /// Changes the range, also where reverse mapping reads it.
    pub(super) fn set_range(&self, cpu: &impl Cpu, start: u64, end: u64, pgoff: u64) {
        self.shown.set_range(cpu, start, end, pgoff);
        self.link.set_range(cpu, start, end, pgoff);
    }

    /// Puts an area of shared memory or of a file among those that show it.
    pub(crate) fn link_to_object(&self, cpu: &impl Cpu) {
        let tree = match self.backing {
            // SAFETY: the area has a reference of the object, so it lives until the area is removed, which takes it out
            // of the tree before.
            Backing::Shmem(object) => NonNull::from(unsafe { object.as_ref() }.areas()),
            Backing::File(file) => file.areas(),
            Backing::Anon | Backing::Hugetlb(_) => return,
        };
        // SAFETY: the tree lives as long as the object, see above, and the area stays where it is until it leaves it.
        unsafe { self.shown.attach(cpu, tree) };
    }

    /// Whether `after`, which starts where this one ends, could be a part of this area. Anchors are compared elsewhere.
    #[must_use]
    pub fn continues_in(&self, after: &Self) -> bool {
        self.end() == after.start()
            && self.pgoff() + self.pages() == after.pgoff()
            && self.flags() == after.flags()
            && self.kind == after.kind
            && self.backing == after.backing
    }
}
