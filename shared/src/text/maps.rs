//! `/proc/PID/maps` and `/proc/PID/smaps`. Source: Linux `fs/proc/task_mmu.c` (`show_vma_header_prefix`, `show_smap`,
//! `show_smap_vma_flags`).

use core::fmt;

/// One area of a context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MapsArea<'a> {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Linux's `VM_*` bits; [`FLAG_NAMES`] says which have a name.
    pub flags: u64,
    /// Offset in the file behind it, in bytes; 0 for anonymous memory.
    pub offset: u64,
    /// Major and minor number of the device that this file is on.
    pub device: (u32, u32),
    /// The number of that file.
    pub inode: u64,
    /// What it is called; empty for nothing.
    pub name: &'a str,
}

/// What there is of one area, in kB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "lines by their names")]
pub struct Smap {
    pub page_size: u64,
    pub rss: u64,
    pub pss: u64,
    pub pss_dirty: u64,
    pub shared_clean: u64,
    pub shared_dirty: u64,
    pub private_clean: u64,
    pub private_dirty: u64,
    pub referenced: u64,
    pub anonymous: u64,
    pub lazy_free: u64,
    pub anon_huge_pages: u64,
    pub shared_hugetlb: u64,
    pub private_hugetlb: u64,
    pub swap: u64,
    pub swap_pss: u64,
    pub locked: u64,
    /// Whether a first touch may be given a huge page.
    pub thp_eligible: bool,
}

const READ: u64 = 0x1;
const WRITE: u64 = 0x2;
const EXEC: u64 = 0x4;
const SHARED: u64 = 0x8;
/// The bit of areas that were asked for as shared; those are shared unless their file cannot be written.
pub const MAY_SHARE: u64 = 0x80;

/// The names of the bits in `VmFlags`, from the lowest bit up.
pub const FLAG_NAMES: &[(u64, &str)] = &[
    (READ, "rd"),
    (WRITE, "wr"),
    (EXEC, "ex"),
    (SHARED, "sh"),
    (0x10, "mr"),
    (0x20, "mw"),
    (0x40, "me"),
    (MAY_SHARE, "ms"),
    (0x100, "gd"),
    (0x400, "pf"),
    (0x2000, "lo"),
    (0x4000, "io"),
    (0x8000, "sr"),
    (0x1_0000, "rr"),
    (0x2_0000, "dc"),
    (0x4_0000, "de"),
    (0x10_0000, "ac"),
    (0x20_0000, "nr"),
    (0x40_0000, "ht"),
    (0x400_0000, "dd"),
    (0x2000_0000, "hg"),
    (0x4000_0000, "nh"),
];

/// The bits that every private area has: what its rights may become.
pub const MAY_ALL: u64 = 0x70;

/// The column that names begin in.
const NAME_COLUMN: usize = 73;

/// Counts what goes through.
struct Columns<'a> {
    w: &'a mut dyn fmt::Write,
    used: usize,
}

impl fmt::Write for Columns<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.used += text.len();
        self.w.write_str(text)
    }
}

/// Writes the line of one area in `maps`, which is also its first one in `smaps`.
///
/// # Errors
/// Those of the writer.
pub fn write_area(w: &mut dyn fmt::Write, area: &MapsArea<'_>) -> fmt::Result {
    use fmt::Write;
    let letter = |bit, letter| if area.flags & bit != 0 { letter } else { '-' };
    let mut w = Columns { w, used: 0 };
    write!(w, "{:08x}-{:08x} ", area.start, area.end)?;
    write!(w, "{}{}{}", letter(READ, 'r'), letter(WRITE, 'w'), letter(EXEC, 'x'))?;
    w.write_char(if area.flags & (SHARED | MAY_SHARE) != 0 { 's' } else { 'p' })?;
    let (major, minor) = area.device;
    write!(w, " {:08x} {major:02x}:{minor:02x} {} ", area.offset, area.inode)?;
    if !area.name.is_empty() {
        let gap = NAME_COLUMN.saturating_sub(w.used).max(1);
        write!(w, "{:gap$}{}", "", area.name)?;
    }
    w.write_char('\n')
}

/// Writes everything about one area in `smaps`.
///
/// # Errors
/// Those of the writer.
pub fn write_smap(w: &mut dyn fmt::Write, area: &MapsArea<'_>, smap: &Smap) -> fmt::Result {
    write_area(w, area)?;
    let lines = [
        ("Size", area.end.saturating_sub(area.start) >> 10),
        ("KernelPageSize", smap.page_size),
        ("MMUPageSize", smap.page_size),
        ("Rss", smap.rss),
        ("Pss", smap.pss),
        ("Pss_Dirty", smap.pss_dirty),
        ("Shared_Clean", smap.shared_clean),
        ("Shared_Dirty", smap.shared_dirty),
        ("Private_Clean", smap.private_clean),
        ("Private_Dirty", smap.private_dirty),
        ("Referenced", smap.referenced),
        ("Anonymous", smap.anonymous),
        ("KSM", 0),
        ("LazyFree", smap.lazy_free),
        ("AnonHugePages", smap.anon_huge_pages),
        ("ShmemPmdMapped", 0),
        ("FilePmdMapped", 0),
        ("Shared_Hugetlb", smap.shared_hugetlb),
        ("Private_Hugetlb", smap.private_hugetlb),
        ("Swap", smap.swap),
        ("SwapPss", smap.swap_pss),
        ("Locked", smap.locked),
    ];
    for (name, kb) in lines {
        let colon = 15usize.saturating_sub(name.len());
        writeln!(w, "{name}:{:colon$}{kb:>8} kB", "")?;
    }
    writeln!(w, "THPeligible:    {:>8}", u8::from(smap.thp_eligible))?;
    w.write_str("VmFlags: ")?;
    for (_, name) in FLAG_NAMES.iter().filter(|(bit, _)| area.flags & bit != 0) {
        write!(w, "{name} ")?;
    }
    w.write_char('\n')
}
