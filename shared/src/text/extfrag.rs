//! `/sys/kernel/debug/extfrag/unusable_index` and `extfrag_index`: indexes by order, in thousandths.
//! Source: Linux `mm/vmstat.c` (`unusable_show_print`, `extfrag_show_print`).

use super::ORDERS;
use core::fmt;

/// Which of the two texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// `unusable_index`.
    Unusable,
    /// `extfrag_index`.
    Fragmentation,
}

/// Writes the line of one zone; -1000 stands for an allocation that would not fail.
///
/// # Errors
/// Those of the writer.
pub fn write_zone(
    w: &mut dyn fmt::Write,
    index: Index,
    node: u32,
    zone: &str,
    values: &[i32; ORDERS],
) -> fmt::Result {
    write!(w, "Node {node}, zone {zone:>8} ")?;
    for value in values {
        let (whole, thousandths) = (value / 1000, value % 1000);
        match index {
            Index::Unusable => write!(w, "{whole}.{thousandths:03} ")?,
            Index::Fragmentation => write!(w, "{whole:2}.{thousandths:03} ")?,
        }
    }
    w.write_char('\n')
}
