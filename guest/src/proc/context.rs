//! `/proc/PID`: the memory of a context. `/proc/self` is the context that commands work on.

use super::kb;
use crate::context::{self, Context, oom};
use crate::files;
use crate::memory::vm::VM;
use crate::text::Text;
use core::fmt::{self, Write};
use mm::addr::{PAGE_SHIFT, VirtAddr};
use mm::cache::{FileMode, OpenFile};
use mm::port::Level;
use mm::space::{PSS_UNITS, Rss, ThpMode, Usage};
use mm::vma::{Backing, VmFlags, VmaInit};
use shared::text::maps::{MAY_ALL, MAY_SHARE, MapsArea, Smap, write_area, write_smap};
use shared::text::status::Status;

/// Room for the path of a file: its name, and where its volume is.
const PATH: usize = 96;
/// The bit of areas that may be made writable.
const MAY_WRITE: u64 = 0x20;

/// Writes one text about a context.
pub type Render = fn(&Context, &mut dyn Write) -> fmt::Result;

const FILES: &[(&str, Render)] = &[
    ("maps", maps),
    ("oom_score", oom_score),
    ("oom_score_adj", oom_score_adj),
    ("smaps", smaps),
    ("status", status),
];

/// The file of a context at `path`.
pub fn find(path: &str) -> Option<(Render, Context)> {
    let (who, name) = path.strip_prefix("/proc/")?.split_once('/')?;
    let (_, render) = FILES.iter().find(|(known, _)| *known == name)?;
    let pid = match who {
        "self" => context::chosen()?,
        number => number.parse().ok()?,
    };
    Some((*render, context::find(pid)?))
}

