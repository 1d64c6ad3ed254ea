//! Around the cache: `file dread`, `file dwrite`.

use super::open::{with, with_writable};
use super::write::{Job, byte_at};
use super::{as_expected, failed, path};
use crate::commands::support::parse;
use crate::commands::{Args, Outcome, fail};
use crate::console;
use crate::files::File;
use crate::memory::areas::{self, AREAS};
use crate::memory::slab::FRAMES;
use crate::memory::vm::{CACHE, VM};
use crate::report;
use crc32fast::Hasher;
use mm::addr::{PAGE_SIZE, Pfn, VirtAddr};
use mm::errno::Errno;
use shared::exit::ExitStatus;

/// Pages of a call at most.
const PAGES: usize = 16;
/// Bytes of a call, unless the command says otherwise.
pub(super) const CALL: u64 = PAGES as u64 * PAGE_SIZE;

/// Memory for calls, page by page, so that there is some when large blocks are out; given back when dropped.
pub(super) struct Buffer {
    at: VirtAddr,
    pages: [Pfn; PAGES],
}

impl Buffer {
    /// Of a call.
    pub fn new() -> Result<Self, ExitStatus> {
        let failed = || fail(ExitStatus::OutOfMemory, format_args!("file: no memory for a buffer"));
        let at = areas::vmalloc(CALL).map_err(|_| failed())?;
        let mut buffer = Self { at, pages: [Pfn::from_u32(0); PAGES] };
        for (n, page) in (0..).zip(&mut buffer.pages) {
            *page = AREAS.frame_of(VirtAddr::truncate(at.get() + n * PAGE_SIZE)).ok_or_else(failed)?;
        }
        Ok(buffer)
    }

    /// Its pages.
    pub fn pages(&self) -> &[Pfn] {
        &self.pages
    }

    /// The first of its bytes.
    pub fn bytes(&mut self, length: u64) -> &mut [u8] {
        // SAFETY: the area is ours, and no request is on its way; a call is no longer than it is.
        unsafe { core::slice::from_raw_parts_mut(self.at.get() as *mut u8, length.min(CALL) as usize) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Err(error) = areas::vfree(self.at) {
            report::corruption(format_args!("Trying to vfree() a buffer: {error}"));
        }
    }
}

/// Goes through the job in calls; each does some bytes at a place, and says how many it has done.
fn each_call(job: &Job, mut call: impl FnMut(u64, u64) -> Result<u64, Errno>) -> Result<u64, Errno> {
    let mut total = 0;
    while total < job.bytes {
        match call(job.at + total, job.call.min(job.bytes - total)) {
            Ok(0) => break,
            Ok(bytes) => total += bytes,
            Err(error) if total == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(total)
}

/// The job after the path, for a file of `size` bytes, and the error that is expected; calls are no larger than the buffer.
fn parse<'a>(args: &mut Args<'a>, size: u64) -> Result<(Job, Option<&'a str>), ExitStatus> {
    let (mut job, mut bytes, mut expected) = (Job { at: 0, bytes: 0, call: CALL, seed: 1 }, None, None);
    while let Some(word) = args.next_word() {
        match parse::setting(word) {
            (text, None) if bytes.is_none() => bytes = Some(parse::size("size", text)?),
            ("at", Some(text)) => job.at = parse::size("at", text)?,
            ("bs", Some(text)) => job.call = parse::size("bs", text)?.clamp(1, CALL),
            ("seed", Some(text)) => job.seed = parse::number("seed", text)?,
            ("expect", Some(text)) => expected = Some(text),
            _ => return Err(parse::unexpected("file", word)),
        }
    }
    job.bytes = bytes.unwrap_or(size.saturating_sub(job.at));
    Ok((job, expected))
}

/// Pages of the job's range that are in memory.
fn cached(file: &File, job: &Job) -> u64 {
    let last = (job.at + job.bytes.max(1) - 1) / PAGE_SIZE;
    CACHE.cachestat(file.inode(), job.at / PAGE_SIZE, last).cached
}

/// `file dread PATH [SIZE] [at=N] [bs=64K] [expect=ERROR]`
pub fn read(args: &mut Args<'_>) -> Outcome {
    let path = path(args)?;
    with(path, |file| {
        let (job, expected) = parse(args, file.inode().size())?;
        let (mut buffer, mut hasher) = (Buffer::new()?, Hasher::new());
        let result = each_call(&job, |at, bytes| {
            // SAFETY: the frames are ours.
            let read = unsafe { VM.read_direct(file, at, buffer.pages(), bytes, &FRAMES) }?;
            hasher.update(buffer.bytes(read));
            Ok(read)
        });
        match result {
            Ok(bytes) => console::print(format_args!("dread={bytes} crc32=0x{:08x}\n", hasher.finalize())),
            Err(error) => console::print(format_args!("dread={error}\n")),
        }
        as_expected(path, result.map(|_| ()), expected)
    })?
}

/// `file dwrite PATH SIZE [at=N] [bs=64K] [seed=N] [expect=ERROR]`: as `file write`; pages that were in memory go.
pub fn write(args: &mut Args<'_>) -> Outcome {
    let path = path(args)?;
    with_writable(path, |file| {
        let (job, expected) = parse(args, 0)?;
        let (mut buffer, mut hasher, before) = (Buffer::new()?, Hasher::new(), cached(file, &job));
        let result = each_call(&job, |at, bytes| {
            let memory = buffer.bytes(bytes);
            memory.iter_mut().zip(at..).for_each(|(byte, pos)| *byte = byte_at(job.seed, pos));
            hasher.update(memory);
            // SAFETY: the frames are ours.
            unsafe { VM.write_direct(file, at, buffer.pages(), bytes, &FRAMES) }
        });
        match result {
            Ok(bytes) => console::print(format_args!(
                "dwritten={bytes} crc32=0x{:08x} invalidated={}\n",
                hasher.finalize(),
                before.saturating_sub(cached(file, &job))
            )),
            Err(error) => console::print(format_args!("dwritten={error}\n")),
        }
        match result {
            Ok(bytes) if bytes != job.bytes => Err(failed(path, Errno::Enospc)),
            result => as_expected(path, result.map(|_| ()), expected),
        }
    })?
}
