//! `gfp`: what allocation flags mean, and what is left of them in a scope.

use crate::commands::support::parse;
use crate::commands::{Args, Outcome, usage};
use crate::machine::CPU;
use crate::memory::PHYS;
use crate::{console, memory};
use core::fmt;
use mm::addr::Order;
use mm::frame::ZoneKind;
use mm::phys::GfpFlags;
use mm::port::{Cpu as _, TaskFlags};

/// Every modifier by its short name: what reclaim may do, then where from, then the rest.
const PARTS: &[(&str, GfpFlags)] = &[
    ("IO", GfpFlags::__GFP_IO),
    ("FS", GfpFlags::__GFP_FS),
    ("DIRECT", GfpFlags::__GFP_DIRECT_RECLAIM),
    ("KSWAPD", GfpFlags::__GFP_KSWAPD_RECLAIM),
    ("HARDWALL", GfpFlags::__GFP_HARDWALL),
    ("HIGHMEM", GfpFlags::__GFP_HIGHMEM),
    ("DMA", GfpFlags::__GFP_DMA),
    ("DMA32", GfpFlags::__GFP_DMA32),
    ("MOVABLE", GfpFlags::__GFP_MOVABLE),
    ("RECLAIMABLE", GfpFlags::__GFP_RECLAIMABLE),
    ("HIGH", GfpFlags::__GFP_HIGH),
    ("ZERO", GfpFlags::__GFP_ZERO),
    ("WRITE", GfpFlags::__GFP_WRITE),
    ("NOWARN", GfpFlags::__GFP_NOWARN),
    ("RETRY_MAYFAIL", GfpFlags::__GFP_RETRY_MAYFAIL),
    ("NOFAIL", GfpFlags::__GFP_NOFAIL),
    ("NORETRY", GfpFlags::__GFP_NORETRY),
    ("MEMALLOC", GfpFlags::__GFP_MEMALLOC),
    ("COMP", GfpFlags::__GFP_COMP),
    ("NOMEMALLOC", GfpFlags::__GFP_NOMEMALLOC),
    ("THISNODE", GfpFlags::__GFP_THISNODE),
    ("ACCOUNT", GfpFlags::__GFP_ACCOUNT),
];

/// The names of `all` that pass, between separators.
struct Joined<'a, T>(&'a [T], &'static str, fn(&T) -> &'static str);

impl<T> fmt::Display for Joined<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(all, separator, name) = self;
        all.iter().enumerate().try_for_each(|(n, item)| {
            f.write_str(if n == 0 { "" } else { separator })?;
            f.write_str(name(item))
        })
    }
}

/// `gfp decode FLAGS`.
pub fn gfp(args: &mut Args<'_>) -> Outcome {
    if args.take("scope") {
        return scope(args);
    }
    if !args.take("decode") {
        return Err(usage(format_args!("gfp: expected 'decode FLAGS' or 'scope NAME FLAGS'")));
    }
    let flags = parse::gfp(args.next_word().unwrap_or(""))?;
    let highest = flags.zone().map_err(|error| usage(format_args!("{error}")))?;
    console::print(format_args!("{:#x} ", flags.bits()));
    let mut separator = "";
    for (name, _) in PARTS.iter().filter(|(_, part)| flags.contains(*part)) {
        console::print(format_args!("{separator}{name}"));
        separator = "|";
    }
    let mut zones = ZoneKind::ALL;
    zones.reverse();
    let first = zones.iter().position(|kind| *kind == highest).unwrap_or(0);
    let chain = Joined(zones.get(first..).unwrap_or(&[]), "->", |kind| kind.name());
    console::print(format_args!(" zone={chain} type={}\n", flags.migrate_type().name()));
    Ok(())
}

const SCOPES: &[(&str, TaskFlags)] = &[
    ("noreclaim", TaskFlags::PF_MEMALLOC),
    ("nofs", TaskFlags::PF_MEMALLOC_NOFS),
    ("noio", TaskFlags::PF_MEMALLOC_NOIO),
    ("pin", TaskFlags::PF_MEMALLOC_PIN),
];

/// `gfp scope NAME FLAGS`: allocates a page outside, inside and after a scope, and tells where it lies.
fn scope(args: &mut Args<'_>) -> Outcome {
    let name = args.next_word().unwrap_or("nothing");
    let Some((_, flags)) = SCOPES.iter().find(|(known, _)| *known == name) else {
        return Err(usage(format_args!("gfp scope: expected noreclaim, nofs, noio or pin, not '{name}'")));
    };
    let gfp = parse::gfp(args.next_word().unwrap_or("GFP_KERNEL"))?;
    show_page("before", gfp);
    let scope = CPU.memalloc_scope(*flags);
    show_page("inside", gfp);
    drop(scope);
    show_page("after", gfp);
    Ok(())
}

/// What the flags are for the running task now, and the zone and type of a page that they give.
fn show_page(when: &str, gfp: GfpFlags) {
    let effective = gfp.in_scope(CPU.task_flags());
    console::print(format_args!("{when} flags={effective} "));
    match PHYS.alloc_pages(gfp, Order::ZERO) {
        Ok(page) => {
            let (pfn, order) = page.into_raw();
            let block = PHYS.pageblock(pfn);
            memory::free_block(pfn, order);
            if let Some(block) = block {
                let (zone, mt) = (block.zone().kind.name(), block.migrate_type().name());
                console::print(format_args!("zone={zone} type={mt}\n"));
            }
        }
        Err(error) => console::print(format_args!("error={error}\n")),
    }
}
