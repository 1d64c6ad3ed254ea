//! `vm contig`: addresses lie together, frames need not.

use super::not_mapped;
use super::session::{self, ended};
use super::touch::{mark, wrong_pages};
use crate::arch::percpu;
use crate::commands::areas::Fragments;
use crate::commands::support::parse;
use crate::commands::{Args, Outcome, fail};
use crate::console;
use crate::context;
use crate::memory::slab::FRAMES;
use crate::memory::vm::VM;
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::space::{Advice, MapRequest};
use shared::exit::ExitStatus;

/// `vm contig N [fragmented]`: maps N pages, writes them in order, and counts the runs of frames behind them.
pub fn contig(args: &mut Args<'_>) -> Outcome {
    let pages = parse::count("count", args.next_word().unwrap_or(""))?;
    let fragments = args.take("fragmented").then(Fragments::make);
    session::with(|session| {
        let (context, bytes) = (session.context.clone(), pages.saturating_mul(PAGE_SIZE));
        let mm = context.mm();
        let at = VM.mmap(mm, &MapRequest::anon(bytes), &FRAMES).map_err(|errno| not_mapped(errno, bytes))?;
        let small = VM.madvise(mm, at, bytes, Advice::NoHugePage, &FRAMES);
        small.map_err(|errno| not_mapped(errno, bytes))?;
        let start = at.get();
        let checked = context::run(&context, percpu::cpu(), || {
            for address in (start..start + bytes).step_by(PAGE_SIZE as usize) {
                // SAFETY: the page was just mapped in the context, where nobody else has anything.
                unsafe { (address as *mut u64).write_volatile(mark(address, pages)) };
            }
            wrong_pages(start, pages, pages)
        });
        let wrong = match checked {
            Ok(wrong) => wrong,
            Err(failure) => return ended(failure),
        };
        let mut last = None;
        let mut runs = 0;
        for page in 0..pages {
            let pfn =
                mm.tree().translate(VirtAddr::truncate(start + page * PAGE_SIZE)).map(|pa| pa.pfn().get());
            runs += u64::from(pfn.is_none() || pfn != last.map(|last: u64| last + 1));
            last = pfn;
        }
        VM.munmap(mm, at, bytes, &FRAMES).map_err(|errno| super::refused(errno, ""))?;
        drop(fragments);
        let sum = if wrong == 0 { "ok" } else { "wrong" };
        console::print(format_args!("va=contiguous pages={pages} phys_runs={runs} sum={sum}\n"));
        if wrong == 0 {
            Ok(())
        } else {
            Err(fail(ExitStatus::CheckFailed, format_args!("vm contig: {wrong} pages")))
        }
    })
}
