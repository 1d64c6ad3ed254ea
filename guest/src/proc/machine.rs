//! Short texts about the machine: `/proc/cmdline`, `/proc/version`, `/proc/uptime`.

use crate::arch::time;
use crate::boot_info;
use core::fmt::{self, Write};

/// Writes `/proc/cmdline`.
pub fn cmdline(w: &mut dyn Write) -> fmt::Result {
    writeln!(w, "{}", boot_info::cmdline())
}

/// Writes `/proc/version`.
pub fn version(w: &mut dyn Write) -> fmt::Result {
    writeln!(w, "Ballast version {} (x86_64) #1 SMP", env!("CARGO_PKG_VERSION"))
}

/// Writes `/proc/uptime`: seconds since boot, and seconds of idleness, which nobody counts.
pub fn uptime(w: &mut dyn Write) -> fmt::Result {
    let hundredths = time::since_boot_ns() / 10_000_000;
    writeln!(w, "{}.{:02} 0.00", hundredths / 100, hundredths % 100)
}
