//! Per-CPU lists in front of the zones (Linux's per-cpu pagesets).
//!
//! Owns: one area for each CPU, with a [`Pageset`] for each zone, and where they are. Stays outside: which zone is
//! asked. Invariants: an area is published once and stays for good; only its CPU writes its lists, with interrupts
//! masked, so taking a block and giving it back needs no lock and no locked instruction; others ask that CPU
//! through the [`Cpu`] port. A CPU without an area goes to the zones directly.
//!
//! One list is a stack: the newest block comes back first, its cache lines are warm. Linux gives back the oldest when
//! a list is too long; we give back the newest, so that no operation touches the descriptor of a neighbour. Which
//! pages are given back changes no number that Linux shows.

mod drain;
mod pageset;
mod refill;
mod verify;

use super::events::Event;
use super::layout::Layout;
use super::topology::MAX_CPUS;
use super::zone::Zone;
use crate::addr::{NodeId, Order, PAGE_SIZE, Pfn};
use crate::frame::{FrameTable, Owner, ZoneId, ZoneKind};
use crate::port::CpuId;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};
pub(super) use pageset::{Length, Limits, ListNo, Pageset};

/// What one CPU has.
#[repr(C, align(64))]
pub(super) struct CpuArea {
    /// All frames: here, so that the short ways look in one place.
    pub(super) table: FrameTable,
    /// For each kind of zone that is the highest allowed, the best zone of the CPU's own node.
    preferred: [Preferred; ZoneKind::COUNT],
    sets: [Pageset; ZoneId::SLOTS],
}

/// A zone and the CPU's lists of it; null if no zone of the node suits.
struct Preferred {
    zone: AtomicPtr<Zone>,
    set: AtomicPtr<Pageset>,
}

impl CpuArea {
    /// The smallest block that holds an area.
    pub(super) const ORDER: Order = match Order::covering((size_of::<Self>() as u64).div_ceil(PAGE_SIZE)) {
        Some(order) => order,
        None => Order::MAX,
    };

    /// An area for a CPU of `node`, on zeroed memory.
    ///
    /// # Safety
    /// 1. `memory` is zeroed, a block of [`CpuArea::ORDER`], and the caller's.
    /// 2. `layout` stays where it is as long as the area is used.
    pub(super) unsafe fn init(memory: NonNull<u8>, layout: &Layout, node: NodeId) -> NonNull<Self> {
        let area = memory.cast::<Self>();
        // SAFETY: the block is large enough, aligned to its size and the caller's; all zero is a valid area.
        let this = unsafe {
            (&raw mut (*area.as_ptr()).table).write(layout.ground.table);
            area.as_ref()
        };
        for (preferred, highest) in this.preferred.iter().zip(ZoneKind::ALL) {
            let best = layout.node(node).zonelist.local().iter().find(|zone| zone.kind <= highest);
            if let Some(zone) = best {
                preferred.zone.store(ptr::from_ref(layout.zone(*zone)).cast_mut(), Ordering::Relaxed);
                preferred.set.store(ptr::from_ref(this.set(zone.slot())).cast_mut(), Ordering::Relaxed);
            }
        }
        area
    }

    /// The best zone of the CPU's own node with the CPU's lists of it, if one suits.
    #[inline(always)]
    pub(super) fn preferred(&self, highest: ZoneKind) -> Option<(&Zone, &Pageset)> {
        // SAFETY: `index` is below `ZoneKind::COUNT`, the length of the array; the pointers are null together, or to a
        // zone of the layout, which stays, and to a set of this area.
        unsafe {
            let preferred = self.preferred.get_unchecked(highest.index());
            let zone = preferred.zone.load(Ordering::Relaxed).as_ref()?;
            Some((zone, &*preferred.set.load(Ordering::Relaxed)))
        }
    }

    /// Puts an allocated block on the CPU's list and tells which that is; `None` if it does not belong there, and
    /// nothing has changed. Interrupts are masked, and the area is the running CPU's.
    #[inline(always)]
    pub(super) fn give(&self, pfn: Pfn, order: Order) -> Option<(usize, ListNo, Length)> {
        let (idx, block) = self.table.lookup(pfn)?;
        self.table.frame(idx).state().release(order, Owner::Zone).ok()?;
        // What is held back goes to the zone at once: it is needed there.
        let mt = block.migrate_type();
        let (list, slot) = (ListNo::of(order, mt)?, block.zone_slot());
        let set = self.set(slot);
        let length = set.push(&self.table, list, idx, order, mt);
        set.events.add(Event::PgFree, order.pages());
        Some((slot, list, length))
    }

    /// As [`CpuArea::give`], of the single pages at the first of `pages`, as long as they lie in one pageblock and belong on
    /// the list, and until it is too long; how many. At least one, or `None`.
    #[inline(always)]
    pub(super) fn give_run<P: Copy + Into<Pfn>>(
        &self,
        pages: &[P],
    ) -> Option<(usize, usize, ListNo, Length)> {
        let (first, block) = self.table.lookup((*pages.first()?).into())?;
        let mt = block.migrate_type();
        let (list, slot) = (ListNo::of(Order::ZERO, mt)?, block.zone_slot());
        let set = self.set(slot);
        let near = pages.iter().map_while(|&page| first.in_pageblock(page.into()));
        let is_held = |&idx: &_| self.table.frame(idx).state().release(Order::ZERO, Owner::Zone).is_ok();
        let (run, length) = set.push_run(&self.table, list, near.take_while(is_held), mt);
        set.events.add(Event::PgFree, run.into());
        (run != 0).then_some((run as usize, slot, list, length))
    }

    /// The lists of one zone.
    #[inline(always)]
    pub(super) fn set(&self, slot: usize) -> &Pageset {
        // SAFETY: the masked slot is below `ZoneId::SLOTS`, the length of the array.
        unsafe { self.sets.get_unchecked(slot & (ZoneId::SLOTS - 1)) }
    }
}

/// The areas of all CPUs.
pub(super) struct Pagesets {
    areas: [AtomicPtr<CpuArea>; MAX_CPUS],
}

impl Pagesets {
    /// No CPU has an area.
    pub(super) const fn new() -> Self {
        Self { areas: [const { AtomicPtr::new(ptr::null_mut()) }; MAX_CPUS] }
    }

    /// The area of `cpu`, if it has one.
    #[inline(always)]
    pub(super) fn of(&self, cpu: CpuId) -> Option<&CpuArea> {
        let area = self.areas.get(cpu.0 as usize)?.load(Ordering::Acquire);
        // SAFETY: null, or an area that `publish` was given, which stays as long as `self` is used.
        unsafe { area.as_ref() }
    }

    /// Gives `cpu` its area. Whether it had none.
    ///
    /// # Safety
    /// The area is initialised, stays as long as `self` is used, and is nobody else's.
    pub(super) unsafe fn publish(&self, cpu: CpuId, area: NonNull<CpuArea>) -> bool {
        self.areas.get(cpu.0 as usize).is_some_and(|slot| {
            slot.compare_exchange(ptr::null_mut(), area.as_ptr(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })
    }

    /// Every CPU that has an area, with it.
    pub(super) fn iter(&self) -> impl Iterator<Item = (CpuId, &CpuArea)> {
        (0..MAX_CPUS as u32).map(CpuId).filter_map(|cpu| Some((cpu, self.of(cpu)?)))
    }
}
