//! `traps`: soundness of trap entry and exit.

use super::{Args, Command, Outcome, fail, usage};
use crate::stress;
use shared::exit::ExitStatus;

/// The family.
pub const TRAPS: &[Command] = &[Command {
    name: "traps",
    usage: "stress [seconds=N]",
    summary: "all kinds of traps at once on all CPUs, every register checked",
    run: traps,
}];

const DEFAULT_SECONDS: u64 = 5;
const MAX_SECONDS: u64 = 3600;

fn traps(args: &mut Args<'_>) -> Outcome {
    if !args.take("stress") {
        return Err(usage(format_args!("traps: expected 'stress'")));
    }
    let seconds = match args.take_key("seconds") {
        None => DEFAULT_SECONDS,
        Some(text) => match text.parse() {
            Ok(n @ 1..=MAX_SECONDS) => n,
            _ => return Err(usage(format_args!("traps: bad seconds '{text}' (1..{MAX_SECONDS})"))),
        },
    };
    match stress::run(seconds) {
        None => Err(fail(ExitStatus::OutOfMemory, format_args!("traps: no memory"))),
        Some(verdict) if verdict.wrong == 0 && verdict.lost == 0 => Ok(()),
        Some(_) => Err(fail(ExitStatus::CheckFailed, format_args!("traps: unsound"))),
    }
}
