//! `tour`: a short walk through every subsystem, each step with its evidence, and a summary.
//!
//! Owns: the list of steps. A step is a script of ordinary commands, so the tour shows nothing that cannot be
//! asked for by itself.

use super::{Args, Command, Outcome, run_script};
use crate::arch::{cpu, time};
use crate::console;
use shared::exit::ExitStatus;

/// The family.
pub const TOUR: &[Command] = &[
    Command {
        name: "tour",
        usage: "",
        summary: "a walk through every subsystem, with evidence and a summary",
        run: tour,
    },
    Command { name: "echo", usage: "TEXT", summary: "prints its arguments", run: echo },
];

struct Step {
    title: &'static str,
    script: &'static str,
}

const STEPS: &[Step] = &[
    Step { title: "machine", script: "features; cpus" },
    Step { title: "memory map", script: "e820; mm pfns" },
    Step { title: "nodes", script: "numactl -H" },
    Step { title: "zones", script: "zones; zones verify" },
    Step { title: "direct map", script: "grep DirectMap /proc/meminfo; mm va-pa 1000" },
    Step { title: "page tables", script: "pt levels; pt verify 10000; pt cost" },
    Step {
        title: "buddy",
        script: "drain; cat /proc/buddyinfo; buddy storm ops=20000 seed=1 tasks; drain; cat /proc/buddyinfo; buddy verify",
    },
    Step {
        title: "buddy example",
        script: "buddy example 3 --free 1,2; buddy example 3 --free 2,1 --hold-tail",
    },
    Step { title: "slabs", script: "slab cost 100 x1000; slab verify" },
    Step { title: "contexts", script: "fault flavours; cow demo 256" },
    Step { title: "disks", script: "disk list; disk crc vda" },
    Step { title: "traps", script: "traps stress ms=200" },
    Step { title: "invariants", script: "mm verify" },
];

/// What became of a step.
#[derive(Clone, Copy)]
struct Done {
    status: ExitStatus,
    us: u64,
}

fn tour(_: &mut Args<'_>) -> Outcome {
    let mut results = [Done { status: ExitStatus::Ok, us: 0 }; STEPS.len()];
    for (step, result) in STEPS.iter().zip(&mut results) {
        console::print(format_args!("\n== {} ==\n", step.title));
        let start = cpu::rdtsc();
        result.status = run_script(step.script);
        result.us = time::tsc_to_ns(cpu::rdtsc().wrapping_sub(start)) / 1000;
    }
    console::print(format_args!("\n== summary ==\n"));
    for (step, result) in STEPS.iter().zip(&results) {
        let verdict = if result.status == ExitStatus::Ok { "ok" } else { "FAILED" };
        console::print(format_args!("{:<14} {verdict:<7} {:>8} us\n", step.title, result.us));
    }
    let failed = results.iter().filter(|result| result.status != ExitStatus::Ok).count();
    console::print(format_args!("tour: steps={} failed={failed}\n", STEPS.len()));
    results.iter().find(|result| result.status != ExitStatus::Ok).map_or(Ok(()), |result| Err(result.status))
}

fn echo(args: &mut Args<'_>) -> Outcome {
    console::print(format_args!("{}\n", args.rest()));
    Ok(())
}
