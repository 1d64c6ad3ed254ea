//! The memory map as Linux logs it at boot. Source: Linux `arch/x86/kernel/e820.c` (`e820__print_table`) and
//! the ACPI specification, "System Address Map Interfaces", for the numbers of the types.

use core::fmt;

/// What a range of the memory map holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum E820Type {
    /// RAM.
    Usable = 1,
    /// Not to be used.
    Reserved = 2,
    /// ACPI tables, free after they are read.
    AcpiData = 3,
    /// ACPI memory to keep.
    AcpiNvs = 4,
    /// Broken RAM.
    Unusable = 5,
}

impl E820Type {
    /// The type with the number `code`, as PVH and e820 entries carry it. Other numbers mean reserved.
    #[must_use]
    pub const fn from_code(code: u32) -> Self {
        match code {
            1 => Self::Usable,
            3 => Self::AcpiData,
            4 => Self::AcpiNvs,
            5 => Self::Unusable,
            _ => Self::Reserved,
        }
    }

    /// Linux's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Usable => "usable",
            Self::Reserved => "reserved",
            Self::AcpiData => "ACPI data",
            Self::AcpiNvs => "ACPI NVS",
            Self::Unusable => "unusable",
        }
    }
}

/// One range of the memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct E820Entry {
    /// First physical address.
    pub start: u64,
    /// Size in bytes; an entry of size 0 prints nothing.
    pub size: u64,
    /// What it holds.
    pub kind: E820Type,
}

/// Writes the line of one range.
///
/// # Errors
/// Those of the writer.
pub fn write_entry(w: &mut dyn fmt::Write, entry: &E820Entry) -> fmt::Result {
    let Some(span) = entry.size.checked_sub(1) else { return Ok(()) };
    let end = entry.start.saturating_add(span);
    writeln!(w, "BIOS-e820: [mem {:#018x}-{end:#018x}] {}", entry.start, entry.kind.name())
}
