//! `vmalloc`, `vfree`, `probe`, `api vmalloc`: areas of addresses over scattered frames, and what lies beside them.

mod alias;
mod check;
mod fragments;

use super::support::parse;
use super::{Args, Command, Outcome, fail, usage};
use crate::arch::probe;
use crate::console;
use crate::memory::areas::{self, AREAS, Place};
use crate::report;
pub use alias::vmap as api_vmap;
use core::sync::atomic::{AtomicU64, Ordering};
pub use fragments::Fragments;
use mm::addr::VirtAddr;
use mm::phys::GfpFlags;
use mm::port::Level;
use mm::vmalloc::{Request, VmallocError};
use shared::exit::ExitStatus;

/// The family.
pub const AREA: &[Command] = &[
    Command {
        name: "vmalloc",
        usage: "SIZE [gfp=GFP_KERNEL] [node=N] [huge] | purge | verify",
        summary: "makes an area and keeps it; frees what waits for a flush; checks all areas",
        run: vmalloc,
    },
    Command { name: "vfree", usage: "ADDR|last", summary: "frees an area", run: vfree },
    Command {
        name: "probe",
        usage: "ADDR",
        summary: "reads a byte; a fault is caught and explained",
        run: probe,
    },
];

/// `SIZE` and what may follow it: the request, and whether memory is to be fragmented first.
fn request(args: &mut Args<'_>, command: &str, may_fragment: bool) -> Result<(Request, bool), ExitStatus> {
    let mut fragmented = false;
    let mut request = Request::new(parse::size("size", args.next_word().unwrap_or(""))?, 0);
    while let Some(word) = args.next_word() {
        match parse::setting(word) {
            ("gfp", Some(text)) => request.gfp = parse::gfp(text)?,
            ("node", Some(text)) => request.node = Some(parse::node(text)?),
            ("fragmented", None) if may_fragment => fragmented = true,
            ("huge", None) => request.max_leaf = Level::PMD,
            _ => return Err(parse::unexpected(command, word)),
        }
    }
    if request.gfp.contains(GfpFlags::__GFP_DMA | GfpFlags::__GFP_DMA32) {
        return Err(usage(format_args!("invalid zone modifiers")));
    }
    Ok((request, fragmented))
}

/// Linux's answer to a request that fails: a null pointer. Only a corrupt table is worse.
fn refused(bytes: u64, error: VmallocError) -> Outcome {
    if error == VmallocError::Corrupt {
        report::corruption(format_args!("{error}"));
    }
    console::print(format_args!("vmalloc({bytes}) -> NULL ({error})\n"));
    Ok(())
}

/// `api vmalloc SIZE [gfp=FLAGS] [node=N] [huge] [fragmented]`: makes an area, checks every page and the guard after it,
/// frees it.
pub fn api_vmalloc(args: &mut Args<'_>) -> Outcome {
    let (request, fragmented) = request(args, "api vmalloc", true)?;
    let fragments = fragmented.then(Fragments::make);
    if let Some(fragments) = &fragments {
        let together = if Fragments::is_complete() { "no" } else { "yes" };
        console::print(format_args!("held={} two_pages_together={together}\n", fragments.held()));
    }
    let before = AREAS.used_pages();
    match areas::vmalloc_with(request) {
        Err(error) => refused(request.bytes, error),
        Ok(at) => check::check(at, &request, before),
    }
}

fn vmalloc(args: &mut Args<'_>) -> Outcome {
    if args.take("purge") {
        let (purges, pages) = (AREAS.purges(), AREAS.purge());
        console::print(format_args!("purged={pages} flushes={}\n", AREAS.purges() - purges));
        return Ok(());
    }
    if args.take("verify") {
        return verify();
    }
    let (request, _) = request(args, "vmalloc", false)?;
    match areas::vmalloc_with(request) {
        Err(error) => refused(request.bytes, error),
        Ok(at) => {
            LAST.store(at.get(), Ordering::Relaxed);
            console::print(format_args!("vmalloc({}) -> {:#x}\n", request.bytes, at.get()));
            Ok(())
        }
    }
}

fn verify() -> Outcome {
    if let Err(what) = AREAS.verify() {
        report::corruption(format_args!("vmalloc: {what}"));
    }
    console::print(format_args!(
        "used={} lazy={} descriptor_frames={} purges={} verify=ok\n",
        AREAS.used_pages(),
        AREAS.lazy_pages(),
        AREAS.descriptor_frames(),
        AREAS.purges()
    ));
    Ok(())
}

/// What `vmalloc` gave last.
static LAST: AtomicU64 = AtomicU64::new(0);

fn vfree(args: &mut Args<'_>) -> Outcome {
    let at: VirtAddr = match args.next_word().unwrap_or("") {
        "last" => VirtAddr::truncate(LAST.swap(0, Ordering::Relaxed)),
        text => parse::address(text)?,
    };
    areas::vfree(at)
        .map_err(|error| fail(ExitStatus::CheckFailed, format_args!("WARNING: Trying to vfree() {error}")))
}

fn probe(args: &mut Args<'_>) -> Outcome {
    let at = parse::address(args.next_word().unwrap_or(""))?.get();
    match probe::load(at) {
        Ok(value) => console::print(format_args!("{at:#x}: value={value:#04x}\n")),
        Err(error) => console::print(format_args!("{at:#x}: fault error={error:#x} {}\n", Place(at))),
    }
    Ok(())
}
