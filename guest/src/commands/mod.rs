//! The command interpreter: what `vmm run --run "..."` and the prompt accept.
//!
//! Owns: splitting a script at `;`, words and quotes, the table of commands, statuses. Stays outside: what a
//! command does (one file a family). The first failing command ends the run with its status.

mod alloc;
mod api;
mod areas;
mod bench;
mod buddy;
mod crash;
mod disk;
mod dma;
mod evict;
mod faults;
mod features;
mod file;
mod files;
mod frag;
mod hostile;
mod hugetlb;
mod kmap;
mod latency;
mod layout;
mod machine;
mod mempool;
mod mm;
mod oom;
mod page_owner;
mod pcp;
#[cfg(feature = "bench-peers")]
mod peers;
mod psi;
mod pt;
mod slab;
mod support;
mod swap;
mod sysctl;
mod tasks;
mod thrash;
mod tlb;
mod tour;
mod traps;
mod vm;
mod vmstat;
mod words;
mod zones;

use crate::arch::time;
use crate::{console, context, stats};
use core::sync::atomic::{AtomicU32, Ordering};
use shared::exit::ExitStatus;
use shared::script;
use shared::stats::CommandRecord;
pub use words::Args;

/// What a command ends with; an error carries the status of the run and has been printed.
pub type Outcome = Result<(), ExitStatus>;

/// A command of the interpreter.
pub struct Command {
    /// The word that names it.
    pub name: &'static str,
    /// Its arguments, for `help`.
    pub usage: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// What runs.
    pub run: fn(&mut Args<'_>) -> Outcome,
}

/// Every command, by family.
static FAMILIES: &[&[Command]] = &[
    HELP,
    alloc::ALLOC,
    api::API,
    areas::AREA,
    bench::BENCH,
    buddy::BUDDY,
    crash::CRASH,
    disk::DISK,
    dma::DMA,
    evict::EVICT,
    faults::FAULTS,
    features::FEATURES,
    file::FILE,
    files::FILES,
    frag::FRAG,
    hostile::HOSTILE,
    hugetlb::HUGETLB,
    kmap::KMAP,
    latency::LATENCY,
    layout::LAYOUT,
    machine::MACHINE,
    mempool::MEMPOOL,
    mm::MM,
    pcp::PCP,
    #[cfg(feature = "bench-peers")]
    peers::PEERS,
    oom::OOM,
    page_owner::PAGE_OWNER,
    psi::PSI,
    pt::PT,
    slab::SLAB,
    swap::SWAPPING,
    sysctl::SYSCTL,
    tasks::TASKS,
    thrash::THRASH,
    tlb::TLB,
    tour::TOUR,
    traps::TRAPS,
    vm::VM,
    vm::CTX,
    vm::DEMOS,
    vmstat::VMSTAT,
    zones::ZONES,
];

const HELP: &[Command] = &[Command { name: "help", usage: "", summary: "lists the commands", run: help }];

/// Prints one error line and gives the status to return.
pub fn fail(status: ExitStatus, what: core::fmt::Arguments<'_>) -> ExitStatus {
    console::print(format_args!("error: {what}\n"));
    status
}

/// A usage error.
pub fn usage(what: core::fmt::Arguments<'_>) -> ExitStatus {
    fail(ExitStatus::Usage, what)
}

fn all() -> impl Iterator<Item = &'static Command> {
    FAMILIES.iter().copied().flatten()
}

/// Runs a script; the status it ends with.
pub fn run_script(script: &str) -> ExitStatus {
    run_each(script, run_line)
}

/// Runs what the user asked for: as [`run_script`], and the monitor learns of each command.
pub fn run_user_script(script: &str) -> ExitStatus {
    run_each(script, |line| {
        let (from, start) = (console::position(), time::since_boot_ns());
        let outcome = run_line(line);
        let status = status_of(outcome, KILLED.load(Ordering::Relaxed)).code().into();
        let ns = time::since_boot_ns().saturating_sub(start);
        stats::record(&CommandRecord { from, to: console::position(), status, ns });
        outcome
    })
}

/// The status of the last kill of a context since this was looked at: the run goes on, and ends with it. 0 for none.
static KILLED: AtomicU32 = AtomicU32::new(0);

/// Prints why a context was killed. Nobody expected it.
pub fn unexpected_kill(killed: &crate::context::Killed) {
    console::print(format_args!("{killed}\n"));
    KILLED.store(killed.status().code(), Ordering::Relaxed);
}

/// The status of what has just run.
fn status_of(outcome: Outcome, killed: u32) -> ExitStatus {
    match outcome {
        Ok(()) => ExitStatus::from_code(killed).unwrap_or(ExitStatus::GuestFault),
        Err(status) => status,
    }
}

fn run_each(script: &str, run: impl Fn(&str) -> Outcome) -> ExitStatus {
    let mut last = ExitStatus::Ok;
    for line in script::commands(script) {
        let outcome = run(line);
        match status_of(outcome, KILLED.swap(0, Ordering::Relaxed)) {
            ExitStatus::Ok => {}
            status if outcome.is_err() => return status,
            status => last = status,
        }
    }
    last
}

fn run_line(line: &str) -> Outcome {
    let mut args = Args::new(line);
    let Some(name) = args.next_word() else { return Ok(()) };
    match all().find(|command| command.name == name) {
        Some(command) => {
            let outcome = (command.run)(&mut args);
            context::settle();
            outcome?;
            match args.next_word() {
                None => Ok(()),
                Some(extra) => Err(usage(format_args!("{name}: unexpected argument '{extra}'"))),
            }
        }
        None => Err(usage(format_args!("unknown command '{name}'"))),
    }
}

fn help(_: &mut Args<'_>) -> Outcome {
    for command in all() {
        console::print(format_args!("{:<12} {:<40} {}\n", command.name, command.usage, command.summary));
    }
    Ok(())
}
