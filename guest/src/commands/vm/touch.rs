//! Reading and writing a context's memory, and checking what was written.
//!
//! A page that was touched holds in its first word a number that its address and its mapping's tag make, so a page that
//! was lost, mixed up or shared by mistake is seen.

use super::session::{self, Mapping, Session, ended};
use super::{not_mapped, refused};
use crate::arch::percpu::{self, MAX_CPUS};
use crate::arch::{smp, touch as arch_touch};
use crate::commands::support::parse;
use crate::commands::{Args, Outcome, fail, usage};
use crate::console;
use crate::context::{self, Place};
use crate::memory::slab::FRAMES;
use crate::memory::vm::{STAT, VM};
use crate::task;
use mm::addr::PAGE_SIZE;
use mm::space::{MapRequest, Usage};
use mm::vmstat::VmEvent;
use shared::exit::ExitStatus;

const KB: u64 = PAGE_SIZE / 1024;

/// What the page at `address` holds of a mapping with `tag`.
pub fn mark(address: u64, tag: u64) -> u64 {
    (address ^ tag.rotate_left(40)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

/// `vm touch SIZE`: maps so much and writes every page; `vm touch N/M`: writes that part of the last mapping. With
/// `all` the CPUs share the work, with `cpu=N` that one does it.
pub fn touch(args: &mut Args<'_>) -> Outcome {
    let word = args.next_word().unwrap_or("");
    let part = word.split_once('/');
    let size = if part.is_none() { Some(parse::size("size", word)?) } else { None };
    let cpus = if args.take("all") { smp::online() } else { 1 };
    let first = args.take_key("cpu").map_or(Ok(percpu::cpu().into()), |text| parse::number("cpu", text))?;
    session::with(|session| {
        if let Some(bytes) = size {
            let at = VM.mmap(session.context.mm(), &MapRequest::anon(bytes), &FRAMES);
            let start = at.map_err(|errno| not_mapped(errno, bytes))?.get();
            let bytes = bytes.next_multiple_of(PAGE_SIZE);
            session.add(Mapping { start, bytes, ..Mapping::default() });
        }
        let mapping = *session.last().ok_or_else(|| usage(format_args!("vm touch: nothing is mapped")))?;
        let pages = match part {
            None => mapping.bytes / PAGE_SIZE,
            Some((n, of)) => {
                let (n, of) = (parse::count("part", n)?, parse::count("part", of)?);
                (mapping.bytes / PAGE_SIZE).saturating_mul(n) / of
            }
        };
        write_pages(session, pages.min(mapping.bytes / PAGE_SIZE), first as u32, cpus)
    })
}

/// Writes the first `pages` pages of the mapping made last on `cpus` CPUs, from CPU `first` on, and counts what that
/// takes.
fn write_pages(session: &mut Session, pages: u64, first: u32, cpus: u32) -> Outcome {
    let events = [VmEvent::PgFault, VmEvent::PgMajFault, VmEvent::ThpFaultAlloc];
    let before = events.map(|event| STAT.event(event));
    let (context, tag) = (session.context.clone(), u64::from(session.context.pid()));
    let Some(mapping) = session.last() else { return Ok(()) };
    let start = mapping.start;
    let place = |n| Place { context: &context, cpu: (first + n) % smp::online() };
    let places: [_; MAX_CPUS] = core::array::from_fn(|n| place(n as u32));
    let write = |n: usize| {
        for page in (n as u64..pages).step_by(cpus as usize) {
            let at = start + page * PAGE_SIZE;
            // SAFETY: the page is in the context's part of the address space, where only the context has anything.
            unsafe { (at as *mut u64).write_volatile(mark(at, tag)) };
        }
    };
    let places = places.get(..cpus as usize).unwrap_or(&places);
    let done = context::run_each(places, &|n| task::workload(|| write(n)));
    if let Err(failure) = done {
        return ended(failure);
    }
    (mapping.marked, mapping.tag) = (pages, tag);
    let [faults, major, huge] = events.map(|event| STAT.event(event));
    console::print(format_args!(
        "touched={pages} pgfault=+{} pgmajfault=+{} thp_fault_alloc=+{}\n",
        faults - before[0],
        major - before[1],
        huge - before[2]
    ));
    Ok(())
}

fn address(args: &mut Args<'_>) -> Result<u64, ExitStatus> {
    parse::number("address", args.next_word().unwrap_or(""))
}

/// `vm read ADDR`: the byte there.
pub fn read(args: &mut Args<'_>) -> Outcome {
    let at = address(args)?;
    session::with(|session| {
        // SAFETY: the task is one of a context.
        match context::run(&session.context, percpu::cpu(), || unsafe { arch_touch::load(at) }) {
            Ok(value) => {
                console::print(format_args!("read addr={at:#x} value={value:#04x}\n"));
                Ok(())
            }
            Err(failure) => ended(failure),
        }
    })
}

/// `vm write ADDR [BYTE]`: writes it, in what is the context's.
pub fn write(args: &mut Args<'_>) -> Outcome {
    let at = address(args)?;
    let value = args.next_word().map_or(Ok(0), |word| parse::number("byte", word))? as u8;
    if at >= mm::space::layout::TASK_SIZE && mm::addr::VirtAddr::new(at).is_some_and(|va| va.is_canonical(4))
    {
        return Err(refused(mm::space::Errno::Efault, "an address of the kernel"));
    }
    session::with(|session| {
        // SAFETY: the address is no address of the kernel, so the context's or nobody's.
        match context::run(&session.context, percpu::cpu(), || unsafe { arch_touch::store(at, value) }) {
            Ok(()) => {
                console::print(format_args!("written addr={at:#x} value={value:#04x}\n"));
                Ok(())
            }
            Err(failure) => ended(failure),
        }
    })
}

/// Counts pages of a mapping, the first `pages` from `start` on, that do not hold what was written.
pub fn wrong_pages(start: u64, pages: u64, tag: u64) -> u64 {
    let pages = (0..pages).map(|page| start + page * PAGE_SIZE);
    // SAFETY: the mapping was written in this context; a page that is gone is a fault, which ends the task.
    pages.filter(|at| unsafe { (*at as *const u64).read_volatile() } != mark(*at, tag)).count() as u64
}

/// `vm verify`: what was written is there, and the context's structures agree with each other.
pub fn verify(_: &mut Args<'_>) -> Outcome {
    session::with(|session| {
        let mappings = session.mappings();
        let checked: u64 = mappings.iter().map(|mapping| mapping.marked).sum();
        let sum = || mappings.iter().map(|part| wrong_pages(part.start, part.marked, part.tag)).sum::<u64>();
        let wrong = match context::run(&session.context, percpu::cpu(), sum) {
            Ok(wrong) => wrong,
            Err(failure) => return ended(failure),
        };
        let verdict = VM.verify(session.context.mm());
        let census =
            verdict.map_err(|what| fail(ExitStatus::Corruption, format_args!("vm verify: {what}")))?;
        let result = if wrong == 0 { "ok" } else { "wrong" };
        console::print(format_args!(
            "verify={result} checked={checked} wrong={wrong} areas={} pages={} zero_pages={}\n",
            census.areas, census.pages, census.zero_pages
        ));
        if wrong == 0 { Ok(()) } else { Err(ExitStatus::CheckFailed) }
    })
}

/// `rss`: what is mapped and resident beyond what a new context has.
pub fn rss(_: &mut Args<'_>) -> Outcome {
    session::with(|session| {
        let counters = session.context.mm().counters();
        let more = |now: u64, base: u64| (now as i64 - base as i64) * KB as i64;
        let size = more(counters.usage(Usage::Total), session.base.0);
        let resident = more(counters.resident(), session.base.1);
        console::print(format_args!("VmSize {size:+} kB VmRSS {resident:+} kB\n"));
        Ok(())
    })
}
