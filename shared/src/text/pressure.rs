//! `/proc/pressure/memory`. Source: Linux `kernel/sched/psi.c` (`psi_show`).

use core::fmt;

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// `some` or `full`.
    pub kind: &'a str,
    /// Over 10, 60 and 300 seconds: percents and hundredths of one.
    pub averages: [(u64, u64); 3],
    /// Microseconds in all.
    pub total: u64,
}

/// Writes a line.
///
/// # Errors
/// Those of the writer.
pub fn write_line(w: &mut dyn fmt::Write, line: &Line<'_>) -> fmt::Result {
    w.write_str(line.kind)?;
    for ((percent, hundredths), over) in line.averages.into_iter().zip([10, 60, 300]) {
        write!(w, " avg{over}={percent}.{hundredths:02}")?;
    }
    writeln!(w, " total={}", line.total)
}
