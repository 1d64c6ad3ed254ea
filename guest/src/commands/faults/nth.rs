//! `fail_nth`: a command whose Nth allocation fails.
//!
//! Owns: running it, and the balance of memory before and after. Invariant: when it returns, nothing is set to fail.
//! A failure counts whatever is allocated while the command runs, by whichever task; filters do not apply.

use crate::commands::support::{Balance, parse};
use crate::commands::{Args, Outcome, fail, run_script, usage};
use crate::console;
use crate::memory::PHYS;
use shared::exit::ExitStatus;

/// More allocations than any command of a sweep should need.
const MOST: u64 = 5000;

/// Runs `fail_nth`.
pub fn fail_nth(args: &mut Args<'_>) -> Outcome {
    let Some(which) = args.next_word() else {
        return Err(usage(format_args!("fail_nth: expected a number or sweep, then a command")));
    };
    let script = match args.rest() {
        "" => return Err(usage(format_args!("fail_nth: expected a command after '{which}'"))),
        text => text,
    };
    match which {
        "sweep" => sweep(script),
        number => {
            let run = run_with(parse::count("fail_nth", number)?, script);
            run.print();
            match run.status {
                ExitStatus::Ok => Ok(()),
                status => Err(status),
            }
        }
    }
}

/// One run of a command.
struct Run {
    nth: u64,
    /// The Nth allocation was made, and so refused.
    injected: bool,
    status: ExitStatus,
    before: Balance,
    after: Balance,
}

impl Run {
    fn print(&self) {
        console::print(format_args!(
            "fail_nth={} injected={} status={} {}\n",
            self.nth,
            u32::from(self.injected),
            self.status.code(),
            self.before.difference(&self.after)
        ));
    }
}

fn run_with(nth: u64, script: &str) -> Run {
    let before = Balance::take();
    let made = PHYS.injected_failures();
    PHYS.set_fail_nth(nth);
    let status = run(script);
    PHYS.set_fail_nth(0);
    let injected = PHYS.injected_failures() != made;
    Run { nth, injected, status, before, after: Balance::take() }
}

/// Runs commands that are separated by ` + `; the first that fails ends them.
fn run(script: &str) -> ExitStatus {
    let results = script.split(" + ").map(run_script);
    results.into_iter().find(|status| *status != ExitStatus::Ok).unwrap_or(ExitStatus::Ok)
}

/// Every allocation of the command fails once, until none is left. A command may fail, with a message of its own; it
/// may not lose anything, and without a failure it must succeed.
fn sweep(script: &str) -> Outcome {
    // What a first run keeps for the next ones is not lost.
    match run(script) {
        ExitStatus::Ok => {}
        status => return Err(status),
    }
    let mut refused = 0;
    for nth in 1..=MOST {
        let run = run_with(nth, script);
        run.print();
        if run.before != run.after {
            return Err(fail(ExitStatus::CheckFailed, format_args!("fail_nth: failure {nth} loses memory")));
        }
        if !matches!(run.status, ExitStatus::Ok | ExitStatus::CheckFailed | ExitStatus::OutOfMemory) {
            return Err(run.status);
        }
        if !run.injected {
            console::print(format_args!("sweep={script:?} failures={} refused={refused}\n", nth - 1));
            return if run.status == ExitStatus::Ok { Ok(()) } else { Err(run.status) };
        }
        refused += u32::from(run.status != ExitStatus::Ok);
    }
    Err(fail(ExitStatus::CheckFailed, format_args!("fail_nth: '{script}' allocates more than {MOST} times")))
}
