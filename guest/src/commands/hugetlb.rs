//! `hugetlb`: the pools of huge pages.
//!
//! Owns: showing and resizing them, and taking every page out once to look at it.

use super::support::parse;
use super::{Args, Command, Outcome, fail, usage};
use crate::console;
use crate::machine::{Kernel, MACHINE};
use crate::memory::PHYS;
use crate::memory::hugetlb;
use core::sync::atomic::{AtomicU64, Ordering};
use mm::addr::{NodeId, Pfn};
use mm::hugetlb::{HugePage, HugePool};
use mm::port::{Machine, PhysMem};
use shared::exit::ExitStatus;

/// The family.
pub const HUGETLB: &[Command] = &[Command {
    name: "hugetlb",
    usage: "[check] [nr=N] [size=2M|1G]",
    summary: "pools of huge pages; nr: makes one larger or smaller; check: takes every page out and looks at it",
    run: hugetlb,
}];

type Pool = HugePool<'static, Kernel>;

/// Pages that a check holds at once.
const MOST: usize = 512;

fn hugetlb(args: &mut Args<'_>) -> Outcome {
    let (mut pool, mut wanted, mut check) = (hugetlb::default_pool(), None, false);
    while let Some(word) = args.next_word() {
        match parse::setting(word) {
            ("check", None) => check = true,
            ("nr", Some(text)) => wanted = Some(parse::number("nr", text)?),
            ("size", Some(text)) => {
                let bytes = parse::size("size", text)?;
                pool = hugetlb::pool(bytes).ok_or_else(|| {
                    usage(format_args!("HugeTLB: unsupported size={text} (2M, or 1G where the CPU has it)"))
                })?;
            }
            _ => return Err(parse::unexpected("hugetlb", word)),
        }
    }
    if let Some(wanted) = wanted {
        pool.resize(wanted);
    }
    if check {
        look_at_all(pool)?;
    }
    hugetlb::pools().for_each(show);
    Ok(())
}

fn show(pool: &Pool) {
    let line = |node: Option<NodeId>| {
        let counts = pool.counts(node);
        console::print(format_args!(
            " size={}K total={} free={}",
            hugetlb::page_bytes(pool) / 1024,
            counts.total,
            counts.free
        ));
        // Nodes have no part in promises.
        if node.is_none() {
            console::print(format_args!(" reserved={} surplus={}", counts.reserved, counts.surplus));
        }
        console::print(format_args!("\n"));
    };
    console::print(format_args!("pool"));
    line(None);
    for node in PHYS.nodes().map(|node| node.id()) {
        console::print(format_args!("node={}", node.index()));
        line(Some(node));
    }
}

/// The first word of base page `n` of a page, if the direct map shows it.
fn word(page: Pfn, n: u64) -> Option<&'static AtomicU64> {
    let at = MACHINE.physmem().ptr(page.checked_add(n)?.addr())?;
    // SAFETY: the page is held by this command, which reaches it by atomics only.
    Some(unsafe { AtomicU64::from_ptr(at.cast().as_ptr()) })
}

/// Takes all free pages, marks every base page of each, and looks whether all marks are there.
fn look_at_all(pool: &'static Pool) -> Outcome {
    let mut held: [Option<HugePage>; MOST] = [const { None }; MOST];
    held.iter_mut().for_each(|slot| *slot = pool.take(NodeId::ZERO));
    let pages = || held.iter().flatten().map(HugePage::pfn);
    let frames = pool.frames();
    for (page, n) in pages().flat_map(|page| (0..frames).map(move |n| (page, n))) {
        if let Some(word) = word(page, n) {
            word.store(page.get() + n, Ordering::Relaxed);
        }
    }
    let kept = pages().all(|page| {
        (0..frames).all(|n| word(page, n).is_none_or(|word| word.load(Ordering::Relaxed) == page.get() + n))
    });
    let aligned = pages().all(|page| page.get().is_multiple_of(frames));
    let count = pages().count();
    held.into_iter().flatten().for_each(|page| pool.give(page));
    console::print(format_args!(
        "checked={count} frames={frames} aligned={} data={}\n",
        if aligned { "yes" } else { "no" },
        if kept { "ok" } else { "bad" }
    ));
    if aligned && kept {
        Ok(())
    } else {
        Err(fail(ExitStatus::CheckFailed, format_args!("hugetlb: pages overlap or lie crooked")))
    }
}
