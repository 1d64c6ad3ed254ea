//! `/proc/iomem`. Source: Linux `kernel/resource.c` (`r_show`).

use core::fmt;

/// Deepest nesting that is shown; deeper entries are indented like this one.
pub const MAX_DEPTH: u32 = 5;

/// One range of physical addresses. Entries come in the order of a tree walk: a parent before its children,
/// siblings by address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource<'a> {
    /// Nesting: 0 for ranges of the memory map, 1 for what lies inside one (`Kernel code`), and so on.
    pub depth: u32,
    /// First address.
    pub start: u64,
    /// Last address.
    pub end: u64,
    /// What is there.
    pub name: &'a str,
}

/// Writes the line of one range.
///
/// # Errors
/// Those of the writer.
pub fn write_resource(w: &mut dyn fmt::Write, resource: &Resource<'_>) -> fmt::Result {
    let indent = 2 * resource.depth.min(MAX_DEPTH) as usize;
    writeln!(w, "{:indent$}{:08x}-{:08x} : {}", "", resource.start, resource.end, resource.name)
}
