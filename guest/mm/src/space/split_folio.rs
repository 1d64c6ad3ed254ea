//! Making single pages of a huge page, so that they can go to swap (Linux `split_folio`, `__folio_split`).
//!
//! First the entries that map all of it are divided. Then every table that maps a part of it is locked at once: nobody
//! can get from an entry to the folio then, and if no reference is left but those of the entries and the caller's, it is
//! taken apart. Linux puts migration entries in place of the others meanwhile, so that it can do with one lock at a time.
//! Contexts and tables are only tried, for others lock them in another order; where one is busy the folio stays whole.

use super::ptl::TableGuard;
use super::unmap::pages_of;
use super::{Codec, Mm, Vm};
use crate::addr::{Order, PAGE_SHIFT, VirtAddr};
use crate::folio::{Folio, FolioFlags, Mapping};
use crate::mutant::planted;
use crate::phys::FrameAllocator;
use crate::port::{Cpu, Level, Machine, PteCodec};
use crate::rmap::AnonVma;
use crate::sync::{ReadGuard, rcu};
use crate::vma::{Areas, VmFlags};
use crate::vmstat::{NodeStat, VmEvent};
use core::ptr::with_exposed_provenance;

/// Base pages of a huge page.
const PAGES: usize = Level::PMD.pages() as usize;
/// Areas that can map parts of one that is taken apart.
const MAX_SPANS: usize = 16;
/// Tables that can.
const MAX_TABLES: usize = 16;

/// A part of an area that may map a part of the folio. The first of a context has its lock.
struct Span<'a, 'p, M: Machine> {
    mm: &'a Mm<'p, M>,
    first: u64,
    pages: u64,
    areas: Option<ReadGuard<'a, Areas<'p>, M::Cpu>>,
}

/// What must not change while a folio is taken apart.
struct Held<'a, 'p, M: Machine> {
    spans: [Option<Span<'a, 'p, M>>; MAX_SPANS],
    tables: [Option<TableGuard<'p, M::Cpu>>; MAX_TABLES],
}

impl<'a, 'p, M: Machine> Held<'a, 'p, M> {
    fn spans(&self) -> impl Iterator<Item = &Span<'a, 'p, M>> {
        self.spans.iter().flatten()
    }

    /// One more span; false if its context is busy or has it locked in memory, or there is no room.
    fn add(&mut self, cpu: &'a M::Cpu, mm: &'a Mm<'p, M>, first: u64, pages: u64) -> bool {
        let is_free =
            |areas: &Areas<'p>| areas.find(first).is_some_and(|vma| !vma.flags().contains(VmFlags::LOCKED));
        let of_mm =
            |span: &Span<'a, 'p, M>| span.areas.as_deref().filter(|_| span.mm.id() == mm.id()).map(is_free);
        let known = self.spans.iter().flatten().find_map(of_mm);
        let areas = if known.is_none() { mm.areas.try_read(cpu) } else { None };
        if !known.or_else(|| areas.as_deref().map(is_free)).unwrap_or(false) {
            return false;
        }
        let Some(slot) = self.spans.iter_mut().find(|slot| slot.is_none()) else { return false };
        *slot = Some(Span { mm, first, pages, areas });
        true
    }
}

/// The entries that map each page.
type Maps = [u8; PAGES];

impl<'p, M: Machine> Vm<'p, M> {
    /// Makes single pages of an anonymous huge page, which is locked, on no list of reclaim, and of which the caller has a
    /// reference; those that nobody maps are freed, all others but the first go to the end of their list. Whether it
    /// could be done; then the folio is the first page, still locked.
    pub(crate) fn split_folio<A: FrameAllocator<'p>>(&self, folio: Folio<'p>, frames: &A) -> bool {
        let cpu = self.machine().cpu();
        let is_split = folio.order() == Order::PAGEBLOCK
            && !folio.flags().intersects(FolioFlags::HUGETLB | FolioFlags::UNEVICTABLE)
            && self.try_split_folio(folio, frames);
        let event = if is_split { VmEvent::ThpSplitPage } else { VmEvent::ThpSplitPageFailed };
        self.stat().count(cpu, event, 1);
        is_split
    }

