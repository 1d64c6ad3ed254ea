//! `inject`, `fail_nth`: allocations, and requests to disks, that fail on purpose.
//!
//! Owns: the arguments of `inject`. Stays outside: running other commands with failures (`nth`).
//! Source: Linux `Documentation/fault-injection/fault-injection.rst`.

mod nth;

use super::support::parse;
use super::{Args, Command, Outcome, usage};
use crate::arch::percpu::{self, Counter};
use crate::drivers::blk::{self, Disk};
use crate::memory::vm::IO;
use crate::memory::{PHYS, checks};
use mm::addr::PAGE_SIZE;
use mm::fault_inject::FaultConfig;
use mm::phys::{FailPageAlloc, FailSlab};
use mm::port::{BlockDevice, IoOp, Purpose};
use shared::exit::ExitStatus;
use shared::params::{self, Value};

/// The family.
pub const FAULTS: &[Command] = &[
    Command {
        name: "inject",
        usage: "fail_page_alloc=I,P,S,T|failslab=I,P,S,T|fail_make_request=I,P,S,T|miscount=DISK|page_faults|off [min-order=N] [ignore-gfp-wait=Y|N] [...]",
        summary: "makes allocations or requests to disks fail: interval, probability in percent, space, times; counts one too many",
        run: inject,
    },
    Command {
        name: "fail_nth",
        usage: "N|sweep COMMAND [+ COMMAND]...",
        summary: "runs a command while its Nth allocation fails; sweep: every one in turn, nothing may be lost",
        run: nth::fail_nth,
    },
];

/// What is to be made to fail.
enum Target {
    Pages(FailPageAlloc),
    Objects(FailSlab),
    Requests(FaultConfig),
    /// What a disk is asked for is counted wrong: once, so that whoever compares must notice.
    Count(&'static Disk),
    /// So are page faults.
    CountFaults,
}

fn inject(args: &mut Args<'_>) -> Outcome {
    let mut target = match args.next_word().map(parse::setting) {
        Some(("off", None)) => {
            PHYS.set_fail_page_alloc(FailPageAlloc::LINUX);
            PHYS.set_failslab(FailSlab::LINUX);
            IO.set_fail_make_request(FaultConfig::OFF);
            return Ok(());
        }
        Some((name @ "fail_page_alloc", Some(text))) => {
            Target::Pages(FailPageAlloc { config: attr(name, text)?, ..FailPageAlloc::LINUX })
        }
        Some((name @ "failslab", Some(text))) => {
            Target::Objects(FailSlab { config: attr(name, text)?, ..FailSlab::LINUX })
        }
        Some((name @ "fail_make_request", Some(text))) => Target::Requests(attr(name, text)?),
        Some(("miscount", Some("page_faults"))) => Target::CountFaults,
        Some(("miscount", Some(name))) => {
            Target::Count(blk::find(name).ok_or_else(|| usage(format_args!("inject: no disk '{name}'")))?)
        }
        _ => {
            return Err(usage(format_args!(
                "inject: expected fail_page_alloc=, failslab=, fail_make_request=, miscount= or off, see help"
            )));
        }
    };
    while let Some(word) = args.next_word() {
        let (key, value) = parse::setting(word);
        let yes = || parse::yes(key, value.unwrap_or_default());
        match (&mut target, key) {
            (Target::Pages(rules), "min-order") => rules.min_order = parse::order(value.unwrap_or_default())?,
            (Target::Pages(rules), "ignore-gfp-wait") => rules.ignore_reclaim = yes()?,
            (Target::Pages(rules), "ignore-gfp-highmem") => rules.ignore_highmem = yes()?,
            (Target::Objects(rules), "ignore-gfp-wait") => rules.ignore_reclaim = yes()?,
            (Target::Objects(rules), "cache-filter") => rules.marked_only = yes()?,
            _ => return Err(parse::unexpected("inject", word)),
        }
    }
    match target {
        Target::Pages(rules) => PHYS.set_fail_page_alloc(rules),
        Target::Objects(rules) => PHYS.set_failslab(rules),
        Target::Requests(config) => IO.set_fail_make_request(config),
        Target::CountFaults => percpu::count(Counter::PageFaults),
        Target::Count(disk) => disk.ledger().book(Purpose::Swap, IoOp::Write, 1, PAGE_SIZE, true),
    }
    Ok(())
}

/// The four numbers, checked as the boot parameter of that name is.
fn attr(name: &str, text: &str) -> Result<FaultConfig, ExitStatus> {
    match params::lookup(name).map(|spec| params::check(spec, Some(text))) {
        Some(Ok(Value::Fault(attr))) => Ok(checks::config(attr)),
        _ => Err(usage(format_args!(
            "inject: bad {name} '{text}' (interval,probability,space,times as in 1,100,0,-1)"
        ))),
    }
}
