//! Shared anonymous memory: pages by index that several areas show, of one context or of many (Linux `mm/shmem.c`
//! without its file system).
//!
//! Owns: the object, its pages, and the areas linked to it. Stays outside: entries of page tables, who may map it.
//! Invariants: the object lives as long as an area shows it; it has one reference of each of its pages; a page that was
//! added stays until the object goes. Its pages are promised when it is made, whoever maps them.

use crate::addr::Pfn;
use crate::folio::{Folio, FolioFlags, Mapping};
use crate::frame::FrameTable;
use crate::phys::{FrameAllocator, GfpFlags};
use crate::port::{Cpu, Machine};
use crate::rmap::AreaTree;
use crate::sync::rcu;
use crate::xarray::{Cursor, Entry, NodeCache, XArray, XaError};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// See the module documentation.
pub struct Shmem {
    pages: XArray,
    /// The areas that show it.
    areas: AreaTree,
    refs: AtomicU32,
    /// Pages that were touched.
    resident: AtomicU64,
    /// Pages that were promised for it.
    charged: u64,
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
        Mapping::Space(core::ptr::from_ref(self).addr() as u64)
    }

    /// The page at `index`, with a reference more, if it was touched before.
    pub(crate) fn find<'t>(&self, cpu: &impl Cpu, table: &'t FrameTable, index: u64) -> Option<Folio<'t>> {
        let section = rcu::read_lock(cpu);
        let pfn = self.pages.load(&section, index).as_handle()?;
        // Pages stay as long as the object does, and whoever asks has an area that shows it.
        Folio::of(table, Pfn::new(pfn)?).inspect(|folio| folio.get(1))
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

    /// Takes all pages out, which no area shows any more, and shows each with the object's reference.
    pub(crate) fn empty<'t, M: Machine>(
        &self,
        nodes: &NodeCache<'_, '_, M>,
        cpu: &M::Cpu,
        table: &'t FrameTable,
        mut visit: impl FnMut(Folio<'t>),
    ) {
        let mut cursor = Cursor::new(0, u64::MAX);
        loop {
            let found = cursor.next(&self.pages, &rcu::read_lock(cpu));
            let Some(found) = found else { break };
            let pfn = found.entry.as_handle().and_then(Pfn::new);
            pfn.and_then(|pfn| Folio::of(table, pfn)).into_iter().for_each(&mut visit);
        }
        self.pages.destroy(nodes);
        self.resident.store(0, Ordering::Relaxed);
    }
}
