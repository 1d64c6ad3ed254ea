//! `/sys/kernel/mm/transparent_hugepage`: when a first touch is given a huge page.

use crate::memory::vm::VM;
use core::fmt::{self, Write};
use mm::addr::PAGE_SIZE;
use mm::port::Level;
use mm::space::ThpMode;

/// Writes the modes, the one in effect in brackets.
pub fn enabled(w: &mut dyn Write) -> fmt::Result {
    w.write_str(match VM.settings().thp() {
        ThpMode::Always => "[always] madvise never\n",
        ThpMode::Madvise => "always [madvise] never\n",
        ThpMode::Never => "always madvise [never]\n",
    })
}

/// Writes the bytes of a huge page.
pub fn hpage_pmd_size(w: &mut dyn Write) -> fmt::Result {
    writeln!(w, "{}", Level::PMD.pages() * PAGE_SIZE)
}
