//! `bench cache`: reads of 4 KiB through the page cache.
//!
//! A page that is in memory, copied out, at random in a file; and one that is not: found missing, made, asked for, read.
//! The disk under the file does at once what it is asked for, and nothing, so that a miss is counted without its driver.

use super::Least;
use crate::commands::support::Random;
use crate::commands::{Outcome, fail};
use crate::console;
use crate::memory::slab::FRAMES;
use crate::memory::vm::{CACHE, IO};
use core::hint::black_box;
use core::ptr::NonNull;
use mm::addr::PAGE_SIZE;
use mm::cache::{FileAdvice, FileMode, FileSystem, OpenFile, Run};
use mm::errno::Errno;
use mm::port::{BlockDevice, IoError, IoRequest, Ledger, PAGE_SECTORS};
use shared::exit::ExitStatus;

/// Pages of the file.
const PAGES: u64 = 4096;
/// Reads of one round.
const READS: usize = 64;

/// A disk that has done everything.
pub(super) struct Idle(Ledger);

impl BlockDevice for Idle {
    fn name(&self) -> &str {
        "idle"
    }

    fn sectors(&self) -> u64 {
        PAGES * PAGE_SECTORS
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn max_pages(&self) -> usize {
        32
    }

    fn ledger(&self) -> &Ledger {
        &self.0
    }

    unsafe fn submit(&self, request: &IoRequest<'_>) -> Result<(), IoError> {
        // SAFETY: the request was made by `IO`, and ends here.
        unsafe { IO.end_io(request.cookie, Ok(())) };
        Ok(())
    }

    fn poll(&self, _: &mut dyn FnMut(u64, Result<(), IoError>)) {}
}

impl FileSystem for Idle {
    fn device(&self) -> &dyn BlockDevice {
        self
    }

    fn map(&self, _: u64, index: u64, pages: u64) -> Result<Run, Errno> {
        Ok(Run { sector: Some(index * PAGE_SECTORS), pages })
    }

    fn allocate(&self, _: u64, _: u64, _: u64) -> Result<(), Errno> {
        Err(Errno::Erofs)
    }

    fn set_size(&self, _: u64, _: u64) -> Result<(), Errno> {
        Err(Errno::Erofs)
    }

    fn written(&self, _: u64, _: u64) {}

    fn sync_inode(&self, _: u64, _: bool) -> Result<(), Errno> {
        Ok(())
    }
}

pub(super) static IDLE: Idle = Idle(Ledger::new());

/// Runs it.
pub fn cache(rounds: u64) -> Outcome {
    let failed = |error| fail(ExitStatus::CheckFailed, format_args!("bench cache: {error}"));
    let file = CACHE.open(&IDLE, 0, PAGES * PAGE_SIZE, FileMode::READ, &FRAMES).map_err(failed)?;
    let measured = measure(file, rounds);
    let inode = file.inode();
    // SAFETY: nobody uses the file any more; its inode has neither users nor pages then.
    unsafe {
        CACHE.close(file);
        (0..PAGES).for_each(|page| {
            CACHE.evict_page(inode, page);
        });
        CACHE.drop_inode(&IDLE, 0);
    }
    let (hit, miss) = measured.map_err(failed)?;
    console::print(format_args!("cache_read={hit} cache_miss={miss}\n"));
    Ok(())
}

fn measure(file: &'static OpenFile<'static>, rounds: u64) -> Result<(Least, Least), Errno> {
    let (mut hit, mut miss) = (Least::of(READS as u64), Least::of(READS as u64));
    // As often as it takes until every page is active.
    for _ in 0..4 {
        CACHE.read(file, 0, PAGES * PAGE_SIZE, &FRAMES, |_, _| {})?;
    }
    CACHE.fadvise(file, 0, 0, FileAdvice::Random, &FRAMES);
    let mut result = Ok(());
    for round in 0..rounds {
        let mut random = Random::new(round);
        let pages = [(); READS].map(|()| random.below(PAGES));
        let read_all = || pages.iter().try_for_each(|&page| read(file, page));
        hit.time(0, || result = read_all());
        result?;
        for page in pages {
            CACHE.evict_page(file.inode(), page);
        }
        miss.time(0, || result = read_all());
        result?;
    }
    Ok((hit, miss))
}

/// Reads page `page` of a file.
#[inline(always)]
pub fn read(file: &OpenFile<'static>, page: u64) -> Result<(), Errno> {
    let mut buffer = [const { core::mem::MaybeUninit::<u8>::uninit() }; PAGE_SIZE as usize];
    let copy = |from: NonNull<u8>, len: usize| {
        // SAFETY: the cache shows that many bytes, no more than a page of them.
        unsafe { from.as_ptr().copy_to_nonoverlapping(buffer.as_mut_ptr().cast(), len.min(buffer.len())) };
    };
    CACHE.read(file, black_box(page) * PAGE_SIZE, PAGE_SIZE, &FRAMES, copy)?;
    black_box(&buffer);
    Ok(())
}
