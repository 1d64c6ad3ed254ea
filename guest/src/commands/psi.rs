//! `psi`: pressure of memory, made on purpose and told of.

use super::support::parse;
use super::{Args, Command, Outcome, fail, usage};
use crate::arch::time;
use crate::console;
use crate::machine::CPU;
use crate::stats::pressure::{self as told, LOOKS};
use crate::task::{self, pressure};
use mm::psi::{Kind, Trigger};
use shared::exit::ExitStatus;

/// The family.
pub const PSI: &[Command] = &[Command {
    name: "psi",
    usage: "stall MS | watch some|full THRESHOLD_US WINDOW_US MS [stall=MS] | events",
    summary: "waits as if for memory; tells when so much of a window was lost, and how often the monitor was told",
    run: psi,
}];

const NS_PER_MS: u64 = 1_000_000;
const NS_PER_US: u64 = 1000;

fn psi(args: &mut Args<'_>) -> Outcome {
    match args.next_word() {
        Some("stall") => stall(args),
        Some("watch") => watch(args),
        Some("events") => {
            console::print(format_args!("events={}\n", told::count()));
            Ok(())
        }
        other => Err(usage(format_args!(
            "psi: expected stall, watch or events, not '{}'",
            other.unwrap_or("nothing")
        ))),
    }
}

/// A time in units of `ns` nanoseconds.
fn length(name: &str, word: Option<&str>, ns: u64) -> Result<u64, ExitStatus> {
    Ok(parse::count(name, word.unwrap_or(""))?.saturating_mul(ns))
}

/// Waits, and counts by another clock how long.
fn stall(args: &mut Args<'_>) -> Outcome {
    let ns = length("time", args.next_word(), NS_PER_MS)?;
    let totals = || [Kind::Some, Kind::Full].map(|kind| pressure::PSI.total(&CPU, kind) / NS_PER_US);
    let before = totals();
    let start = time::since_boot_ns();
    {
        let _stalled = pressure::memstall();
        task::sleep(ns);
    }
    let passed = (time::since_boot_ns() - start) / NS_PER_US;
    let after = totals();
    console::print(format_args!(
        "stalled_us={passed} some_us={} full_us={}\n",
        after[0] - before[0],
        after[1] - before[1]
    ));
    Ok(())
}

/// Looks for a while at how much is lost, and tells of each window in which it was too much. With `stall=` it loses so
/// much itself between two looks.
fn watch(args: &mut Args<'_>) -> Outcome {
    let kind = match args.next_word() {
        Some("some") => Kind::Some,
        Some("full") => Kind::Full,
        _ => return Err(usage(format_args!("psi watch: expected some or full"))),
    };
    let threshold = length("threshold", args.next_word(), NS_PER_US)?;
    let window = length("window", args.next_word(), NS_PER_US)?;
    let ns = length("time", args.next_word(), NS_PER_MS)?;
    let stall = args.take_key("stall").map_or(Ok(0), |word| length("stall", Some(word), NS_PER_MS))?;
    let start = time::since_boot_ns();
    let trigger = Trigger::new(threshold, window, start, pressure::PSI.total(&CPU, kind));
    let mut trigger = trigger.map_err(|_| {
        fail(ExitStatus::Usage, format_args!("EINVAL (window 500000..10000000 us, threshold up to that)"))
    })?;
    let mut events = 0;
    while time::since_boot_ns() - start < ns {
        {
            let _stalled = (stall != 0).then(pressure::memstall);
            task::sleep(stall);
        }
        task::sleep((window / LOOKS).saturating_sub(stall));
        let now = time::since_boot_ns();
        if trigger.update(now, pressure::PSI.total(&CPU, kind)) {
            events += 1;
            console::print(format_args!("event={events} at_ms={}\n", (now - start) / NS_PER_MS));
        }
    }
    console::print(format_args!("events={events} windows={}\n", ns / window));
    Ok(())
}
