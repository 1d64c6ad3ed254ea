//! Reading: `file read`, `file fadvise`.

use super::open::with;
use super::{failed, path};
use crate::arch::time;
use crate::commands::support::{Random, parse};
use crate::commands::{Args, Outcome, usage};
use crate::console;
use crate::files::File;
use crate::memory::slab::FRAMES;
use crate::memory::vm::{CACHE, STAT, VM};
use core::ptr::NonNull;
use crc32fast::Hasher;
use mm::addr::PAGE_SIZE;
use mm::cache::FileAdvice;
use mm::errno::Errno;
use mm::vmstat::VmEvent;
use shared::exit::ExitStatus;

/// Bytes that a call reads, unless the command says otherwise.
const DEFAULT_CALL: u64 = PAGE_SIZE;

/// What is read, and how.
struct Job {
    at: u64,
    bytes: u64,
    /// Bytes of a call.
    call: u64,
    /// Calls go anywhere in the range, as this seed says.
    random: Option<u64>,
}

impl Job {
    /// The arguments after the path, for a file of `size` bytes.
    fn parse(args: &mut Args<'_>, size: u64) -> Result<Self, ExitStatus> {
        let (mut at, mut bytes, mut call, mut random, mut seed) = (0, None, DEFAULT_CALL, false, 1);
        while let Some(word) = args.next_word() {
            match parse::setting(word) {
                (text, None) if bytes.is_none() => bytes = Some(parse::size("size", text)?),
                ("at", Some(text)) => at = parse::size("at", text)?,
                ("bs", Some(text)) => call = parse::size("bs", text)?.max(1),
                ("seed", Some(text)) => seed = parse::number("seed", text)?,
                ("order", Some("random")) => random = true,
                _ => return Err(parse::unexpected("file read", word)),
            }
        }
        let bytes = bytes.unwrap_or(size.saturating_sub(at));
        Ok(Self { at, bytes, call, random: random.then_some(seed) })
    }

    /// Where the calls begin.
    fn calls(&self) -> impl Iterator<Item = u64> {
        let count = self.bytes.div_ceil(self.call);
        let mut random = self.random.map(Random::new);
        (0..count).map(move |n| {
            let n = random.as_mut().map_or(n, |random| random.below(count));
            self.at + n * self.call
        })
    }

    /// The pages of the range; it is not empty.
    fn pages(&self) -> (u64, u64) {
        let end = self.at.saturating_add(self.bytes.max(1));
        (self.at / PAGE_SIZE, (end - 1) / PAGE_SIZE)
    }
}

/// What a job has read.
struct Done {
    bytes: u64,
    crc: u32,
    ns: u64,
}

fn perform(file: &File, job: &Job) -> Result<Done, Errno> {
    let (mut hasher, mut total, start) = (Hasher::new(), 0, time::since_boot_ns());
    let end = job.at.saturating_add(job.bytes);
    for at in job.calls() {
        let mut sink = |from: NonNull<u8>, length: usize| {
            // SAFETY: the cache shows so many bytes of a page that it keeps meanwhile; nobody writes the file while this
            // command reads it.
            hasher.update(unsafe { core::slice::from_raw_parts(from.as_ptr(), length) });
        };
        total += CACHE.read(file, at, job.call.min(end - at), &FRAMES, &mut sink)?;
    }
    Ok(Done { bytes: total, crc: hasher.finalize(), ns: time::since_boot_ns() - start })
}

/// `file read PATH [SIZE] [at=N] [bs=4K] [order=random] [seed=N]`: pages of the range that were in memory are hits.
pub fn read(args: &mut Args<'_>) -> Outcome {
    let path = path(args)?;
    with(path, |file| {
        let job = Job::parse(args, file.inode().size())?;
        let (first, last) = job.pages();
        let cached = || CACHE.cachestat(file.inode(), first, last).cached;
        let (hit, sectors) = (cached(), STAT.event(VmEvent::PgPgIn));
        let done = perform(file, &job).map_err(|error| failed(path, error))?;
        let miss = cached().saturating_sub(hit);
        console::print(format_args!(
            "read={} crc32=0x{:08x} miss={miss} hit={hit} disk_kb={} us={}\n",
            done.bytes,
            done.crc,
            (STAT.event(VmEvent::PgPgIn) - sectors) / 2,
            done.ns / 1000
        ));
        Ok(())
    })?
}

/// `[at=N] [SIZE]`; no size is to the end.
fn range(args: &mut Args<'_>) -> Result<(u64, u64), ExitStatus> {
    let at = args.take_key("at").map_or(Ok(0), |text| parse::size("at", text))?;
    Ok((at, args.next_word().map_or(Ok(0), |text| parse::size("size", text))?))
}

/// `file fadvise PATH dontneed [at=N] [SIZE]`: whole pages only.
fn dont_need(path: &str, args: &mut Args<'_>) -> Outcome {
    let (at, bytes) = range(args)?;
    with(path, |file| {
        let gone = VM.dont_need(file, at, bytes, &FRAMES).map_err(|error| failed(path, error))?;
        console::print(format_args!("dropped={gone}\n"));
        Ok(())
    })?
}

/// `file fadvise PATH ADVICE [at=N] [SIZE]`
pub fn fadvise(args: &mut Args<'_>) -> Outcome {
    let path = path(args)?;
    let advice = match args.next_word().unwrap_or("") {
        "normal" => FileAdvice::Normal,
        "sequential" => FileAdvice::Sequential,
        "random" => FileAdvice::Random,
        "willneed" => FileAdvice::WillNeed,
        "dontneed" => return dont_need(path, args),
        other => {
            return Err(usage(format_args!(
                "file fadvise: expected normal, sequential, random, willneed or dontneed, not '{other}'"
            )));
        }
    };
    let (at, bytes) = range(args)?;
    with(path, |file| CACHE.fadvise(file, at, bytes, advice, &FRAMES))
}
