//! `/proc/cpuinfo`, as far as tools count CPUs by it. Source: Linux `arch/x86/kernel/cpu/proc.c`.

use crate::stats::MAX_CPUS;
use core::fmt;

/// Writes the entries of CPUs 0 to `cpus`, whose TSC counts `tsc_khz` a millisecond.
///
/// # Errors
/// Those of the writer.
pub fn write_cpus(w: &mut dyn fmt::Write, cpus: u64, tsc_khz: u64) -> fmt::Result {
    (0..cpus.min(MAX_CPUS as u64)).try_for_each(|cpu| {
        let (mhz, khz) = (tsc_khz / 1000, tsc_khz % 1000);
        writeln!(w, "processor\t: {cpu}\ncpu MHz\t\t: {mhz}.{khz:03}\n")
    })
}
