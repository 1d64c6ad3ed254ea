//! `layout`: which addresses are for what, and that nothing of the kernel can be both written and executed.

mod draw;

use super::{Args, Command, Outcome, fail, usage};
use crate::console;
use crate::memory::boot::kernel_root;
use crate::memory::vm::VM;
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::pgtable::{PageRange, X86_64};
use mm::port::{PteBits, PteCodec, PteView};
use mm::space::layout::TASK_SIZE;
use shared::exit::ExitStatus;
use shared::layout::{TASK_END, VIRTUAL_AREAS, VirtualArea};

/// The family.
pub const LAYOUT: &[Command] = &[Command {
    name: "layout",
    usage: "[draw [--check]]",
    summary: "areas of addresses, what the kernel has that can be written and executed; draw: a picture of a context",
    run: layout,
}];

/// Pages of an area that are mapped, and those of them that can be written and executed.
fn rights(area: &VirtualArea) -> (u64, u64) {
    let (mut mapped, mut both) = (0, 0);
    let range = PageRange::new(VirtAddr::truncate(area.start), (area.end - area.start) / PAGE_SIZE);
    let scanned = range.map(|range| {
        kernel_root().scan(range, |slot, level, _| {
            if let PteView::Present { bits, .. } = X86_64::view(slot.load()) {
                mapped += level.pages();
                let is_both = bits.contains(PteBits::WRITE) && !bits.contains(PteBits::NO_EXEC);
                both += if is_both { level.pages() } else { 0 };
            }
        })
    });
    match scanned {
        Some(Ok(_)) => (mapped, both),
        _ => (mapped, u64::MAX),
    }
}

fn layout(args: &mut Args<'_>) -> Outcome {
    match args.next_word() {
        None => show(),
        Some("draw") => draw::draw(args),
        Some(other) => Err(usage(format_args!("layout: expected draw, not '{other}'"))),
    }
}

fn show() -> Outcome {
    console::print(format_args!("user {:#x}-{TASK_SIZE:#x}\n", VM.settings().mmap_min_addr()));
    let mut rwx = 0_u64;
    for area in VIRTUAL_AREAS {
        let (mapped, both) = rights(area);
        rwx = rwx.saturating_add(both);
        let half = if area.start < TASK_END { "user" } else { "kernel" };
        console::print(format_args!(
            "{} {:#x}-{:#x} half={half} mapped={mapped} rwx={both}\n",
            area.name, area.start, area.end
        ));
    }
    let pairs = VIRTUAL_AREAS.iter().zip(VIRTUAL_AREAS.iter().skip(1));
    let overlap = pairs.filter(|(area, next)| area.end > next.start).count();
    console::print(format_args!("areas={} overlap={overlap} rwx={rwx}\n", VIRTUAL_AREAS.len()));
    if rwx == 0 && overlap == 0 {
        Ok(())
    } else {
        Err(fail(
            ExitStatus::CheckFailed,
            format_args!("layout: areas overlap, or pages can be written and executed"),
        ))
    }
}