/// Passes the path of each file to `visit`.
pub fn paths(visit: &mut dyn FnMut(fmt::Arguments<'_>)) {
    for context in context::all() {
        FILES.iter().for_each(|(name, _)| visit(format_args!("/proc/{}/{name}", context.pid())));
    }
}

/// The areas of a context, one after the other; none is locked while it is shown.
pub fn areas(context: &Context) -> impl Iterator<Item = VmaInit> {
    let mut at = 0;
    core::iter::from_fn(move || {
        let area = VM.area_from(context.mm(), VirtAddr::new(at << PAGE_SHIFT)?)?;
        at = area.end;
        Some(area)
    })
}

/// Shows the areas of a context, one after the other, each with the file behind it; none is locked meanwhile.
fn each_area(
    context: &Context,
    mut visit: impl FnMut(&VmaInit, Option<&OpenFile<'static>>) -> fmt::Result,
) -> fmt::Result {
    let mut at = 0;
    while let Some(va) = VirtAddr::new(at << PAGE_SHIFT) {
        let visited = VM.with_area(context.mm(), va, |area, file| {
            at = area.end;
            visit(area, file)
        });
        match visited {
            None => return Ok(()),
            Some(result) => result?,
        }
    }
    Ok(())
}

/// The bits of an area as Linux has them: a file that cannot be written is never shared, whatever was asked for.
fn flags(area: &VmaInit, file: Option<&OpenFile<'static>>) -> u64 {
    let mut flags = u64::from(area.flags.bits()) | MAY_ALL;
    if area.flags.contains(VmFlags::SHARED) {
        flags |= MAY_SHARE;
        if file.is_some_and(|file| !file.mode().contains(FileMode::WRITE)) {
            flags &= !(MAY_WRITE | u64::from(VmFlags::SHARED.bits()));
        }
    }
    flags
}

fn line<'a>(area: &VmaInit, file: Option<&OpenFile<'static>>, path: &'a mut Text<PATH>) -> MapsArea<'a> {
    let (start, end, flags) = (area.start << PAGE_SHIFT, area.end << PAGE_SHIFT, flags(area, file));
    if let Some(inode) = file.map(OpenFile::inode) {
        // What does not fit is cut off.
        let _ = files::write_path(inode, path);
        let (offset, device, inode) = (area.pgoff << PAGE_SHIFT, files::device(inode), inode.number());
        return MapsArea { start, end, flags, offset, device, inode, name: path.as_str() };
    }
    let is_shmem = matches!(area.backing, Backing::Shmem(_));
    let name = if is_shmem { "/dev/zero (deleted)" } else { area.kind.name() };
    // Anonymous memory is at no place in a file.
    MapsArea { start, end, flags, name, ..MapsArea::default() }
}

/// `/proc/PID/maps`.
///
/// # Errors
/// Those of `w`.
pub fn maps(context: &Context, w: &mut dyn Write) -> fmt::Result {
    each_area(context, |area, file| write_area(w, &line(area, file, &mut Text::new())))
}

/// Whether a first touch in the area may be given a huge page.
fn is_eligible(area: &VmaInit) -> bool {
    let allowed = match VM.settings().thp() {
        ThpMode::Always => !area.flags.contains(VmFlags::NOHUGEPAGE),
        ThpMode::Madvise => area.flags.contains(VmFlags::HUGEPAGE),
        ThpMode::Never => false,
    };
    let huge = Level::PMD.pages();
    let first = area.start.next_multiple_of(huge);
    allowed && area.backing == Backing::Anon && first + huge <= area.end
}

fn smaps(context: &Context, w: &mut dyn Write) -> fmt::Result {
    each_area(context, |area, file| {
        let has = VM.resident(context.mm(), area.start, area.end);
        let pss = kb(has.pss) / PSS_UNITS;
        let smap = Smap {
            page_size: kb(area.backing.pages()),
            rss: kb(has.rss),
            pss,
            pss_dirty: kb(has.pss_dirty) / PSS_UNITS,
            shared_clean: kb(has.shared_clean),
            shared_dirty: kb(has.shared_dirty),
            private_clean: kb(has.private_clean),
            private_dirty: kb(has.private_dirty),
            referenced: kb(has.referenced),
            anonymous: kb(has.anonymous),
            lazy_free: kb(has.lazy_free),
            anon_huge_pages: kb(has.huge),
            shared_hugetlb: kb(has.shared_hugetlb),
            private_hugetlb: kb(has.private_hugetlb),
            swap: kb(has.swap),
            swap_pss: kb(has.swap_pss) / PSS_UNITS,
            locked: if area.flags.contains(VmFlags::LOCKED) { pss } else { 0 },
            thp_eligible: is_eligible(area),
        };
        write_smap(w, &line(area, file, &mut Text::new()), &smap)
    })
}

fn status(context: &Context, w: &mut dyn Write) -> fmt::Result {
    let (counters, name) = (context.mm().counters(), context.name());
    let usage = |usage| kb(counters.usage(usage));
    let status = Status {
        name: name.as_str(),
        pid: context.pid(),
        vm_peak: kb(counters.peak()),
        vm_size: usage(Usage::Total),
        vm_lck: usage(Usage::Locked),
        vm_hwm: kb(counters.high_water()),
        rss_anon: kb(counters.rss(Rss::Anon)),
        rss_file: kb(counters.rss(Rss::File)),
        rss_shmem: kb(counters.rss(Rss::Shmem)),
        vm_data: usage(Usage::Data),
        vm_stk: usage(Usage::Stack),
        // All code is the context's own.
        vm_exe: usage(Usage::Exec),
        vm_lib: 0,
        // As Linux counts them, without the root.
        vm_pte: kb(counters.tables().saturating_sub(1)),
        vm_swap: kb(counters.rss(Rss::Swap)),
        hugetlb_pages: kb(counters.hugetlb()),
        thp_enabled: VM.settings().thp() != ThpMode::Never,
    };
    status.write(w)
}

fn oom_score(context: &Context, w: &mut dyn Write) -> fmt::Result {
    writeln!(w, "{}", oom::score(context))
}

fn oom_score_adj(context: &Context, w: &mut dyn Write) -> fmt::Result {
    writeln!(w, "{}", context.oom_score_adj())
}
