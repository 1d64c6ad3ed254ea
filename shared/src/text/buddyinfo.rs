//! `/proc/buddyinfo`. Source: Linux `mm/vmstat.c` (`frag_show_print`).

use super::ORDERS;
use core::fmt;

/// Free blocks of one zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneBlocks<'a> {
    /// Node number.
    pub node: u32,
    /// Zone name, such as `DMA32`.
    pub zone: &'a str,
    /// Free blocks of each order.
    pub free: [u64; ORDERS],
}

/// Writes the line of one zone.
///
/// # Errors
/// Those of the writer.
pub fn write_zone(w: &mut dyn fmt::Write, zone: &ZoneBlocks<'_>) -> fmt::Result {
    write!(w, "Node {}, zone {:>8} ", zone.node, zone.zone)?;
    for free in zone.free {
        write!(w, "{free:>6} ")?;
    }
    w.write_char('\n')
}
