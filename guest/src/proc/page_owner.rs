//! `/sys/kernel/debug/page_owner` and `page_owner_stacks/show_stacks`: who has each page. Empty without `page_owner=on`.

use crate::memory::PHYS;
use crate::symbols::Traced;
use crate::text::Text;
use core::fmt::{self, Write};
use mm::addr::Order;
use mm::phys::PageOwner;
use shared::text::page_owner::{Entry, write_stack};

/// Room for flags with all their names.
const FLAGS: usize = 256;

/// A line for each caller.
fn write_callers(w: &mut dyn Write, callers: impl Iterator<Item = u64>) -> fmt::Result {
    callers.take_while(|caller| *caller != 0).try_for_each(|caller| writeln!(w, " {}", Traced(caller)))
}

/// Writes `page_owner`.
pub fn page_owner(w: &mut dyn Write) -> fmt::Result {
    let mut result = Ok(());
    PHYS.page_owners(&mut |owner| {
        if result.is_ok() {
            result = write_entry(w, owner);
        }
    });
    result
}

fn write_entry(w: &mut dyn Write, owner: &PageOwner) -> fmt::Result {
    let mut gfp = Text::<FLAGS>::new();
    write!(gfp, "{}", owner.gfp)?;
    let block = PHYS.pageblock(owner.pfn);
    let zone = block.map(|block| block.zone()).unwrap_or_default();
    Entry {
        order: owner.order.get(),
        gfp: gfp.as_str(),
        pid: owner.pid,
        comm: owner.name(),
        ts_ns: owner.ts_ns,
        pfn: owner.pfn.get(),
        page_type: owner.gfp.migrate_type().name(),
        block: owner.pfn.get() >> Order::PAGEBLOCK.get(),
        block_type: block.map_or("", |block| block.migrate_type().name()),
        node: zone.node.index() as u32,
        zone: zone.kind as u32,
    }
    .write(w, |w| write_callers(w, owner.stack()))
}

/// Writes `show_stacks`.
pub fn show_stacks(w: &mut dyn Write) -> fmt::Result {
    let mut result = Ok(());
    PHYS.page_owner_stacks(&mut |callers, pages| {
        if result.is_ok() {
            result = write_stack(w, pages, |w| write_callers(w, callers.iter().copied()));
        }
    });
    result
}
