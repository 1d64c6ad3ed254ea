//! `/sys/kernel/debug/page_owner`: who has each block of pages, and from where it was asked for.
//!
//! A frame has no flags here but its node and its zone. Names of code are the caller's to write.
//! Source: Linux `mm/page_owner.c` (`print_page_owner`, `stack_print`), `lib/stackdepot.c` (`stack_depot_snprint`).

use core::fmt;

/// One block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its order.
    pub order: u32,
    /// The flags that it was asked for with: a number, then names in parentheses.
    pub gfp: &'a str,
    /// The task.
    pub pid: u32,
    /// Its name.
    pub comm: &'a str,
    /// When, in nanoseconds since boot.
    pub ts_ns: u64,
    /// Its first frame.
    pub pfn: u64,
    /// The migrate type that the flags ask for.
    pub page_type: &'a str,
    /// The number of its pageblock.
    pub block: u64,
    /// The migrate type of that.
    pub block_type: &'a str,
    /// Its node.
    pub node: u32,
    /// The number of its zone in the node.
    pub zone: u32,
}

impl Entry<'_> {
    /// Writes the entry; `stack` writes a line for each caller, each with a blank before it.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(
        &self,
        w: &mut dyn fmt::Write,
        stack: impl FnOnce(&mut dyn fmt::Write) -> fmt::Result,
    ) -> fmt::Result {
        let Self { order, gfp, pid, comm, ts_ns, pfn, page_type, block, block_type, node, zone } = self;
        writeln!(
            w,
            "Page allocated via order {order}, mask {gfp}, pid {pid}, tgid {pid} ({comm}), ts {ts_ns} ns"
        )?;
        writeln!(
            w,
            "PFN {pfn:#x} type {page_type} Block {block} type {block_type} Flags 0x0(node={node}|zone={zone})"
        )?;
        stack(w)?;
        w.write_char('\n')
    }
}

/// Writes a stack of `page_owner_stacks/show_stacks` and how many pages it has.
///
/// # Errors
/// Those of the writer.
pub fn write_stack(
    w: &mut dyn fmt::Write,
    pages: u64,
    stack: impl FnOnce(&mut dyn fmt::Write) -> fmt::Result,
) -> fmt::Result {
    stack(w)?;
    writeln!(w, "nr_base_pages: {pages}\n")
}
