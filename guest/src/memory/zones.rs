//! Where the parameters put the borders of zones.
//!
//! Owns: reading them. Invariant: every border is a multiple of 4 MiB; `highmem=` moves down to one.

use crate::settings;
use mm::addr::{Order, PAGE_SIZE, Pfn};
use mm::memblock::Memblock;
use mm::phys::{MovableShare, ZoneLimits};
use shared::params::Value;

/// The borders for the memory of `memory`.
pub fn limits(memory: &Memblock) -> ZoneLimits {
    let pfn = |name, default: Pfn| {
        settings::number(name).and_then(|bytes| Pfn::new(bytes / PAGE_SIZE)).unwrap_or(default)
    };
    ZoneLimits {
        dma_end: pfn("zones.dma", ZoneLimits::LINUX.dma_end),
        dma32_end: pfn("zones.dma32", ZoneLimits::LINUX.dma32_end),
        highmem_start: settings::number("highmem")
            .filter(|bytes| *bytes > 0)
            .and_then(|bytes| top(memory, bytes)),
        movable: movable(memory),
    }
}

/// The first frame of the top `bytes` of RAM, or a little below.
fn top(memory: &Memblock, bytes: u64) -> Option<Pfn> {
    let mut below = total(memory).checked_sub(bytes / PAGE_SIZE)?;
    for run in memory.memory_pages() {
        let pages = run.end.get() - run.start.get();
        if below < pages {
            return Pfn::new((run.start.get() + below) & !(Order::MAX.pages() - 1));
        }
        below -= pages;
    }
    None
}

fn total(memory: &Memblock) -> u64 {
    memory.memory_pages().map(|run| run.end.get() - run.start.get()).sum()
}

/// `kernelcore=` is what must not be movable, `movablecore=` what must; with both the larger rest stays.
fn movable(memory: &Memblock) -> MovableShare {
    let total = total(memory);
    let pages = |name| match settings::value(name)? {
        Value::Percent(percent) => Some(total * u64::from(percent) / 100),
        value => value.as_u64().map(|bytes| bytes / PAGE_SIZE),
    };
    let (core, movable) = (pages("kernelcore").unwrap_or(0), pages("movablecore").unwrap_or(0));
    match (core, movable) {
        (0, 0) => MovableShare::None,
        (0, movable) => MovableShare::Pages(movable),
        (core, 0) => MovableShare::AllBut(core),
        (core, movable) => MovableShare::AllBut(core.max(total.saturating_sub(movable))),
    }
}
