//! `fault flavours`: each way that a page fault can take is driven once, and counted.
//!
//! Anonymous memory, shared memory and pools always; files where the root volume has a large enough one, swap where there is
//! some. Faults are major if and only if I/O was started for them.

use super::scratch::{self, Scratch};
use crate::commands::{Outcome, fail};
use crate::console;
use crate::context::trace::{self, HANDLERS};
use crate::files::{self, File};
use crate::memory::slab::FRAMES;
use crate::memory::vm::{CACHE, RECLAIM, STAT, SWAP, VM};
use crate::text::Text;
use core::fmt::Write;
use core::ptr::NonNull;
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::cache::FileMode;
use mm::port::Level;
use mm::space::{Advice, MapRequest, Rss, ThpMode};
use mm::vma::{Backing, VmFlags};
use mm::vmstat::VmEvent;
use shared::exit::ExitStatus;

const HUGE: u64 = Level::PMD.size();
/// Pages of a file that is large enough, and the one that is touched: what is read around it ends behind the window that is
/// mapped around it.
const FILE_PAGES: u64 = 64;
const TOUCHED: u64 = 28;

/// Drives each way that there is once, and counts.
pub fn flavours() -> Outcome {
    anonymous()?;
    others()
}

fn anonymous() -> Outcome {
    let events = || [VmEvent::PgFault, VmEvent::PgMajFault].map(|event| STAT.event(event));
    let (counts, [faults, major]) = (trace::counts(), events());
    let parent = Scratch::new("flavours")?;
    let at = parent.map_overlay(2)?;
    parent.run(|| scratch::load(at))?;
    let written = at + PAGE_SIZE;
    parent.run(|| scratch::store(written, 1))?;
    let child = parent.clone_as("flavours-clone")?;
    child.run(|| scratch::store(written, 2))?;
    drop(child);
    parent.run(|| scratch::store(written, 3))?;
    let has_thp = VM.settings().thp() != ThpMode::Never;
    if has_thp {
        let huge = parent.map(&MapRequest::anon(2 * HUGE), Some(Advice::HugePage))?;
        parent.run(|| scratch::store(huge, 1))?;
        parent.run(|| scratch::load(huge + HUGE))?;
    }
    let has_pool = map_pool_page(&parent)?;
    let anon = MapRequest::anon(PAGE_SIZE);
    let shared = parent.map(&MapRequest { vm: anon.vm | VmFlags::SHARED, ..anon }, None)?;
    parent.run(|| scratch::store(shared, 1))?;
    drop(parent);

    let mut after = trace::counts();
    after.iter_mut().zip(counts).for_each(|(now, before)| *now -= before);
    let expected = [1, 1, 1, 1, u64::from(has_thp), u64::from(has_thp), u64::from(has_pool), 1];
    let driven = HANDLERS.iter().zip(after).take(expected.len());
    driven.for_each(|(name, count)| console::print(format_args!("{name}={count} ")));
    let [faults_now, major_now] = events();
    let (faults, major) = (faults_now - faults, major_now - major);
    console::print(format_args!("pgfault=+{faults} pgmajfault=+{major}\n"));
    let is_each_once = after.get(..expected.len()) == Some(&expected) && after.iter().sum::<u64>() == faults;
    if is_each_once && major == 0 {
        Ok(())
    } else {
        Err(fail(ExitStatus::CheckFailed, format_args!("fault flavours: a fault took another way")))
    }
}

/// Touches a page of the pool of 2 MiB pages, if it has one for us; whether it has.
fn map_pool_page(scratch: &Scratch) -> Result<bool, ExitStatus> {
    let pool = crate::memory::hugetlb::pool(HUGE).map(|pool| pool.counts(None));
    if pool.is_none_or(|counts| counts.free <= counts.reserved) {
        return Ok(false);
    }
    let anon = MapRequest::anon(HUGE);
    let request =
        MapRequest { vm: anon.vm | VmFlags::HUGETLB, backing: Backing::Hugetlb(Level::PMD), ..anon };
    let at = scratch.map(&request, None)?;
    scratch.run(|| scratch::store(at, 1))?;
    Ok(true)
}

/// A fault that was driven.
struct Way {
    name: &'static str,
    /// What it is in [`HANDLERS`].
    handlers: &'static [&'static str],
    is_major: bool,
}

/// How many faults took each way, and how many there were, major ones apart.
struct Counts([u64; HANDLERS.len()], u64, u64);

impl Counts {
    fn now() -> Self {
        Self(trace::counts(), STAT.event(VmEvent::PgFault), STAT.event(VmEvent::PgMajFault))
    }
}

