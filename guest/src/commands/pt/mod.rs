//! `pt`, and the sparse mappings of `vm sparse`: page tables.
//!
//! Owns: reading the arguments. Stays outside: showing entries (`show`), roots (`roots`), mapping (`map`), sparse
//! mappings (`sparse`).

mod map;
mod roots;
mod show;
mod sparse;

use super::support::{Agreement, Pool, Random, Window, parse};
use super::{Args, Command, Outcome, fail, usage};
use crate::console;
use crate::memory::PHYS;
use crate::memory::boot::image_sections;
pub use map::leaf;
use mm::addr::{PAGE_SIZE, Pfn, VirtAddr};
use mm::frame::Frame;
use shared::exit::ExitStatus;
use shared::layout::VMEMMAP;
pub use sparse::sparse;

/// The family.
pub const PT: &[Command] = &[Command {
    name: "pt",
    usage: "walk VA | pte VA | levels | cost | verify N | roots [--after vmalloc SIZE] | switch [A B] | \
                map size=4K|2M|1G [count=N] | unmap VA",
    summary: "page tables: entries, cost of a walk, walker against MMU, roots, mappings",
    run: pt,
}];

const DEFAULT_CHECKS: u64 = 10_000;

fn pt(args: &mut Args<'_>) -> Outcome {
    match args.next_word() {
        Some("walk") => show::walk(address(args)?),
        Some("pte") => show::pte(address(args)?),
        Some("levels") => show::levels(),
        Some("cost") => show::cost(),
        Some("verify") => verify(args),
        Some("roots") => roots::list(args),
        Some("switch") => roots::switch(args),
        Some("map") => map::map(args),
        Some("unmap") => map::unmap(args),
        other => Err(usage(format_args!(
            "pt: expected walk, pte, levels, cost, verify, roots, switch, map or unmap, not '{}'",
            other.unwrap_or("nothing")
        ))),
    }
}

fn address(args: &mut Args<'_>) -> Result<VirtAddr, ExitStatus> {
    let text = args.next_word().ok_or_else(|| usage(format_args!("pt: expected an address")))?;
    parse::address(text)
}

/// Random addresses of all kernel areas: does the MMU go where the walker goes?
fn verify(args: &mut Args<'_>) -> Outcome {
    let count = match args.next_word() {
        Some(text) => parse::count("count", text)?,
        None => DEFAULT_CHECKS,
    };
    let (pool, mut window) = (Pool::take(), Window::new());
    let (mut random, mut sum) = (Random::new(count), Agreement::default());
    let mut areas = [("direct", 0_u64), ("vmemmap", 0), ("image", 0)];
    while sum.checked < count {
        let before = sum.checked;
        let area = (random.below(areas.len() as u64)) as usize;
        match area {
            0 => {
                let (word, tag) = (random.word(), random.word());
                let Some((block, frame)) = pool.pick(&mut random) else {
                    return Err(fail(ExitStatus::CheckFailed, format_args!("no free memory to check with")));
                };
                sum.own(&mut window, block, frame, word, tag)?;
            }
            1 => sum.page(&mut window, descriptor(&mut random))?,
            _ => sum.page(&mut window, image(&mut random))?,
        }
        if let Some((_, checked)) = areas.get_mut(area) {
            *checked += sum.checked - before;
        }
    }
    for (name, checked) in areas {
        console::print(format_args!("region={name} checked={checked}\n"));
    }
    sum.report()
}

/// The address of the descriptor of a random frame of RAM.
fn descriptor(random: &mut Random) -> VirtAddr {
    let Some(map) = PHYS.memblock() else { return VirtAddr::truncate(VMEMMAP) };
    let mut n = random.below(map.memory_pages().map(|run| run.pages()).sum::<u64>().max(1));
    let mut pfn = Pfn::default();
    for run in map.memory_pages() {
        if n < run.pages() {
            pfn = run.start.checked_add(n).unwrap_or(pfn);
            break;
        }
        n -= run.pages();
    }
    VirtAddr::truncate(VMEMMAP + pfn.get() * size_of::<Frame>() as u64)
}

/// A random page of the image.
fn image(random: &mut Random) -> VirtAddr {
    let [(start, _), _, (_, end)] = image_sections();
    VirtAddr::truncate(start + random.below((end - start).div_ceil(PAGE_SIZE)) * PAGE_SIZE)
}
