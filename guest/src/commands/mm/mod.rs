//! `mm`: the physical memory and its direct map, who has which part of it (`balance`), and all users of it at once
//! (`stress`).

mod balance;
mod history;
mod stress;

use super::support::{Agreement, Pool, Random, Window, parse};
use super::{Args, Command, Outcome, fail, usage};
use crate::context;
use crate::memory::PHYS;
use crate::memory::areas::AREAS;
use crate::memory::slab::SLABS;
use crate::memory::vm::VM;
use crate::{console, report};
use mm::addr::{PAGE_SIZE, Pfn, VirtAddr};
use mm::memblock::{Memblock, PageRange};
use mm::phys::{FolioState, Zone};
use shared::exit::ExitStatus;

/// The family.
pub const MM: &[Command] = &[Command {
    name: "mm",
    usage: "pfns | va-pa N | folio PFN|va=ADDR | history PFN|va=ADDR|last | balance | verify | stress [ms=N] [seed=N]",
    summary: "page counts, direct-map translation, the block around a frame, who has how much, all invariants, all CPUs \
              at all of it",
    run: mm,
}];

const DEFAULT_CHECKS: u64 = 1000;

fn mm(args: &mut Args<'_>) -> Outcome {
    match args.next_word() {
        Some("pfns") => pfns(),
        Some("va-pa") => va_pa(args),
        Some("folio") => folio(args),
        Some("history") => history::history(args),
        Some("balance") => balance::balance(),
        Some("verify") => verify(),
        Some("stress") => stress::stress(args),
        other => Err(usage(format_args!(
            "mm: expected pfns, va-pa, folio, history, balance, verify or stress, not '{}'",
            other.unwrap_or("nothing")
        ))),
    }
}

/// Pages of a zone or of all: Linux's counts, and what boot has kept.
#[derive(Clone, Copy, Default)]
struct Pages {
    spanned: u64,
    present: u64,
    managed: u64,
    reserved: u64,
}

impl Pages {
    fn of(zone: &Zone, map: &Memblock) -> Self {
        Self {
            spanned: zone.spanned_pages(),
            present: zone.present_pages(),
            managed: zone.managed_pages(),
            reserved: reserved_pages(zone, map),
        }
    }

    fn add(&mut self, other: Self) {
        self.spanned += other.spanned;
        self.present += other.present;
        self.managed += other.managed;
        self.reserved += other.reserved;
    }
}

impl core::fmt::Display for Pages {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { spanned, present, managed, reserved } = self;
        write!(f, "spanned={spanned} present={present} managed={managed} reserved={reserved}")
    }
}

/// Pages of a zone that boot has kept, counted in the memory map and not by subtraction.
fn reserved_pages(zone: &Zone, map: &Memblock) -> u64 {
    let start = zone.start_pfn();
    let end = start.checked_add(zone.spanned_pages()).unwrap_or(start);
    map.memory_pages()
        .filter(|run| run.node.unwrap_or_default() == zone.id().node)
        .filter_map(|run| run.clamp(start, end))
        .map(|run| reserved_in(run, map))
        .sum()
}

/// Pages of `run` of which any byte is reserved.
fn reserved_in(run: PageRange, map: &Memblock) -> u64 {
    let (mut next, mut pages) = (run.start.get(), 0);
    for region in map.reserved() {
        let first = (region.start / PAGE_SIZE).max(next);
        let end = region.end.div_ceil(PAGE_SIZE).min(run.end.get());
        if first < end {
            pages += end - first;
            next = end;
        }
    }
    pages
}