    /// As [`Vm::split_folio`], of a folio that may be on a list.
    pub(crate) fn split_listed<A: FrameAllocator<'p>>(&self, folio: Folio<'p>, frames: &A) -> bool {
        let cpu = self.machine().cpu();
        if !self.lru().isolate(cpu, folio) {
            return false;
        }
        let is_split = self.split_folio(folio, frames);
        self.lru().putback(cpu, folio);
        is_split
    }

    fn try_split_folio<A: FrameAllocator<'p>>(&self, folio: Folio<'p>, frames: &A) -> bool {
        let cpu = self.machine().cpu();
        let Mapping::Anon(anchor) = folio.mapping() else { return false };
        // Guards are given back in no order.
        let _masked = cpu.irq_guard();
        let section = rcu::read_lock(cpu);
        let mut held = Held { spans: [const { None }; MAX_SPANS], tables: [const { None }; MAX_TABLES] };
        let anchor = with_exposed_provenance::<AnonVma>(anchor as usize);
        // SAFETY: the folio is mapped, so an area is linked to its anchor, or was since this section began.
        let Some(anchor) = (unsafe { anchor.as_ref() }).filter(|_| folio.mapcount() != 0) else {
            return false;
        };
        let mut is_held = true;
        anchor.each(cpu, folio.index(), PAGES as u64, |id, first, pages| {
            is_held = is_held && self.mm(id).is_some_and(|mm| held.add(cpu, mm, first, pages));
        });
        drop(section);
        if !is_held || !self.divide_entries(&held, frames) || folio.entire_mapcount() != 0 {
            return false;
        }
        let Some(maps) = self.lock_entries(folio, &mut held) else { return false };
        let mapped: u32 = maps.iter().map(|&maps| u32::from(maps)).sum();
        if u64::from(mapped) != folio.mapcount() || !folio.freeze(mapped + 1) {
            return false;
        }
        self.take_apart(folio, &maps);
        true
    }

    /// Divides the entries that map all of a huge page.
    fn divide_entries<A: FrameAllocator<'p>>(&self, held: &Held<'_, 'p, M>, frames: &A) -> bool {
        held.spans().all(|span| {
            let mut starts = (span.first..span.first + span.pages).filter(|vpn| vpn % PAGES as u64 == 0);
            let is_there = |vpn: u64| span.mm.tree().lookup(VirtAddr::truncate(vpn << PAGE_SHIFT)).is_some();
            starts.all(|vpn| !is_there(vpn) || self.split_huge(span.mm, vpn, frames).is_ok())
        })
    }

    /// Locks the tables that map a part of the folio; how often they map each page. `None` if one is busy.
    fn lock_entries(&self, folio: Folio<'p>, held: &mut Held<'_, 'p, M>) -> Option<Maps> {
        let mut maps = [0; PAGES];
        let Held { spans, tables } = held;
        for span in spans.iter().flatten() {
            let mut is_busy = false;
            let range = pages_of(span.first, span.first + span.pages).ok()?;
            let scanned = span.mm.tree().scan_while(range, |slot, level, _| {
                if level == Level::PTE && !tables.iter().flatten().any(|table| self.is_locked(table, slot)) {
                    let room = tables.iter_mut().find(|room| room.is_none());
                    let locked = room.zip(self.try_lock_table(slot));
                    is_busy = locked.is_none();
                    locked.into_iter().for_each(|(room, table)| *room = Some(table));
                }
                let entry = slot.load();
                if self.folio_of(entry).is_some_and(|found| found.pfn() == folio.pfn()) {
                    let at = Codec::<M>::addr(entry).pfn().get() - folio.pfn().get();
                    let count = maps.get_mut(at as usize);
                    let more = count.as_deref().and_then(|count: &u8| count.checked_add(1));
                    is_busy |= more.is_none();
                    count.zip(more).into_iter().for_each(|(count, more)| *count = more);
                }
                !is_busy
            });
            if is_busy || scanned.is_err() {
                return None;
            }
        }
        Some(maps)
    }

    /// Makes a folio of each page of a frozen one. Nobody can reach it.
    fn take_apart(&self, folio: Folio<'p>, maps: &Maps) {
        let (cpu, lru) = (self.machine().cpu(), self.lru());
        let (head, mapping, index, flags) = (folio.pfn(), folio.mapping(), folio.index(), folio.flags());
        self.phys().split_page(head, Order::PAGEBLOCK);
        let unmapped = maps.iter().filter(|&&maps| maps == 0).count() as u64;
        self.stat().shrink(cpu, folio.node(), NodeStat::AnonMapped, unmapped);
        let kept = flags - (FolioFlags::LOCKED | FolioFlags::WAITERS);
        for (at, &maps) in maps.iter().enumerate().rev() {
            let (at, flags) = (at as u64, if at == 0 { flags } else { kept });
            let pfn = head.checked_add(at);
            let Some(page) =
                pfn.and_then(|pfn| Folio::create(folio.table(), pfn, mapping, index + at, flags))
            else {
                continue;
            };
            page.get(u32::from(maps));
            if at == 0 || !planted("vm::swap.parts_are_not_mapped") {
                page.add_mapped(maps.into());
            }
            if at != 0 && maps == 0 && !planted("vm::swap.unmapped_parts_stay") {
                let _ = page.put(1);
                self.free_folio(page);
            } else if at != 0 {
                lru.add_tail(cpu, page);
                let _ = page.put(1);
            }
        }
    }
}
