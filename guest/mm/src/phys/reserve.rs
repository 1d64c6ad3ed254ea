//! Settings that decide how much each zone keeps for whom, and how much each CPU keeps of a zone.
//!
//! Owns: spreading the settings over zones and CPUs. Invariants: before they are given, marks and limits are 0: every
//! page can be allocated and CPUs keep none. Source: Linux 6.18 `mm/page_alloc.c` (`setup_per_zone_wmarks`,
//! `setup_per_zone_lowmem_reserve`, `zone_batchsize`, `zone_highsize`, `setup_per_cpu_pageset`).

use super::pcp::{CpuArea, Limits};
use super::watermark::{ReserveConfig, Watermarks};
use super::zone::Zone;
use super::{AllocError, GfpFlags, Node, Phys};
use crate::addr::PAGE_SIZE;
use crate::frame::ZoneKind;
use crate::port::{CpuId, Machine, PhysMem};

/// The part of a zone, as a divisor, that `high` may grow to (Linux `MIN_PERCPU_PAGELIST_HIGH_FRACTION`).
const HIGH_MAX_FRACTION: u64 = 8;

impl<M: Machine> Phys<M> {
    /// Gives `cpu` lists of its own, which stay empty until [`Phys::set_reserves`] says how long they may be. A second
    /// call changes nothing.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn setup_cpu(&self, cpu: CpuId) -> Result<(), AllocError> {
        let layout = self.layout()?;
        if self.pagesets.of(cpu).is_some() {
            return Ok(());
        }
        let node = layout.topology.node_of(cpu);
        let frames =
            self.alloc_pages_node(node, GfpFlags::GFP_KERNEL | GfpFlags::__GFP_ZERO, CpuArea::ORDER)?;
        let (pfn, order) = frames.into_raw();
        let memory = self.machine.physmem().ptr(pfn.addr()).ok_or(AllocError::OutOfMemory)?;
        // SAFETY: the block was just allocated, zeroed, and is never freed once it is published; the layout stays where
        // it is by the contract of `boot`.
        let published = unsafe { self.pagesets.publish(cpu, CpuArea::init(memory, layout, node)) };
        if !published {
            // SAFETY: nobody got to know the block: another CPU was faster, or there is no such CPU.
            let _ = self.free_pages(unsafe { self.frames_from_raw(pfn, order) });
        }
        Ok(())
    }

    /// Sets the watermarks and reserves of all zones, and the limits of all CPUs that have lists.
    pub fn set_reserves(&self, config: &ReserveConfig) {
        let lowmem: u64 =
            self.nodes().flat_map(Node::zones).filter(|zone| is_lowmem(zone)).map(Zone::managed_pages).sum();
        let min = u128::from(config.min_free_kbytes / (PAGE_SIZE / 1024));
        for node in self.nodes() {
            for zone in node.zones() {
                let share =
                    (min * u128::from(zone.managed_pages())).checked_div(u128::from(lowmem)).unwrap_or(0);
                let kind = zone.id().kind;
                let marks =
                    Watermarks::of(kind, zone.managed_pages(), share as u64, config.watermark_scale_factor);
                let max_boost = marks.max_boost(zone.managed_pages(), config.watermark_boost_factor);
                zone.marks.set(marks, max_boost, reserves(node, kind, config));
                self.limit_cpus(node, zone, config.high_fraction);
            }
        }
    }

    /// Pages that zones keep from ordinary use: up to the high mark, and for the users of lower zones (Linux
    /// `totalreserve_pages`).
    pub fn reserved_pages(&self) -> u64 {
        let of = |zone: &Zone| {
            let most = ZoneKind::ALL.into_iter().map(|highest| zone.lowmem_reserve(highest)).max();
            most.unwrap_or(0).saturating_add(zone.watermarks().high).min(zone.managed_pages())
        };
        self.populated_zones().map(of).sum()
    }

    /// How long the lists of one zone may be.
    fn limit_cpus(&self, node: &Node, zone: &Zone, high_fraction: u64) {
        let with_lists = |cpu: &CpuId| self.pagesets.of(*cpu).is_some();
        let near =
            self.topology().map_or(0, |topology| topology.cpus_of(node.id()).filter(with_lists).count());
        let sharers = if near > 0 { near } else { self.pagesets.iter().count() } as u64;
        let (managed, low) = (zone.managed_pages(), zone.watermarks().low);
        let batch = batch_of(managed);
        let high =
            |pages: u64| pages.checked_div(sharers).unwrap_or(0).max(batch * 4).min(u32::MAX.into()) as u32;
        let limits = match managed.checked_div(high_fraction) {
            None => Limits {
                batch: batch as u32,
                high_min: high(low),
                high_max: high(managed / HIGH_MAX_FRACTION),
            },
            Some(pages) => Limits { batch: batch as u32, high_min: high(pages), high_max: high(pages) },
        };
        for (_, area) in self.pagesets.iter() {
            area.set(zone.id().slot()).set_limits(limits);
        }
    }
}

fn is_lowmem(zone: &Zone) -> bool {
    !matches!(zone.id().kind, ZoneKind::HighMem | ZoneKind::Movable)
}

/// What a zone keeps from allocations that could use a higher one of its node.
fn reserves(node: &Node, kind: ZoneKind, config: &ReserveConfig) -> [u64; ZoneKind::COUNT] {
    let mut reserve = [0; ZoneKind::COUNT];
    let ratio = config.lowmem_reserve_ratio.get(kind.index()).copied().unwrap_or(0);
    if ratio == 0 || node.zone(kind).managed_pages() == 0 {
        return reserve;
    }
    let mut above = 0;
    for (word, upper) in reserve.iter_mut().zip(ZoneKind::ALL).skip(kind.index() + 1) {
        above += node.zone(upper).managed_pages();
        *word = above / ratio;
    }
    reserve
}

/// Pages moved at once between a zone of this size and a CPU: about 1/1000, at most 1 MiB, a quarter of that to keep
/// the lock short, and one less than a power of two, which keeps pages from always coming in the same colours.
fn batch_of(managed: u64) -> u64 {
    let quarter = ((managed >> 10).min((1 << 20) / PAGE_SIZE) / 4).max(1);
    let power = 1_u64 << (quarter + quarter / 2).ilog2();
    (power - 1).max(1)
}
