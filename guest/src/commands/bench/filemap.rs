//! `bench filemap`: reads of a file through a mapping, all of it in memory: each fault maps what lies around it.

use super::Least;
use super::cache::IDLE;
use super::fault::touch;
use crate::commands::{Outcome, fail};
use crate::console;
use crate::context;
use crate::memory::slab::FRAMES;
use crate::memory::vm::{CACHE, VM};
use mm::addr::PAGE_SIZE;
use mm::cache::{FileMode, OpenFile};
use mm::errno::Errno;
use mm::space::{MapRequest, Rss};
use mm::vma::VmFlags;
use shared::exit::ExitStatus;

/// Pages of the file.
const PAGES: u64 = 4096;
/// Its number; the other file of this disk is that of `bench cache`.
const NUMBER: u64 = 1;

/// Runs it.
pub fn filemap(rounds: u64) -> Outcome {
    let failed = |error| fail(ExitStatus::CheckFailed, format_args!("bench filemap: {error}"));
    let file = CACHE.open(&IDLE, NUMBER, PAGES * PAGE_SIZE, FileMode::READ, &FRAMES).map_err(failed)?;
    let mut cost = Least::of(PAGES / VM.settings().fault_around_pages());
    let measured = (0..rounds).try_for_each(|_| measure(file, &mut cost));
    let inode = file.inode();
    // SAFETY: nobody uses the file any more; its inode has neither users nor pages then.
    unsafe {
        CACHE.close(file);
        (0..PAGES).for_each(|page| {
            CACHE.evict_page(inode, page);
        });
        CACHE.drop_inode(&IDLE, NUMBER);
    }
    measured.map_err(failed)?;
    console::print(format_args!("file_fault={cost}\n"));
    Ok(())
}

/// Touches the file once in every window that a fault maps.
fn measure(file: &'static OpenFile<'static>, cost: &mut Least) -> Result<(), Errno> {
    let (window, bytes) = (VM.settings().fault_around_pages(), PAGES * PAGE_SIZE);
    // What was read ahead is marked until it is read.
    CACHE.read(file, 0, bytes, &FRAMES, |_, _| {})?;
    let context = context::create("bench")?;
    let mapped = VM.mmap(context.mm(), &MapRequest::file(file, 0, bytes, VmFlags::READ), &FRAMES);
    if let Ok(at) = mapped {
        cost.take(touch(&context, at, window * PAGE_SIZE, PAGES / window, false));
    }
    let resident = context.mm().counters().rss(Rss::File);
    context.kill();
    mapped.and(if resident == PAGES { Ok(()) } else { Err(Errno::Efault) })
}
