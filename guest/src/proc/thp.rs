//! `/sys/kernel/mm/transparent_hugepage`. Source: Linux `mm/huge_memory.c`.

use crate::memory::vm::VM;
use core::fmt::{self, Write};
use mm::port::Level;
use mm::space::ThpMode;

/// Who gets huge pages: the one that holds in brackets.
pub fn enabled(w: &mut dyn Write) -> fmt::Result {
    w.write_str(match VM.settings().thp() {
        ThpMode::Always => "[always] madvise never\n",
        ThpMode::Madvise => "always [madvise] never\n",
        ThpMode::Never => "always madvise [never]\n",
    })
}

/// Bytes of a huge page.
pub fn hpage_pmd_size(w: &mut dyn Write) -> fmt::Result {
    writeln!(w, "{}", Level::PMD.size())
}

/// Whether reads are given a huge page of zeroes.
pub fn use_zero_page(w: &mut dyn Write) -> fmt::Result {
    writeln!(w, "{}", u8::from(VM.settings().use_zero_page()))
}
