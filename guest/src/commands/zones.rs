//! `zones`: the zones and their borders.

use super::support::sound;
use super::{Args, Command, Outcome};
use crate::console;
use crate::memory::PHYS;
use mm::addr::{Order, PAGE_SIZE};

/// The family.
pub const ZONES: &[Command] = &[Command {
    name: "zones",
    usage: "[verify]",
    summary: "a line a zone; verify: every frame is in the zone of its range",
    run: zones,
}];

fn zones(args: &mut Args<'_>) -> Outcome {
    if args.take("verify") {
        let pageblocks = check();
        console::print(format_args!(
            "pageblocks={pageblocks} pfns={} mismatch=0 ok\n",
            pageblocks * Order::PAGEBLOCK.pages()
        ));
        return Ok(());
    }
    for zone in PHYS.populated_zones() {
        let (id, start) = (zone.id(), zone.start_pfn());
        console::print(format_args!(
            "node={} zone={} start={:#x} end={:#x} start_pfn={} spanned={} present={} managed={} free={}\n",
            id.node.index(),
            id.kind.name(),
            start.addr().get(),
            start.addr().get() + zone.spanned_pages() * PAGE_SIZE,
            start.get(),
            zone.spanned_pages(),
            zone.present_pages(),
            zone.managed_pages(),
            zone.free_pages()
        ));
    }
    Ok(())
}

/// Checks every pageblock against the borders of its zone and gives their number; a wrong one is corruption.
pub fn check() -> u64 {
    // Blocks that are still deferred have no zone yet.
    PHYS.take_in_deferred(u32::MAX);
    sound(PHYS.verify_zones())
}
