//! The parts that every context has: `vm poke`, `stack grow`.

use super::refused;
use super::session::{self, Session, ended};
use crate::arch::{percpu, touch};
use crate::commands::support::parse;
use crate::commands::{Args, Outcome, usage};
use crate::console;
use crate::context::{self, Failure};
use crate::memory::vm::VM;
use core::sync::atomic::{AtomicU64, Ordering};
use mm::addr::{PAGE_SHIFT, PAGE_SIZE, VirtAddr};
use mm::space::{Errno, Usage};
use mm::vma::{VmaInit, VmaKind};
use shared::exit::ExitStatus;

/// The last area of a kind: of data, what can be written.
fn area(session: &Session, kind: VmaKind) -> Result<VmaInit, ExitStatus> {
    let (mut at, mut found) = (0, None);
    while let Some(area) = VM.area_from(session.context.mm(), VirtAddr::truncate(at << PAGE_SHIFT)) {
        found = Some(area).filter(|area| area.kind == kind).or(found);
        at = area.end;
    }
    found.ok_or_else(|| refused(Errno::Enomem, "the context has no such part"))
}

/// `vm poke text|data|heap|stack`: writes the first byte of that part.
pub fn poke(args: &mut Args<'_>) -> Outcome {
    let kind = match args.next_word() {
        Some("text") => VmaKind::Text,
        Some("data") => VmaKind::Data,
        Some("heap") => VmaKind::Heap,
        Some("stack") => VmaKind::Stack,
        other => {
            let other = other.unwrap_or("nothing");
            return Err(usage(format_args!("vm poke: expected text, data, heap or stack, not '{other}'")));
        }
    };
    session::with(|session| {
        let at = area(session, kind)?.start << PAGE_SHIFT;
        // SAFETY: the task is one of a context, and the address is in an area of it.
        match context::run(&session.context, percpu::cpu(), || unsafe { touch::store(at, 1) }) {
            Ok(()) => {
                console::print(format_args!("poked addr={at:#x}\n"));
                Ok(())
            }
            Err(failure) => ended(failure),
        }
    })
}

/// `stack grow SIZE`: touches the stack, page by page from its end down, until it is that large.
pub fn stack(args: &mut Args<'_>) -> Outcome {
    if !args.take("grow") {
        return Err(usage(format_args!("stack: expected grow SIZE")));
    }
    let bytes = parse::size("size", args.next_word().unwrap_or(""))?.next_multiple_of(PAGE_SIZE);
    session::with(|session| {
        let top = area(session, VmaKind::Stack)?.end << PAGE_SHIFT;
        let last = AtomicU64::new(top);
        let grown = context::run(&session.context, percpu::cpu(), || {
            for page in 1..=bytes / PAGE_SIZE {
                let at = top.saturating_sub(page * PAGE_SIZE);
                last.store(at, Ordering::Relaxed);
                // SAFETY: the task is one of a context; below its stack is nothing of anybody else's.
                unsafe { touch::store(at, 1) };
            }
        });
        if let Err(failure) = grown {
            if matches!(failure, Failure::Killed(_)) {
                console::print(format_args!("stack guard hit at {:#x}\n", last.load(Ordering::Relaxed)));
            }
            return ended(failure);
        }
        let kb = session.context.mm().counters().usage(Usage::Stack) * (PAGE_SIZE / 1024);
        console::print(format_args!("stack=ok grown={bytes} VmStk={kb} kB\n"));
        Ok(())
    })
}
