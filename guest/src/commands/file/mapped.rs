//! Files through mappings: `file mmap-sum`, `file mmap-write`.
//!
//! Each maps the file in a context of its own, which is gone when the command ends.

use super::open::with;
use super::write::{Job, byte_at};
use super::{failed, path};
use crate::commands::support::parse;
use crate::commands::vm::Scratch;
use crate::commands::{Args, Outcome};
use crate::console;
use crate::memory::slab::FRAMES;
use crate::memory::vm::{RECLAIM, STAT, VM};
use crc32fast::Hasher;
use mm::addr::{PAGE_SHIFT, PAGE_SIZE, VirtAddr};
use mm::cache::FileMode;
use mm::errno::Errno;
use mm::space::{MapRequest, Rss};
use mm::vma::VmFlags;
use mm::vmstat::{NodeStat, VmEvent};

const KB: u64 = PAGE_SIZE / 1024;

/// What a command moves: faults, major ones, sectors that were read, pages of the cache.
fn counts() -> [u64; 4] {
    let [faults, major, sectors] =
        [VmEvent::PgFault, VmEvent::PgMajFault, VmEvent::PgPgIn].map(|event| STAT.event(event));
    [faults, major, sectors, STAT.total(NodeStat::FilePages)]
}

/// Prints how much of each there was.
fn print_counts(before: [u64; 4], resident: u64) {
    let mut more = counts();
    more.iter_mut().zip(before).for_each(|(now, before)| *now = now.saturating_sub(before));
    let [faults, major, sectors, pages] = more;
    console::print(format_args!(
        " pgfault=+{faults} pgmajfault=+{major} disk_kb={} cached_kb=+{} rss_file_kb={}\n",
        sectors / 2,
        pages * KB,
        resident * KB
    ));
}

/// `file mmap-sum PATH [locked]`: the sum of all its bytes as a mapping shows them; locked: whose pages stay in memory.
pub fn sum(args: &mut Args<'_>) -> Outcome {
    let path = path(args)?;
    let locked = match args.next_word() {
        None => false,
        Some("locked") => true,
        Some(word) => return Err(parse::unexpected("file mmap-sum", word)),
    };
    with(path, |file| {
        let (before, bytes) = (counts(), file.inode().size());
        if bytes == 0 {
            return Err(failed(path, Errno::Einval));
        }
        let scratch = Scratch::new("mmap-sum")?;
        let at = scratch.map(&MapRequest::file(file, 0, bytes, VmFlags::READ | VmFlags::SHARED), None)?;
        if locked {
            let (mm, start) = (scratch.context.mm(), VirtAddr::truncate(at));
            let lock = || VM.mlock_on_fault(mm, start, bytes.next_multiple_of(PAGE_SIZE), &FRAMES);
            RECLAIM.with_room(lock).map_err(|errno| failed(path, errno))?;
        }
        let crc = scratch.run(|| {
            // SAFETY: this runs in the context that has just mapped that much there, and nobody writes the file while this
            // command reads it.
            crc32fast::hash(unsafe { core::slice::from_raw_parts(at as *const u8, bytes as usize) })
        })?;
        console::print(format_args!("mapped={bytes} crc32=0x{crc:08x}"));
        print_counts(before, scratch.context.mm().counters().rss(Rss::File));
        Ok(())
    })?
}

/// `file mmap-write PATH SIZE [at=N] [seed=N]`: writes what `file write` does, through a shared mapping. The file does not grow.
pub fn write(args: &mut Args<'_>) -> Outcome {
    let path = path(args)?;
    let (job, expected) = Job::parse(args, "file mmap-write")?;
    if expected.is_some() {
        return Err(parse::unexpected("file mmap-write", "expect="));
    }
    with(path, |file| {
        let before = counts();
        let end = job.at.checked_add(job.bytes).filter(|end| *end <= file.inode().size() && job.bytes != 0);
        let end = end.ok_or_else(|| failed(path, Errno::Einval))?;
        if !file.mode().contains(FileMode::WRITE) {
            return Err(failed(path, Errno::Eacces));
        }
        let scratch = Scratch::new("mmap-write")?;
        let first = job.at >> PAGE_SHIFT;
        let rights = VmFlags::READ | VmFlags::WRITE | VmFlags::SHARED;
        let request = MapRequest::file(file, first, end - (first << PAGE_SHIFT), rights);
        let base = scratch.map(&request, None)? - (first << PAGE_SHIFT);
        let crc = scratch.run(|| {
            let mut hasher = Hasher::new();
            for pos in job.at..end {
                let byte = byte_at(job.seed, pos);
                hasher.update(&[byte]);
                // SAFETY: this runs in the context that has just mapped these bytes of the file there, writable.
                unsafe { ((base + pos) as *mut u8).write_volatile(byte) };
            }
            hasher.finalize()
        })?;
        console::print(format_args!("written={} crc32=0x{crc:08x}", job.bytes));
        print_counts(before, scratch.context.mm().counters().rss(Rss::File));
        Ok(())
    })?
}
