//! `traps`: soundness of trap entry and exit.

use super::{Args, Command, Outcome, fail, usage};
use crate::stress;
use shared::exit::ExitStatus;

/// The family.
pub const TRAPS: &[Command] = &[Command {
    name: "traps",
    usage: "stress [seconds=N|ms=N] | cost",
    summary: "all kinds of traps at once, every register checked; what each costs",
    run: traps,
}];

const DEFAULT_MS: u64 = 5000;
const MAX_MS: u64 = 3_600_000;

fn traps(args: &mut Args<'_>) -> Outcome {
    match args.next_word() {
        Some("stress") => stress(args),
        Some("cost") if stress::cost::run() => Ok(()),
        Some("cost") => Err(fail(ExitStatus::OutOfMemory, format_args!("traps: no memory"))),
        _ => Err(usage(format_args!("traps: expected 'stress' or 'cost'"))),
    }
}

fn stress(args: &mut Args<'_>) -> Outcome {
    let (text, unit) = match args.take_key("seconds") {
        Some(text) => (Some(text), 1000),
        None => (args.take_key("ms"), 1),
    };
    let ms = match text.map(|text| text.parse::<u64>().ok().and_then(|n| n.checked_mul(unit))) {
        None => DEFAULT_MS,
        Some(Some(ms @ 1..=MAX_MS)) => ms,
        Some(_) => return Err(usage(format_args!("traps: bad time (1 ms to {} s)", MAX_MS / 1000))),
    };
    match stress::run(ms) {
        None => Err(fail(ExitStatus::OutOfMemory, format_args!("traps: no memory"))),
        Some(verdict) if verdict.wrong == 0 && verdict.lost == 0 => Ok(()),
        Some(_) => Err(fail(ExitStatus::CheckFailed, format_args!("traps: unsound"))),
    }
}
