//! `fragstat`: internal fragmentation, the price of blocks in powers of two and of slabs, and external fragmentation.

use super::refused;
use crate::commands::{Args, Outcome};
use crate::console;
use crate::memory::PHYS;
use crate::memory::slab::SLABS;
use core::fmt;
use mm::addr::{Order, PAGE_SIZE};
use mm::phys::GfpFlags;

/// The largest request of a sweep, in pages.
const SWEEP: u64 = 64;

/// `wasted=1 (25.0%)`: pages granted beyond those asked for.
pub struct Waste {
    /// Pages asked for.
    pub requested: u64,
    /// Pages granted.
    pub granted: u64,
}

impl Waste {
    /// In thousandths of what was granted, rounded.
    fn permille(&self) -> u64 {
        let granted = self.granted.max(1);
        ((self.granted - self.requested) * 1000 + granted / 2) / granted
    }
}

impl fmt::Display for Waste {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let permille = self.permille();
        write!(f, "wasted={} ({}.{}%)", self.granted - self.requested, permille / 10, permille % 10)
    }
}

/// Prints what `alloc pages=` has wasted since boot, order by order and in all.
pub fn fragstat(args: &mut Args<'_>) -> Outcome {
    if args.take("sweep") {
        return sweep();
    }
    let (mut requested, mut granted) = (0, 0);
    for order in Order::all() {
        let counts = PHYS.fragmentation(order);
        requested += counts.requested;
        granted += counts.granted;
        console::print(format_args!(
            "order={} requested={} granted={} wasted={} wasted_bytes={}\n",
            order.get(),
            counts.requested,
            counts.granted,
            counts.granted - counts.requested,
            counts.wasted_bytes()
        ));
    }
    console::print(format_args!(
        "total requested={requested} granted={granted} {} wasted_bytes={}\n",
        Waste { requested, granted },
        (granted - requested) * PAGE_SIZE
    ));
    external();
    objects();
    Ok(())
}

/// What external fragmentation makes of the free memory of each zone.
fn external() {
    for zone in PHYS.populated_zones() {
        let largest = Order::all().rev().find(|order| zone.free_blocks_of_order(*order) > 0);
        let index = Order::PAGEBLOCK;
        console::print(format_args!(
            "node={} zone={} free={} largest_free_order={} unusable_index={} extfrag_index={} of_order={}\n",
            zone.id().node.index(),
            zone.id().kind.name(),
            zone.free_pages(),
            largest.map_or(-1, |order| order.get() as i32),
            zone.unusable_index(index),
            zone.fragmentation_index(index),
            index.get()
        ));
    }
}

/// What slabs hold beyond objects in use.
fn objects() {
    let (mut pages, mut used) = (0, 0);
    for cache in SLABS.caches() {
        let (geometry, stats) = (cache.geometry(), cache.stats());
        pages += stats.slabs * geometry.order.pages();
        used += stats.active_objects * u64::from(geometry.object_size);
    }
    let bytes = pages * PAGE_SIZE;
    console::print(format_args!("slab bytes={bytes} used={used} unused={}\n", bytes - used));
}

/// Allocates and frees 1 to [`SWEEP`] pages and prints the curve.
fn sweep() -> Outcome {
    let gfp = GfpFlags::GFP_KERNEL;
    let mut worst = Waste { requested: 1, granted: 1 };
    for pages in 1..=SWEEP {
        let frames = PHYS
            .alloc_pages_for(gfp, pages)
            .map_err(|error| refused(error, gfp, Order::covering(pages).unwrap_or(Order::MAX)))?;
        let order = frames.order();
        super::give_back(frames);
        let waste = Waste { requested: pages, granted: order.pages() };
        console::print(format_args!(
            "pages={pages} order={} granted={} {waste}\n",
            order.get(),
            order.pages()
        ));
        if waste.permille() > worst.permille() {
            worst = waste;
        }
    }
    console::print(format_args!("worst pages={} granted={} {worst}\n", worst.requested, worst.granted));
    Ok(())
}
