//! `/proc/swaps`. Source: Linux `mm/swapfile.c` (`swap_show`).

use core::fmt;

/// Writes the heading, which is all there is while nothing swaps.
///
/// # Errors
/// Those of the writer.
pub fn write_head(w: &mut dyn fmt::Write) -> fmt::Result {
    w.write_str("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")
}

/// One area; sizes in KiB.
#[derive(Clone, Copy, Debug)]
pub struct SwapLine<'a> {
    /// What it is called.
    pub path: &'a str,
    /// A file, not a disk or a partition.
    pub is_file: bool,
    /// Its size without the header.
    pub size: u64,
    /// How much of it is taken.
    pub used: u64,
    /// Its priority.
    pub priority: i32,
}

/// Writes the line of an area.
///
/// # Errors
/// Those of the writer.
pub fn write_area(w: &mut dyn fmt::Write, line: &SwapLine<'_>) -> fmt::Result {
    let SwapLine { path, is_file, size, used, priority } = *line;
    let gap = 40_usize.saturating_sub(path.len()).max(1);
    let kind = if is_file { "file\t" } else { "partition" };
    // Short numbers get a second tab, as columns of eight.
    let tab = |kb: u64| if kb < 10_000_000 { "\t" } else { "" };
    writeln!(w, "{path}{:gap$}{kind}\t{size}\t{}{used}\t{}{priority}", "", tab(size), tab(used))
}
