//! The table at the end of a run of checks, and the one plain line below it.
//!
//! Owns: what counts as passed. Stays outside: running steps (`test`).
//! Invariant: a step that cannot be shown to have run counts as failed; a skipped one is named twice.

use std::fmt;
use std::time::Duration;

use crate::exec::Done;

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Everything it checked is right.
    Ok,
    /// Something is wrong; the text says what when the output above does not.
    Failed(String),
    /// It could not run here, and why.
    Skipped(String),
}

/// A step's result, without its name and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// Checks or tests that passed.
    pub passed: u64,
    /// Checks or tests that failed.
    pub failed: u64,
}

impl Outcome {
    /// A check without parts.
    pub fn check(right: bool) -> Self {
        match right {
            true => Self { ending: Ending::Ok, passed: 1, failed: 0 },
            false => Self::failed("see above"),
        }
    }

    /// A check that failed as a whole.
    pub fn failed(why: impl Into<String>) -> Self {
        Self { ending: Ending::Failed(why.into()), passed: 0, failed: 1 }
    }

    /// A step this machine cannot run.
    pub fn skipped(why: impl Into<String>) -> Self {
        Self { ending: Ending::Skipped(why.into()), passed: 0, failed: 0 }
    }

    /// A command that runs tests.
    pub fn tests(done: &Done) -> Self {
        let failed = match done.success {
            true => done.failed,
            false => done.failed.max(1),
        };
        let ending = match done {
            Done { timed_out: true, .. } => Ending::Failed("time limit".to_owned()),
            Done { success: false, failed: 0, .. } => Ending::Failed("did not build or crashed".to_owned()),
            _ if failed > 0 => Ending::Failed("see above".to_owned()),
            Done { passed: 0, .. } => return Self::failed("no test ran"),
            _ => Ending::Ok,
        };
        Self { ending, passed: done.passed, failed }
    }
}

/// All steps of a run, in order.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<(&'static str, Outcome, Duration)>,
}

impl Report {
    /// Adds a step.
    pub fn add(&mut self, step: &'static str, outcome: Outcome, time: Duration) {
        self.rows.push((step, outcome, time));
    }

    /// Sum of what passed and of what failed.
    pub fn totals(&self) -> (u64, u64) {
        self.rows.iter().fold((0, 0), |(passed, failed), (_, outcome, _)| {
            (passed + outcome.passed, failed + outcome.failed)
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<12} {:>8} {:>8} {:>9}  result", "step", "passed", "failed", "seconds")?;
        for (step, outcome, time) in &self.rows {
            let result = match &outcome.ending {
                Ending::Ok => "ok".to_owned(),
                Ending::Failed(why) => format!("FAILED: {why}"),
                Ending::Skipped(why) => format!("SKIPPED: {why}"),
            };
            let Outcome { passed, failed, .. } = outcome;
            writeln!(f, "{step:<12} {passed:>8} {failed:>8} {:>9.1}  {result}", time.as_secs_f64())?;
        }
        let time: Duration = self.rows.iter().map(|(_, _, time)| *time).sum();
        let (passed, failed) = self.totals();
        writeln!(f, "{:<12} {passed:>8} {failed:>8} {:>9.1}", "all", time.as_secs_f64())?;
        for (step, outcome, _) in &self.rows {
            if let Ending::Skipped(why) = &outcome.ending {
                writeln!(f, "NOT CHECKED HERE: {step}: {why}")?;
            }
        }
        write!(f, "{passed} passed, {failed} failed")
    }
}

#[cfg(test)]
mod tests;
