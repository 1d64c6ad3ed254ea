//! `vmstat`: what the machine does, a line at a time, as procps shows it.
//!
//! Owns: taking samples, and a task that does so while a command runs. Stays outside: the table (`shared::text::procps`).
//! Commands run one after the other, so there is one such task at most.

use super::support::parse;
use super::{Args, Command, Outcome, fail, run_script, usage};
use crate::arch::smp;
use crate::{console, proc, stats, task};
use core::fmt::{self, Display};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use shared::exit::ExitStatus;
use shared::text::procps::{HEAD, Sample};

/// The family.
pub const VMSTAT: &[Command] = &[Command {
    name: "vmstat",
    usage: "[SECONDS TIMES [COMMAND]]",
    summary: "memory, swap, disks and CPUs: since boot, then by intervals; COMMAND runs meanwhile",
    run: vmstat,
}];

fn sample() -> Sample {
    Sample::new(smp::online().into(), &proc::tasks(), &stats::traps(), &proc::meminfo(), &proc::vmstat())
}

/// A line of the table.
struct Line<'a> {
    now: &'a Sample,
    /// What came before, and how many nanoseconds.
    before: Option<(&'a Sample, u64)>,
}

impl Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.before {
            None => self.now.write_since_boot(f),
            Some((before, ns)) => self.now.write_since(f, before, ns),
        }
    }
}

static INTERVAL_NS: AtomicU64 = AtomicU64::new(0);
/// The command that runs meanwhile has ended.
static IS_OVER: AtomicBool = AtomicBool::new(true);

/// Prints `times` lines, and as many more as it takes until the command is over.
fn show(times: usize) {
    let ns = INTERVAL_NS.load(Ordering::Relaxed);
    let mut before = sample();
    console::print(format_args!("{HEAD}{}", Line { now: &before, before: None }));
    let mut lines = 1;
    loop {
        let was_over = IS_OVER.load(Ordering::Acquire);
        if lines >= times && was_over {
            return;
        }
        task::sleep(ns);
        let now = sample();
        console::print(format_args!("{}", Line { now: &now, before: Some((&before, ns)) }));
        before = now;
        lines += 1;
    }
}

fn vmstat(args: &mut Args<'_>) -> Outcome {
    let (ns, times) = match args.next_word() {
        None => (0, 1),
        Some(word) => {
            let ns = parse::seconds("seconds", word)?;
            (ns, parse::count("times", args.next_word().unwrap_or(""))?)
        }
    };
    if times > 1 && ns == 0 {
        return Err(usage(format_args!("vmstat: expected more than 0 seconds between lines")));
    }
    INTERVAL_NS.store(ns, Ordering::Relaxed);
    let script = args.rest();
    if script.is_empty() {
        show(times as usize);
        return Ok(());
    }
    IS_OVER.store(false, Ordering::Release);
    // Commands run on the first CPU.
    let shows = task::spawn("vmstat", smp::online() - 1, show, times as usize);
    let status = run_script(script);
    IS_OVER.store(true, Ordering::Release);
    match shows {
        Ok(shows) => shows.join(),
        Err(_) => return Err(fail(ExitStatus::CheckFailed, format_args!("vmstat: no task"))),
    }
    if status == ExitStatus::Ok { Ok(()) } else { Err(status) }
}
