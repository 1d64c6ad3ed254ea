//! `fault`: the ways that page faults take.

use super::scratch::{self, Scratch};
use crate::commands::support::parse;
use crate::commands::{Args, Outcome, fail, usage};
use crate::console;
use crate::context::trace::{self, HANDLERS, Record};
use crate::memory::vm::{STAT, VM};
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::port::Level;
use mm::space::{Advice, MapRequest, ThpMode};
use mm::vma::{Backing, VmFlags};
use mm::vmstat::VmEvent;
use shared::exit::ExitStatus;

/// Faults that are listed when nobody says how many.
const DEFAULT_LINES: u64 = 16;
const MOST_LINES: usize = 64;
const HUGE: u64 = Level::PMD.size();

/// `fault flavours|trace [N]`.
pub fn fault(args: &mut Args<'_>) -> Outcome {
    match args.next_word() {
        Some("flavours") => flavours(),
        Some("trace") => show_trace(args),
        other => Err(usage(format_args!(
            "fault: expected flavours or trace, not '{}'",
            other.unwrap_or("nothing")
        ))),
    }
}

/// `fault trace [N]`: the last faults, the youngest at the end; `frame` is what the page has now.
fn show_trace(args: &mut Args<'_>) -> Outcome {
    let lines = args.next_word().map_or(Ok(DEFAULT_LINES), |word| parse::count("lines", word))?;
    let mut records = [Record::default(); MOST_LINES];
    let wanted = (lines as usize).min(MOST_LINES);
    for record in trace::last(records.get_mut(..wanted).unwrap_or_default()) {
        let Record { cpu, address, code, space, handler, .. } = *record;
        let name = HANDLERS.get(handler).copied().unwrap_or("unknown");
        console::print(format_args!(
            "cpu={cpu} addr={address:#x} code={code:#x} ({}) handler={name} ",
            Code(code)
        ));
        let mm = VM.mm(space);
        match VirtAddr::new(address).and_then(|va| mm?.tree().translate(va)) {
            Some(at) => console::print(format_args!("frame={:#x}\n", at.pfn().get())),
            None => console::print(format_args!("frame=none\n")),
        }
    }
    Ok(())
}

/// The bits of a page fault's error code that are set.
struct Code(u64);

impl core::fmt::Display for Code {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut blank = "";
        for (bit, name) in ["P", "W", "U", "R", "I"].into_iter().enumerate() {
            if self.0 >> bit & 1 != 0 {
                write!(f, "{blank}{name}")?;
                blank = " ";
            }
        }
        Ok(())
    }
}

/// Drives each way that there is once, and counts.
fn flavours() -> Outcome {
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
