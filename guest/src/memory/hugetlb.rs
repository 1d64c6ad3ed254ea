//! The pools of huge pages of this machine: one of 2 MiB pages, one of 1 GiB pages where the CPU has such.
//!
//! Owns: the pools, and filling them from the parameters. Source: Linux `mm/hugetlb.c` (`hugetlb_setup`,
//! `hugepages_setup`, `hugepagesz_setup`, `report_hugepages`).

use super::PHYS;
use crate::arch::paging;
use crate::console;
use crate::machine::Kernel;
use core::sync::atomic::{AtomicU64, Ordering};
use mm::addr::{NodeId, PAGE_SIZE};
use mm::hugetlb::HugePool;
use mm::port::Level;
use shared::params::{self, Event, HugePages, Value};

/// Bytes of the size that `hugepages=` and `/proc/meminfo` mean.
static DEFAULT: AtomicU64 = AtomicU64::new(Level::PMD.pages() * PAGE_SIZE);

static POOLS: [HugePool<'static, Kernel>; 2] =
    [HugePool::new(&PHYS, Level::PMD.pages()), HugePool::new(&PHYS, Level::PUD.pages())];

/// The pools of sizes that this CPU can map.
pub fn pools() -> impl Iterator<Item = &'static HugePool<'static, Kernel>> {
    POOLS.iter().filter(|pool| pool.frames() != Level::PUD.pages() || paging::has_1g_pages())
}

/// Bytes of a page of a pool.
pub fn page_bytes(pool: &HugePool<'_, Kernel>) -> u64 {
    pool.frames() * PAGE_SIZE
}

/// The pool of pages of so many bytes.
pub fn pool(bytes: u64) -> Option<&'static HugePool<'static, Kernel>> {
    pools().find(|pool| page_bytes(pool) == bytes)
}

/// The pool that `/proc/meminfo` shows.
pub fn default_pool() -> &'static HugePool<'static, Kernel> {
    pool(DEFAULT.load(Ordering::Relaxed)).unwrap_or(&POOLS[0])
}

/// A size as Linux prints it: `2.00 MiB`.
fn print_size(bytes: u64) -> &'static str {
    if bytes == Level::PUD.pages() * PAGE_SIZE { "1.00 GiB" } else { "2.00 MiB" }
}

/// Fills the pools as the parameters say, from left to right, and reports them if there are any pages.
pub fn boot(cmdline: &'static str) {
    let mut size = None;
    let mut first = true;
    for_each(cmdline, |name, value| {
        if let ("default_hugepagesz", Value::Size(bytes)) = (name, value) {
            choose(name, bytes, &mut |bytes| DEFAULT.store(bytes, Ordering::Relaxed));
        }
    });
    for_each(cmdline, |name, value| match (name, value) {
        ("hugepagesz", Value::Size(bytes)) => {
            size = Some(None);
            choose(name, bytes, &mut |bytes| size = Some(Some(bytes)));
        }
        ("hugepages", Value::HugePages(pages)) => {
            first = false;
            match size {
                None => fill(default_pool(), pages),
                Some(Some(bytes)) => pool(bytes).into_iter().for_each(|pool| fill(pool, pages)),
                // A size that is not there: its pages are not either.
                Some(None) => {}
            }
        }
        _ => {}
    });
    if !first {
        pools().for_each(|pool| {
            console::print(format_args!(
                "HugeTLB: registered {} page size, pre-allocated {} pages\n",
                print_size(page_bytes(pool)),
                pool.counts(None).total
            ));
        });
    }
}

fn for_each(cmdline: &'static str, mut visit: impl FnMut(&str, Value<'static>)) {
    params::parse(cmdline, &mut |event| {
        if let Event::Known { spec, value, .. } = event {
            visit(spec.name, value);
        }
    });
}

/// Passes a size on that the CPU has.
fn choose(name: &str, bytes: u64, set: &mut dyn FnMut(u64)) {
    if pool(bytes).is_some() {
        set(bytes);
    } else {
        console::print(format_args!("HugeTLB: unsupported {name}=1G\n"));
    }
}

/// Adds pages to a pool: over all nodes, or on each node as many as are named.
fn fill(pool: &HugePool<'_, Kernel>, pages: HugePages<'_>) {
    let size = print_size(page_bytes(pool));
    match pages {
        HugePages::Total(wanted) => {
            let got = pool.resize(wanted);
            if got < wanted {
                console::print(format_args!(
                    "HugeTLB: allocating {wanted} of page size {size} failed.  Only allocated {got} hugepages.\n"
                ));
            }
        }
        HugePages::PerNode(nodes) => nodes.pairs().for_each(|(node, wanted)| {
            let got = NodeId::new(node).map_or(0, |node| pool.grow_on(node, wanted));
            if got < wanted {
                console::print(format_args!(
                    "HugeTLB: allocating {wanted} of page size {size} failed node{node}.  Only allocated {got} \
                     hugepages.\n"
                ));
            }
        }),
    }
}
