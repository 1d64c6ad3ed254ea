//! Writing: `file write`, `file truncate`, `file fsync`, `file fdatasync`, `sync`.

use super::open::{with, with_writable};
use super::{as_expected, failed, path};
use crate::arch::time;
use crate::commands::support::parse;
use crate::commands::{Args, Outcome, fail};
use crate::console;
use crate::files::File;
use crate::memory::slab::FRAMES;
use crate::memory::vm::{CACHE, STAT, VM};
use core::ptr::NonNull;
use crc32fast::Hasher;
use mm::addr::PAGE_SIZE;
use mm::errno::Errno;
use mm::vmstat::NodeStat;
use shared::exit::ExitStatus;

/// Bytes that a call writes, unless the command says otherwise.
const DEFAULT_CALL: u64 = PAGE_SIZE;

/// What is written, and how.
pub(super) struct Job {
    pub(super) at: u64,
    pub(super) bytes: u64,
    pub(super) call: u64,
    pub(super) seed: u64,
}

impl Job {
    /// The words after the path, and the error that is expected.
    pub(super) fn parse<'a>(
        args: &mut Args<'a>,
        command: &str,
    ) -> Result<(Self, Option<&'a str>), ExitStatus> {
        let (mut job, mut expected) = (Self { at: 0, bytes: 0, call: DEFAULT_CALL, seed: 1 }, None);
        job.bytes = parse::size("size", args.next_word().unwrap_or(""))?;
        while let Some(word) = args.next_word() {
            match parse::setting(word) {
                ("at", Some(text)) => job.at = parse::size("at", text)?,
                ("bs", Some(text)) => job.call = parse::size("bs", text)?.max(1),
                ("seed", Some(text)) => job.seed = parse::number("seed", text)?,
                ("expect", Some(text)) => expected = Some(text),
                _ => return Err(parse::unexpected(command, word)),
            }
        }
        Ok((job, expected))
    }
}

/// The byte at `pos` of what a seed makes (the finalizer of SplitMix64).
pub(super) fn byte_at(seed: u64, pos: u64) -> u8 {
    let mut z = seed.wrapping_add((pos / 8 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> (pos % 8 * 8)) as u8
}

/// What a job has written.
struct Done {
    bytes: u64,
    crc: u32,
    /// The most that was dirty or being written after a call, in thousandths of the limit at that time.
    peak: u64,
}

fn perform(file: &File, job: &Job) -> Result<Done, Errno> {
    let (mut hasher, mut total, mut peak) = (Hasher::new(), 0, 0);
    while total < job.bytes {
        let from = job.at + total;
        let mut at = from;
        let written =
            VM.write(file, from, job.call.min(job.bytes - total), &FRAMES, |to: NonNull<u8>, length| {
                for n in 0..length {
                    let byte = byte_at(job.seed, at + n as u64);
                    hasher.update(&[byte]);
                    // SAFETY: the cache gives so many bytes of a page that it keeps meanwhile.
                    unsafe { to.as_ptr().add(n).write_volatile(byte) };
                }
                at += length as u64;
            });
        match written {
            Ok(0) => break,
            Ok(bytes) => total += bytes,
            Err(error) if total == 0 => return Err(error),
            Err(_) => break,
        }
        let dirty = STAT.total(NodeStat::Dirty) + STAT.total(NodeStat::Writeback);
        peak = peak.max(dirty * 1000 / VM.dirty_limits().limit.max(1));
    }
    Ok(Done { bytes: total, crc: hasher.finalize(), peak })
}

/// `file write PATH SIZE [at=N] [bs=4K] [seed=N] [expect=ERROR]`: the file grows if it is shorter. Less than SIZE where there is
/// no room, which is `ENOSPC`.
pub fn write(args: &mut Args<'_>) -> Outcome {
    let path = path(args)?;
    let (job, expected) = Job::parse(args, "file write")?;
    with_writable(path, |file| {
        let (paused, start) = (CACHE.dirty().throttle.paused(), time::since_boot_ns());
        let Done { bytes, crc, peak } = perform(file, &job).map_err(|error| failed(path, error))?;
        console::print(format_args!(
            "written={bytes} crc32=0x{crc:08x} dirty_kb={} writeback_kb={} peak_permille={peak} throttled={} us={}\n",
            STAT.total(NodeStat::Dirty) * 4,
            STAT.total(NodeStat::Writeback) * 4,
            CACHE.dirty().throttle.paused() - paused,
            (time::since_boot_ns() - start) / 1000
        ));
        as_expected(path, if bytes == job.bytes { Ok(()) } else { Err(Errno::Enospc) }, expected)
    })?
}

/// `file truncate PATH SIZE`
pub fn truncate(args: &mut Args<'_>) -> Outcome {
    let path = path(args)?;
    let size = parse::size("size", args.next_word().unwrap_or(""))?;
    with_writable(path, |file| {
        VM.truncate(file, size, &FRAMES).map_err(|error| failed(path, error))?;
        console::print(format_args!("truncated={size}\n"));
        Ok(())
    })?
}

/// `file fsync PATH [expect=EIO]`: with `expect` the error is what should come.
pub fn fsync(args: &mut Args<'_>, data_only: bool) -> Outcome {
    let path = path(args)?;
    let expected = args.take_key("expect");
    with(path, |file| {
        let start = time::since_boot_ns();
        let result = VM.fsync(file, data_only, &FRAMES);
        let us = (time::since_boot_ns() - start) / 1000;
        match result {
            Ok(()) => console::print(format_args!("fsync=0 us={us}\n")),
            Err(error) => console::print(format_args!("fsync={error} us={us}\n")),
        }
        as_expected(path, result, expected)
    })?
}

/// `file sync`: everything that was written is stable.
pub fn sync() -> Outcome {
    VM.sync_all(&FRAMES).map_err(|error| fail(ExitStatus::CheckFailed, format_args!("sync: {error}")))?;
    console::print(format_args!("synced dirty_kb={}\n", STAT.total(NodeStat::Dirty) * 4));
    Ok(())
}