impl Way {
    /// Does `touch`, which is to fault once, and this way.
    fn drive(&self, touch: impl FnOnce() -> Outcome) -> Outcome {
        let before = Counts::now();
        touch()?;
        let after = Counts::now();
        let (mut took, mut others) = (0, 0);
        for (name, (now, before)) in HANDLERS.iter().zip(after.0.iter().zip(before.0)) {
            *(if self.handlers.contains(name) { &mut took } else { &mut others }) += now - before;
        }
        let (faults, major) = (after.1 - before.1, after.2 - before.2);
        console::print(format_args!("{}={took} major={major}\n", self.name));
        if (took, others, faults, major) == (1, 0, 1, self.is_major.into()) {
            Ok(())
        } else {
            Err(fail(
                ExitStatus::CheckFailed,
                format_args!("fault flavours: {}: took another way", self.name),
            ))
        }
    }
}

/// The ways of files and of swap, each on a line of its own.
fn others() -> Outcome {
    if let Some(file) = suitable_file() {
        of_file(&file)?;
    }
    if SWAP.free_slots() != 0 {
        of_swap()?;
    }
    Ok(())
}

/// The first file of the root volume that is large enough.
fn suitable_file() -> Option<File> {
    let (_, volume) = files::volumes().ok()?.find(|(number, _)| *number == 0)?;
    let mut next = 0;
    loop {
        let facts = volume.file_from(next)?;
        next = facts.number + 1;
        if facts.entry.size() >= FILE_PAGES * PAGE_SIZE {
            let mut path = Text::<96>::new();
            write!(path, "/{}", facts.entry.name()).ok()?;
            return files::open_for_all(path.as_str()).ok();
        }
    }
}

fn of_file(file: &File) -> Outcome {
    let scratch = Scratch::new("flavours")?;
    let read = VmFlags::READ;
    let map = |vm| {
        // Nothing of it is in memory, so the first touch has to read.
        (0..FILE_PAGES).for_each(|page| _ = CACHE.evict_page(file.inode(), page));
        scratch.map(&MapRequest::file(file, 0, FILE_PAGES * PAGE_SIZE, vm), None)
    };
    let unmap = |at: u64| {
        let unmapped =
            VM.munmap(scratch.context.mm(), VirtAddr::truncate(at), FILE_PAGES * PAGE_SIZE, &FRAMES);
        unmapped.map_err(|errno| super::refused(errno, "munmap"))
    };
    let place = |at: u64| at + TOUCHED * PAGE_SIZE;
    let resident = || scratch.context.mm().counters().rss(Rss::File);

    let at = map(read)?;
    let way = Way { name: "read", handlers: &["read", "around"], is_major: true };
    way.drive(|| scratch.run(|| scratch::load(place(at))).map(drop))?;
    console::print(format_args!("around={}\n", resident() - 1));
    // What was read and not mapped with it is there: no I/O.
    let way = Way { name: "read_cached", handlers: &["read", "around"], is_major: false };
    way.drive(|| scratch.run(|| scratch::load(place(at) + 8 * PAGE_SIZE)).map(drop))?;
    unmap(at)?;

    let at = map(read | VmFlags::WRITE)?;
    let way = Way { name: "cow_file", handlers: &["cow_file"], is_major: true };
    way.drive(|| scratch.run(|| scratch::store(place(at), 1)))?;
    unmap(at)?;
    if file.mode().contains(FileMode::WRITE) {
        let word = first_word(file).map_err(|errno| super::refused(errno, "read"))?;
        let at = map(read | VmFlags::WRITE | VmFlags::SHARED)?;
        let way = Way { name: "shared_file", handlers: &["shared_file"], is_major: true };
        // What it holds already.
        way.drive(|| scratch.run(|| scratch::store(place(at), word)))?;
        unmap(at)?;
    }
    Ok(())
}

/// The first word of the page that is touched.
fn first_word(file: &File) -> Result<u64, mm::errno::Errno> {
    let mut word = [0; 8];
    CACHE.read(file, TOUCHED * PAGE_SIZE, 8, &FRAMES, |from: NonNull<u8>, length| {
        let length = length.min(word.len());
        // SAFETY: the cache shows so many bytes of a page that it keeps meanwhile; they lie in one page.
        unsafe { from.as_ptr().copy_to_nonoverlapping(word.as_mut_ptr(), length) };
    })?;
    Ok(u64::from_le_bytes(word))
}

/// A page that was sent to swap, and is nowhere else, is read.
fn of_swap() -> Outcome {
    let scratch = Scratch::new("flavours")?;
    let (at, mm) = (scratch.map_small(1)?, scratch.context.mm());
    scratch.run(|| scratch::store(at, 7))?;
    // It is written first, and gone when that is done.
    for _ in 0..2 {
        let sent = RECLAIM.page_out(mm, VirtAddr::truncate(at), PAGE_SIZE, &FRAMES);
        sent.map_err(|errno| super::refused(errno, "page_out"))?;
        VM.settle_swap(mm, VirtAddr::truncate(at), PAGE_SIZE);
    }
    let way = Way { name: "swap", handlers: &["do_swap_page"], is_major: true };
    way.drive(|| {
        let seen = scratch.run(|| scratch::load(at))?;
        if seen == 7 {
            Ok(())
        } else {
            Err(fail(ExitStatus::Corruption, format_args!("a page of swap is lost")))
        }
    })
}
