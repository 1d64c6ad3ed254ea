//! Checks of pages and failures on purpose: from parameters to the memory manager, and from its reports to the end.
//!
//! Source: Linux `Documentation/fault-injection/fault-injection.rst`, `page_poison=`, `init_on_alloc=`,
//! `init_on_free=`.

use super::PHYS;
use super::boot::kernel_root;
use super::vm::IO;
use crate::arch::{percpu, time, tlb};
use crate::{console, report, settings, task};
use mm::addr::{Order, Pfn, VirtAddr};
use mm::fault_inject::FaultConfig;
use mm::pgtable::{PageRange, X86_64};
use mm::phys::{FailPageAlloc, FailSlab, PageChecks, PageHooks, PageReport, Who};
use mm::port::{PteBits, PteCodec, PteView};
use shared::layout::DIRECT_MAP;
use shared::params::FaultAttr;

/// Switches on what the parameters ask for. While one CPU runs.
pub fn start() {
    PHYS.set_page_hooks(PageHooks {
        report: on_report,
        task: running,
        now_ns: time::since_boot_ns,
        callers: report::callers,
        map: set_mapped,
    });
    let mut wanted = PageChecks::empty();
    for (name, check) in [
        ("page_poison", PageChecks::POISON),
        ("init_on_alloc", PageChecks::INIT_ON_ALLOC),
        ("init_on_free", PageChecks::INIT_ON_FREE),
        ("page_owner", PageChecks::OWNER),
        ("debug_pagealloc", PageChecks::UNMAP),
        ("debug_atomic_sleep", PageChecks::SLEEP),
    ] {
        wanted.set(check, settings::number(name) == Some(1));
    }
    // Without any, boot shall not touch free memory.
    if !wanted.is_empty() {
        PHYS.enable_page_checks(wanted);
        if wanted.difference(PHYS.page_checks()).contains(PageChecks::OWNER) {
            console::print(format_args!("page_owner: no memory for its records, so it is off\n"));
        }
    }
}

/// Who runs; before there are tasks, what Linux calls its boot task.
pub fn running() -> Who {
    if percpu::current() == 0 {
        return Who { pid: 0, name: "swapper" };
    }
    Who { pid: task::current().id(), name: task::current().name() }
}

/// Maps a block of the direct map, or takes it out (Linux `__kernel_map_pages`). The direct map has small leaves then.
fn set_mapped(pfn: Pfn, order: Order, mapped: bool) {
    let start = VirtAddr::truncate(DIRECT_MAP + pfn.addr().get());
    let Some(range) = PageRange::new(start, order.pages()) else { return };
    let change = |view| match (view, mapped) {
        (PteView::Present { addr, bits }, false) => PteView::ProtNone { addr, bits: bits - PteBits::PRESENT },
        (PteView::ProtNone { addr, bits }, true) => PteView::Present { addr, bits: bits | PteBits::PRESENT },
        (view, _) => view,
    };
    let done = kernel_root().scan(range, |slot, _, _| {
        slot.update(|pte| X86_64::encode(change(X86_64::view(pte))));
    });
    if let Err(error) = done {
        report::corruption(format_args!("direct map: {error}"));
    }
    if !mapped {
        tlb::flush_range(start, order.pages());
    }
}

/// Lets allocations and requests to disks fail as the parameters ask. When boot is done, because boot has nobody to tell.
pub fn start_failures() {
    if let Some(attr) = settings::fault("fail_page_alloc") {
        let min_order = settings::number("fail_page_alloc.min-order").and_then(|n| Order::new(n as u32));
        PHYS.set_fail_page_alloc(FailPageAlloc {
            config: config(attr),
            min_order: min_order.unwrap_or(FailPageAlloc::LINUX.min_order),
            ignore_reclaim: settings::number("fail_page_alloc.ignore-gfp-wait") != Some(0),
            ..FailPageAlloc::LINUX
        });
    }
    if let Some(attr) = settings::fault("failslab") {
        PHYS.set_failslab(FailSlab { config: config(attr), ..FailSlab::LINUX });
    }
    if let Some(attr) = settings::fault("fail_make_request") {
        IO.set_fail_make_request(config(attr));
    }
}

/// A checked parameter as the memory manager takes it.
pub fn config(attr: FaultAttr) -> FaultConfig {
    let FaultAttr { interval, probability, space, times } = attr;
    FaultConfig { interval, probability, space, times }
}

/// A failure is what was asked for; damage ends the machine.
fn on_report(what: &PageReport) {
    match what {
        PageReport::Injected(_) => console::print(format_args!("{what}\n")),
        PageReport::Damage(_) | PageReport::Context(_) => report::corruption(format_args!("{what}")),
    }
}
