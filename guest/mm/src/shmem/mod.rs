//! Shared anonymous memory: pages by index that several areas show, of one context or of many (Linux `mm/shmem.c`
//! without its file system).
//!
//! Owns: the object, its pages, and the areas linked to it. Stays outside: entries of page tables, who may map it, which
//! pages go to swap (`reclaim`). Invariants: the object lives as long as an area shows it, or one of its pages is locked; it
//! has one reference of each of its pages that is in memory, and names the slot of each that is not; a page leaves it
//! locked. Its pages are promised when it is made, whoever maps them.

use crate::addr::Pfn;
use crate::folio::{Folio, FolioFlags, Mapping};
use crate::frame::FrameTable;
use crate::phys::{FrameAllocator, GfpFlags};
use crate::port::{Cpu, Machine, SwapEntry};
use crate::rmap::AreaTree;
use crate::sync::rcu;
use crate::xarray::{Cursor, Entry, NodeCache, XArray, XaError};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// See the module documentation.
pub struct Shmem {
    pages: XArray,
    /// The areas that show it.
    areas: AreaTree,
    refs: AtomicU32,
    /// Nobody shows it any more, but it could not be ended.
    is_left: AtomicBool,
    /// Pages that are in memory.
    resident: AtomicU64,
    /// Pages that were promised for it.
    charged: u64,
}

/// What is known of a page that somebody looks for.
pub(crate) enum Found<'t> {
    /// It is in memory; with a reference.
    Page(Folio<'t>),
    /// It is in swap.
    Swapped(SwapEntry),
    /// Nobody has touched it.
    Nothing,
    /// It went while it was looked for, and this is another; with a reference to give back.
    Other(Folio<'t>),
}

const AREA_SHIFT: u32 = 40;

/// A slot as the index has it.
fn packed(slot: SwapEntry) -> u64 {
    u64::from(slot.area()) << AREA_SHIFT | slot.offset()
}

fn unpacked(value: u64) -> Option<SwapEntry> {
    SwapEntry::new((value >> AREA_SHIFT) as u32, value & ((1 << AREA_SHIFT) - 1))
}

/// Why a page was not added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AddError {
    /// There is one at this index.
    Busy,
    /// There was no memory for the index.
    NoMemory,
}

impl Shmem {
    /// An object without pages, with one reference; `charged` pages were promised for it.
    #[must_use]
    pub const fn new(charged: u64) -> Self {
        Self {
            pages: XArray::new(),
            areas: AreaTree::new(),
            refs: AtomicU32::new(1),
            is_left: AtomicBool::new(false),
            resident: AtomicU64::new(0),
            charged,
        }
    }

    /// The areas that show it.
    pub(crate) fn areas(&self) -> &AreaTree {
        &self.areas
    }

    /// Pages that were promised for it.
    pub(crate) fn charged(&self) -> u64 {
        self.charged
    }

    /// Its pages that are in memory.
    pub fn resident(&self) -> u64 {
        self.resident.load(Ordering::Relaxed)
    }

    /// One more area shows it.
    pub(crate) fn get(&self) {
        self.refs.fetch_add(1, Ordering::Relaxed);
    }

    /// One area less shows it; whether none does.
    #[must_use = "an object that nobody frees is lost"]
    pub(crate) fn put(&self) -> bool {
        self.refs.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// What its pages belong to.
    pub(crate) fn mapping(&self) -> Mapping {
        Mapping::Space(core::ptr::from_ref(self).expose_provenance() as u64)
    }

    /// Whether it is for somebody else than the last who showed it to end it.
    pub(crate) fn is_left(&self) -> bool {
        self.is_left.load(Ordering::SeqCst)
    }

    /// Leaves it for somebody else to end.
    pub(crate) fn leave(&self) {
        self.is_left.store(true, Ordering::SeqCst);
    }

    /// As [`Shmem::get`], by somebody who has none, unless it is going.
    #[must_use = "without a reference it may go"]
    pub(crate) fn try_get(&self) -> bool {
        let more = |refs: u32| (refs != 0).then_some(refs + 1);
        self.refs.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).is_ok()
    }

