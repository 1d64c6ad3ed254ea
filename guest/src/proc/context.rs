//! `/proc/PID`: the memory of a context. `/proc/self` is the context that commands work on.

use super::kb;
use crate::context::{self, Context, oom};
use crate::memory::vm::VM;
use core::fmt::{self, Write};
use mm::addr::{PAGE_SHIFT, VirtAddr};
use mm::port::Level;
use mm::space::{PSS_UNITS, Rss, ThpMode, Usage};
use mm::vma::{Backing, VmFlags, VmaInit};
use shared::text::maps::{MAY_ALL, MapsArea, Smap, write_area, write_smap};
use shared::text::status::Status;

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

fn line(area: &VmaInit) -> MapsArea<'static> {
    MapsArea {
        start: area.start << PAGE_SHIFT,
        end: area.end << PAGE_SHIFT,
        flags: u64::from(area.flags.bits()) | MAY_ALL,
        // Anonymous memory is at no place in a file.
        offset: 0,
        inode: 0,
        name: if matches!(area.backing, Backing::Shmem(_)) {
            "/dev/zero (deleted)"
        } else {
            area.kind.name()
        },
    }
}

/// `/proc/PID/maps`.
///
/// # Errors
/// Those of `w`.
pub fn maps(context: &Context, w: &mut dyn Write) -> fmt::Result {
    areas(context).try_for_each(|area| write_area(w, &line(&area)))
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
    areas(context).try_for_each(|area| {
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
            // Shared memory has an object behind it, as a file has.
            anonymous: if matches!(area.backing, Backing::Shmem(_)) { 0 } else { kb(has.rss) },
            anon_huge_pages: kb(has.huge),
            shared_hugetlb: kb(has.shared_hugetlb),
            private_hugetlb: kb(has.private_hugetlb),
            swap: kb(has.swap),
            swap_pss: kb(has.swap_pss) / PSS_UNITS,
            locked: if area.flags.contains(VmFlags::LOCKED) { pss } else { 0 },
            thp_eligible: is_eligible(&area),
        };
        write_smap(w, &line(&area), &smap)
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
