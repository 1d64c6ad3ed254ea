//! `/proc/vmallocinfo`: areas in use by address, then those that wait for a flush.

use crate::memory::PHYS;
use crate::memory::areas::AREAS;
use crate::memory::count::node_of;
use crate::symbols::LinuxSymbol;
use core::fmt::{self, Write};
use mm::addr::VirtAddr;
use mm::vmalloc::{Area, Kind};
use shared::layout::VMALLOC;
use shared::text::vmallocinfo::{AreaWord, VmallocArea, write_area, write_unpurged};

fn all() -> impl Iterator<Item = Area> {
    let mut from = VirtAddr::truncate(VMALLOC);
    core::iter::from_fn(move || {
        let area = AREAS.next_area(from)?;
        from = area.end();
        Some(area)
    })
}

/// Writes `/proc/vmallocinfo`.
pub fn vmallocinfo(w: &mut dyn Write) -> fmt::Result {
    all().filter(|area| !area.is_lazy).try_for_each(|area| write_busy(w, &area))?;
    all()
        .filter(|area| area.is_lazy)
        .try_for_each(|area| write_unpurged(w, area.start.get(), area.end().get()))
}

fn write_busy(w: &mut dyn Write, area: &Area) -> fmt::Result {
    let (word, phys, pages) = match area.kind {
        Kind::Vmalloc => (AreaWord::Vmalloc, None, area.pages),
        Kind::Vmap => (AreaWord::Vmap, None, 0),
        Kind::Ioremap(at) => (AreaWord::Ioremap, Some(at.get()), 0),
    };
    let nodes = if pages > 0 { AREAS.pages_by_node(area, node_of) } else { Default::default() };
    write_area(
        w,
        &VmallocArea {
            start: area.start.get(),
            end: area.end().get(),
            caller: &LinuxSymbol(area.caller),
            pages,
            phys,
            words: &[word],
            nodes: nodes.get(..PHYS.nodes().count()).unwrap_or(&nodes),
        },
    )
}