fn pfns() -> Outcome {
    let Some(map) = PHYS.memblock() else { return Ok(()) };
    let mut total = Pages::default();
    for zone in PHYS.populated_zones() {
        let pages = Pages::of(zone, map);
        let id = zone.id();
        console::print(format_args!("node={} zone={} {pages}\n", id.node.index(), id.kind.name()));
        total.add(pages);
    }
    console::print(format_args!("total {total}\n"));
    let kb = |pages: u64| pages * PAGE_SIZE / 1024;
    let Pages { spanned, present, managed, reserved } = total;
    console::print(format_args!(
        "spanned_kB={} holes_kB={} present_kB={}\n",
        kb(spanned),
        kb(spanned - present),
        kb(present)
    ));
    console::print(format_args!("managed + reserved = present: {managed} + {reserved} = {present}\n"));
    if managed + reserved == present {
        Ok(())
    } else {
        Err(fail(ExitStatus::CheckFailed, format_args!("managed + reserved is {}", managed + reserved)))
    }
}

fn va_pa(args: &mut Args<'_>) -> Outcome {
    let count = match args.next_word() {
        Some(text) => parse::count("count", text)?,
        None => DEFAULT_CHECKS,
    };
    let (pool, mut window) = (Pool::take(), Window::new());
    let (mut random, mut agreement) = (Random::new(count), Agreement::default());
    for _ in 0..count {
        let (word, tag) = (random.word(), random.word());
        let Some((block, frame)) = pool.pick(&mut random) else {
            return Err(fail(ExitStatus::CheckFailed, format_args!("no free memory to check with")));
        };
        agreement.own(&mut window, block, frame, word, tag)?;
    }
    agreement.report()
}

/// The frame that the context that commands work on has at an address.
fn mapped_at(va: VirtAddr) -> Result<Pfn, ExitStatus> {
    let context = context::chosen().and_then(context::find);
    let pa = context.and_then(|context| context.mm().tree().translate(va));
    let pa = pa
        .ok_or_else(|| fail(ExitStatus::CheckFailed, format_args!("mm folio: nothing at {:#x}", va.get())))?;
    Ok(pa.pfn())
}

fn folio(args: &mut Args<'_>) -> Outcome {
    let Some(text) = args.next_word() else { return Err(usage(format_args!("mm folio: expected a pfn"))) };
    let pfn = match parse::setting(text) {
        ("va", Some(address)) => mapped_at(parse::address(address)?)?,
        _ => parse::pfn(text)?,
    };
    // A block that was never taken in says nothing yet.
    PHYS.take_in_deferred(u32::MAX);
    let Some(folio) = PHYS.folio(pfn) else { return Err(usage(format_args!("bad pfn {:#x}", pfn.get()))) };
    let (state, refs) = match folio.state {
        FolioState::Reserved => ("reserved", 1),
        FolioState::Free => ("free", 0),
        FolioState::Allocated => ("allocated", 1),
    };
    let mapped = VM.folio(pfn);
    let refs = mapped.map_or(refs, |mapped| mapped.refs);
    console::print(format_args!(
        "order={} head={:#x} refs={refs} map={} entire={} state={state} type={} node={} zone={} arena={}\n",
        folio.order.get(),
        folio.head.get(),
        mapped.map_or(0, |mapped| mapped.entries),
        mapped.map_or(0, |mapped| mapped.entire),
        folio.migrate_type.name(),
        folio.zone.node.index(),
        folio.zone.kind.name(),
        u32::from(folio.in_arena)
    ));
    Ok(())
}

/// Checks every invariant of physical memory, of slabs and of areas; what does not hold is corruption.
fn check_all() {
    super::buddy::check();
    super::zones::check();
    if let Err(violation) = SLABS.verify() {
        report::corruption(format_args!("{violation}"));
    }
    if let Err(what) = AREAS.verify() {
        report::corruption(format_args!("vmalloc: {what}"));
    }
    for context in context::all() {
        if let Err(what) = VM.verify(context.mm()) {
            report::corruption(format_args!("context {}: {what}", context.pid()));
        }
    }
}

fn verify() -> Outcome {
    check_all();
    let leaked = PHYS.leaked_pages();
    console::print(format_args!("buddy=ok zones=ok slab=ok vmalloc=ok leaked={leaked}\n"));
    if leaked != 0 {
        return Err(fail(ExitStatus::CheckFailed, format_args!("{leaked} pages were dropped, not freed")));
    }
    console::print(format_args!("ok\n"));
    Ok(())
}
