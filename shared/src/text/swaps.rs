//! `/proc/swaps`. Source: Linux `mm/swapfile.c` (`swap_show`).

use core::fmt;

/// Writes the heading, which is all there is while nothing swaps.
///
/// # Errors
/// Those of the writer.
pub fn write_head(w: &mut dyn fmt::Write) -> fmt::Result {
    w.write_str("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")
}
