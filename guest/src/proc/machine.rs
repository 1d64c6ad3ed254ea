//! Short texts about the machine: `/proc/cmdline`, `/proc/version`.

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
