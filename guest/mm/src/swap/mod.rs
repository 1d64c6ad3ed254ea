//! Swap: where anonymous pages go that have to make room (Linux `mm/swapfile.c`, `mm/swap_state.c`, `mm/page_io.c`, 6.18).
//!
//! Owns: swap areas and their slots, pages that are in memory and in a slot at once (the swap cache), writing and reading
//! them. Stays outside: headers and files (the guest makes extents of them), entries of page tables (`space`, `fault`),
//! which pages go (`reclaim`). Invariants:
//! - A slot is taken as long as an entry of a page table names it or the cache has a page for it, and its byte in the map
//!   says exactly that ([`verify`](Swap::verify) counts again).
//! - A page in the cache has [`FolioFlags::SWAPCACHE`], one reference for that, and its slot in the table of entries. It
//!   goes in and out of the cache locked. Its memory holds what its slot holds, or is dirty.
//! - The page of a slot is read by one, whoever comes first; others wait for that page.
//! - What belongs to an area is used under the area's lock or in a read section, so that it can be switched off.
//!
//! Where the slot of a page is kept: descriptors have no room, so there is a table with 4 bytes for each frame, made when
//! swap is first used. Nothing is allocated when a page goes out, when there is no memory, and the word that says what a
//! page belongs to stays as it is for reverse mapping. An object for each page in the cache would be 16 bytes, an array by
//! frame number 9 and a lookup.
//!
//! | file | job |
//! |---|---|
//! | `count` | the byte of a slot |
//! | `carries` | what it cannot count |
//! | `cluster`, `extent`, `area` | an area: its slots, where they are |
//! | `memory` | the memory of an area |
//! | `order` | which area is used next |
//! | `slots` | taking, naming and freeing slots |
//! | `cache` | pages that have a slot |
//! | `ahead` | what comes with the one that is asked for |
//! | `io` | writing and reading them |
//! | `discard` | telling disks what is not needed |
//! | `on` | switching areas on and off |

mod ahead;
mod area;
mod cache;
mod carries;
mod cluster;
mod count;
mod discard;
mod extent;
mod io;
mod memory;
mod on;
mod order;
mod slots;

use crate::folio::Folio;
#[cfg(doc)]
use crate::folio::FolioFlags;
use crate::frame::FrameTable;
use crate::io::Io;
use crate::lru::Lru;
use crate::phys::{MAX_CPUS, Phys};
use crate::port::{BlockDevice, Machine, SwapEntry};
use crate::sync::{Once, SpinLock};
use crate::vmstat::VmStat;
use crate::xarray::{NodeCache, XArray};
use ahead::Ahead;
pub(crate) use ahead::{AreaWindow, Beside};
use area::State;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};
pub(crate) use count::Refused;
pub use extent::Extent;
pub(crate) use io::{Brought, Started, Writer};
pub use memory::{AreaMemory, area_bytes};
pub use on::{AreaInfo, SwapOn};
use order::Order;
pub(crate) use slots::Freed;

/// How many areas there can be (Linux: 32 less those kinds that are no areas).
pub const MAX_AREAS: usize = 29;
/// No area has this number.
const NO_AREA: u8 = u8::MAX;
/// How many slots an area can have: 512 GiB.
pub const MAX_SLOTS: u64 = 1 << OFFSET_BITS;
const OFFSET_BITS: u32 = 27;

/// An area, or room for one.
struct Area<'p> {
    inner: SpinLock<Option<Inner<'p>>>,
    /// The indexes of the cache, one for every 64 MiB; null while the area is off. Used in read sections.
    spaces: AtomicPtr<XArray>,
    count: AtomicU32,
    /// How often the count of a slot was carried.
    carries: XArray,
}

/// An area that is on.
struct Inner<'p> {
    state: State<'p>,
    device: &'p dyn BlockDevice,
    priority: i32,
    rotational: bool,
    memory: AreaMemory,
}

/// What is made when swap is first used.
struct Ground<'p, M: Machine> {
    table: &'p FrameTable,
    nodes: &'p NodeCache<'p, 'p, M>,
    /// The slots of the pages in the cache, by frame.
    entries: &'p [AtomicU32],
}

