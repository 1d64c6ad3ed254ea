//! `tlb`: whether CPUs ever use translations that are gone, and what flushes cost.
//!
//! Owns: reading the arguments. Each test uses two CPUs: one changes what the other one uses.
//!
//! | file | job |
//! |---|---|
//! | `coherence` | pages that are unmapped, protected and cloned while another CPU uses them |
//! | `dirty` | dirty bits that are cleared while another CPU writes |

mod coherence;
mod dirty;

use super::support::parse;
use super::vm::Scratch;
use super::{Args, Command, Outcome, fail, usage};
use crate::arch::{smp, tlb as arch_tlb};
use crate::console;
use crate::context::Place;
use crate::memory::PHYS;
use mm::phys::Event;
use shared::exit::ExitStatus;

/// The family.
pub const TLB: &[Command] = &[Command {
    name: "tlb",
    usage: "test [SECONDS] | dirty-race [ROUNDS] [flush_on_clean=0|1] | stats",
    summary: "changes what another CPU uses; flush_on_clean=0: without the flush, which must fail",
    run: tlb,
}];

const DEFAULT_SECONDS: u64 = 5;
const MOST_SECONDS: u64 = 3600;
const DEFAULT_ROUNDS: u64 = 10_000;

fn tlb(args: &mut Args<'_>) -> Outcome {
    match args.next_word() {
        Some("test") => {
            let seconds =
                args.next_word().map_or(Ok(DEFAULT_SECONDS), |word| parse::count("seconds", word))?;
            if seconds > MOST_SECONDS {
                return Err(usage(format_args!("bad seconds {seconds} (at most {MOST_SECONDS})")));
            }
            needs_two()?;
            coherence::test(seconds)
        }
        Some("dirty-race") => dirty_race(args),
        Some("stats") => stats(),
        other => Err(usage(format_args!(
            "tlb: expected test, dirty-race or stats, not '{}'",
            other.unwrap_or("nothing")
        ))),
    }
}

fn dirty_race(args: &mut Args<'_>) -> Outcome {
    let (mut rounds, mut flush) = (DEFAULT_ROUNDS, true);
    while let Some(word) = args.next_word() {
        match parse::setting(word) {
            ("flush_on_clean", Some(text)) => flush = parse::yes("flush_on_clean", text)?,
            (text, None) => rounds = parse::count("rounds", text)?,
            _ => return Err(parse::unexpected("tlb dirty-race", word)),
        }
    }
    needs_two()?;
    dirty::race(rounds, flush)
}

fn needs_two() -> Outcome {
    if smp::online() < 2 {
        return Err(usage(format_args!("tlb: needs two CPUs, see vmm run --cpus")));
    }
    Ok(())
}

/// A place on this CPU and one on another, both in the same context.
fn two_places(scratch: &Scratch) -> [Place<'_>; 2] {
    let here = crate::arch::percpu::cpu();
    [here, (here + 1) % smp::online()].map(|cpu| Place { context: &scratch.context, cpu })
}

/// `tlb stats`: flushes since boot, those that other CPUs were interrupted for, and the pages that were freed.
fn stats() -> Outcome {
    let counts = arch_tlb::counts();
    let pages: u64 = PHYS.populated_zones().map(|zone| PHYS.events(zone, Event::PgFree)).sum();
    console::print(format_args!("flushes={} remote={} pages={pages}\n", counts.flushes, counts.remote));
    Ok(())
}

/// The end of a test that has found `wrong` things.
fn verdict(name: &str, wrong: u64) -> Outcome {
    match wrong {
        0 => Ok(()),
        n => Err(fail(
            ExitStatus::CheckFailed,
            format_args!("{name}: {n} accesses went by a translation that was gone"),
        )),
    }
}
