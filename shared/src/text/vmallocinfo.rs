//! `/proc/vmallocinfo`. Source: Linux `mm/vmalloc.c` (`vmalloc_info_show`, `show_numa_info`, `show_purge_info`).

use core::fmt;

/// What an area is, as a word of its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AreaWord {
    /// Device registers.
    Ioremap,
    /// Frames of its own.
    Vmalloc,
    /// Frames of somebody else.
    Vmap,
    /// The list of its frames is an area, too.
    Vpages,
}

impl AreaWord {
    /// The word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ioremap => "ioremap",
            Self::Vmalloc => "vmalloc",
            Self::Vmap => "vmap",
            Self::Vpages => "vpages",
        }
    }
}

/// One area.
pub struct VmallocArea<'a> {
    /// First address.
    pub start: u64,
    /// First address after its guard.
    pub end: u64,
    /// Who asked for it: a symbol with offset and size.
    pub caller: &'a dyn fmt::Display,
    /// Frames of its own; 0 is not shown.
    pub pages: u64,
    /// Where the registers are that it maps.
    pub phys: Option<u64>,
    /// What it is, in the order of [`AreaWord`].
    pub words: &'a [AreaWord],
    /// Its pages on each node; nodes without any are not shown.
    pub nodes: &'a [u64],
}

/// Writes the line of one area.
///
/// # Errors
/// Those of the writer.
pub fn write_area(w: &mut dyn fmt::Write, area: &VmallocArea<'_>) -> fmt::Result {
    let VmallocArea { start, end, caller, pages, phys, words, nodes } = area;
    write!(w, "{start:#018x}-{end:#018x} {:>7} {caller}", end.saturating_sub(*start))?;
    if *pages > 0 {
        write!(w, " pages={pages}")?;
    }
    if let Some(phys) = phys {
        write!(w, " phys={phys:#018x}")?;
    }
    for word in *words {
        write!(w, " {}", word.name())?;
    }
    for (node, pages) in nodes.iter().enumerate().filter(|(_, pages)| **pages > 0) {
        write!(w, " N{node}={pages}")?;
    }
    w.write_char('\n')
}

/// Writes the line of an area that was freed and waits for a flush; these come last.
///
/// # Errors
/// Those of the writer.
pub fn write_unpurged(w: &mut dyn fmt::Write, start: u64, end: u64) -> fmt::Result {
    writeln!(w, "{start:#018x}-{end:#018x} {:>7} unpurged vm_area", end.saturating_sub(start))
}