    /// The page at `index`, with a reference more, if it is in memory.
    pub(crate) fn find<'t>(&self, cpu: &impl Cpu, table: &'t FrameTable, index: u64) -> Found<'t> {
        let section = rcu::read_lock(cpu);
        loop {
            let entry = self.pages.load(&section, index);
            if let Some(value) = entry.as_value() {
                return unpacked(value).map_or(Found::Nothing, Found::Swapped);
            }
            let Some(pfn) = entry.as_handle().and_then(Pfn::new) else { return Found::Nothing };
            let folio = Folio::try_get(table, pfn);
            if self.pages.load(&section, index) == entry {
                match folio {
                    Some(folio) => return Found::Page(folio),
                    // It is just going.
                    None => cpu.relax(),
                }
            } else if let Some(folio) = folio {
                return Found::Other(folio);
            }
        }
    }

    /// The first index from `first` on at which something stands.
    pub(crate) fn next(&self, cpu: &impl Cpu, first: u64) -> Option<u64> {
        Cursor::new(first, u64::MAX).next(&self.pages, &rcu::read_lock(cpu)).map(|found| found.index)
    }

    /// Names `slot` in place of a locked page that nobody maps and to which nobody but the caller, the object and the swap
    /// cache has a reference. Whether it did: then the object's reference is gone.
    #[must_use = "a page that stays needs no slot"]
    pub(crate) fn swap_out<'p, M: Machine>(
        &self,
        nodes: &NodeCache<'_, 'p, M>,
        cpu: &M::Cpu,
        folio: Folio<'p>,
        slot: SwapEntry,
    ) -> bool {
        let Some(value) = Entry::value(packed(slot)) else { return false };
        let mut stock = nodes.stock();
        let mut pages = self.pages.lock(cpu);
        if folio.mapping() != self.mapping() || !folio.freeze(3) {
            return false;
        }
        // Where an entry stands another needs no node.
        let _ = pages.store(folio.index(), value, &mut stock);
        folio.attach(Mapping::None);
        folio.thaw(2);
        self.resident.fetch_sub(1, Ordering::Relaxed);
        true
    }

    /// Puts a locked page, which holds what `slot` holds, back at `index`, if that still names the slot. The object has a
    /// reference of it then.
    #[must_use = "the slot may belong to somebody else"]
    pub(crate) fn swap_in<'p, M: Machine>(
        &self,
        nodes: &NodeCache<'_, 'p, M>,
        cpu: &M::Cpu,
        folio: Folio<'p>,
        (index, slot): (u64, SwapEntry),
    ) -> bool {
        let Some(handle) = Entry::handle(folio.pfn().get()) else { return false };
        let mut stock = nodes.stock();
        let mut pages = self.pages.lock(cpu);
        if pages.load(index).as_value().and_then(unpacked) != Some(slot) {
            return false;
        }
        folio.set_owner(self.mapping(), index);
        folio.get(1);
        let _ = pages.store(index, handle, &mut stock);
        self.resident.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Takes out what stands at `index`: a locked page, or a slot.
    pub(crate) fn take<M: Machine>(&self, nodes: &NodeCache<'_, '_, M>, index: u64) {
        if self.pages.erase(nodes, index).is_pointer() {
            self.resident.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// How many of its pages are in `slot`.
    pub(crate) fn names(&self, cpu: &impl Cpu, slot: SwapEntry) -> u32 {
        let (mut cursor, mut count) = (Cursor::new(0, u64::MAX), 0);
        let section = rcu::read_lock(cpu);
        while let Some(found) = cursor.next(&self.pages, &section) {
            count += u32::from(found.entry.as_value().and_then(unpacked) == Some(slot));
        }
        count
    }

    /// Adds the block of one page at `pfn`, which the caller has just allocated, at `index`. The object's reference is
    /// the page's first; the caller gets another.
    pub(crate) fn add<'t, 'p, M: Machine>(
        &self,
        nodes: &NodeCache<'_, 'p, M>,
        frames: &impl FrameAllocator<'p>,
        table: &'t FrameTable,
        pfn: Pfn,
        index: u64,
    ) -> Result<Folio<'t>, AddError> {
        let flags = FolioFlags::SWAPBACKED | FolioFlags::UPTODATE | FolioFlags::DIRTY;
        let made = Folio::create(table, pfn, self.mapping(), index, flags);
        let (folio, entry) = made.zip(Entry::handle(pfn.get())).ok_or(AddError::NoMemory)?;
        folio.get(1);
        let source = nodes.with(frames, GfpFlags::GFP_NOWAIT);
        match self.pages.insert(&source, index, entry) {
            Ok(()) => {
                self.resident.fetch_add(1, Ordering::Relaxed);
                Ok(folio)
            }
            Err(error) => {
                let (_, _) = folio.dissolve();
                Err(if error == XaError::Busy { AddError::Busy } else { AddError::NoMemory })
            }
        }
    }
}