/// See the module documentation. Lives in a static; everything goes through `&self`.
pub struct Swap<'p, M: Machine> {
    phys: &'p Phys<M>,
    io: &'p Io<'p, M>,
    lru: &'p Lru<'p>,
    ground: Once<Option<Ground<'p, M>>>,
    areas: [Area<'p>; MAX_AREAS],
    order: SpinLock<Order>,
    /// The area that each CPU took a slot from last.
    last: [AtomicU8; MAX_CPUS],
    /// Slots of all areas (`SwapTotal`).
    total: AtomicU64,
    /// Pages that could not be written, and stayed.
    write_errors: AtomicU64,
    /// Some area gives back what was in use.
    discards: AtomicBool,
    ahead: Ahead,
}

impl<'p, M: Machine> Swap<'p, M> {
    /// Nothing is on.
    #[must_use]
    pub const fn new(phys: &'p Phys<M>, io: &'p Io<'p, M>, lru: &'p Lru<'p>) -> Self {
        Self {
            phys,
            io,
            lru,
            ground: Once::new(None),
            areas: [const {
                Area {
                    inner: SpinLock::new(None),
                    spaces: AtomicPtr::new(core::ptr::null_mut()),
                    count: AtomicU32::new(0),
                    carries: XArray::new(),
                }
            }; MAX_AREAS],
            order: SpinLock::new(Order::new()),
            last: [const { AtomicU8::new(NO_AREA) }; MAX_CPUS],
            total: AtomicU64::new(0),
            write_errors: AtomicU64::new(0),
            discards: AtomicBool::new(false),
            ahead: Ahead::new(),
        }
    }

    fn ground(&self) -> Option<&Ground<'p, M>> {
        self.ground.get()?.as_ref()
    }

    fn cpu(&self) -> &'p M::Cpu {
        self.phys.machine().cpu()
    }

    fn stat(&self) -> &'p VmStat {
        self.lru.stat()
    }

    fn area(&self, entry: SwapEntry) -> Option<&Area<'p>> {
        self.areas.get(entry.area() as usize)
    }

    /// Does something with the state of the area that `entry` is in.
    fn with<R>(&self, entry: SwapEntry, work: impl FnOnce(&mut Inner<'p>, u64) -> R) -> Option<R> {
        let mut inner = self.area(entry)?.inner.lock(self.cpu());
        inner.as_mut().map(|inner| work(inner, entry.offset()))
    }

    /// Takes in what the disks of all areas have done, for who is about to wait for that.
    pub(crate) fn poll(&self) {
        for area in &self.areas {
            let device = area.inner.lock(self.cpu()).as_ref().map(|inner| inner.device);
            device.into_iter().for_each(|device| self.io.poll(device));
        }
    }

    /// Slots of all areas.
    pub fn total_slots(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Slots that are free.
    pub fn free_slots(&self) -> u64 {
        self.lru.swap_pages()
    }

    /// Whether more than half of the slots are taken, so that pages that came back give theirs up (Linux `vm_swap_full`).
    pub(crate) fn is_half_full(&self) -> bool {
        self.free_slots() * 2 < self.total_slots()
    }

    /// Pages that could not be written, and stayed.
    pub fn write_errors(&self) -> u64 {
        self.write_errors.load(Ordering::Relaxed)
    }
}

/// What the table of entries says of a slot; 0 is none, for slot 0 of an area is its header.
fn packed(entry: SwapEntry) -> u32 {
    entry.area() << OFFSET_BITS | entry.offset() as u32
}

fn unpacked(word: u32) -> Option<SwapEntry> {
    if word == 0 {
        return None;
    }
    SwapEntry::new(word >> OFFSET_BITS, u64::from(word) & (MAX_SLOTS - 1))
}

impl<M: Machine> Ground<'_, M> {
    fn word(&self, folio: Folio<'_>) -> Option<&AtomicU32> {
        self.entries.get(folio.idx().get() as usize)
    }
}
