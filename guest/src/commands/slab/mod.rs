//! `slab`, `slabinfo`: caches of objects, shown, exercised and broken on purpose.
//!
//! | file | job |
//! |---|---|
//! | `show` | what caches are and hold |
//! | `churn` | what is left of slabs after many allocations and frees at random |
//! | `exercise` | reuse, constructors, frees from other CPUs, all CPUs at once |
//! | `bugs` | planted bugs for `slab_debug=` to catch |
//! | `unused` | objects that nobody uses, and the shrinkers that give them back |
//! | `counts` | cost of allocation and free, for `bench slab` |

mod bugs;
mod churn;
mod counts;
mod exercise;
mod show;
mod unused;

use super::{Args, Command, Outcome, files, usage};
pub use counts::counts;
use mm::slab::Cache;
use shared::exit::ExitStatus;

/// The family.
pub const SLAB: &[Command] = &[
    Command {
        name: "slab",
        usage: "show|verify|aliases|cost|create|shrink|fill|shrinkers|ctor-test|churn|bench|handover|stress|bug ...",
        summary: "caches of objects: layout, invariants, reuse, frees from other CPUs, planted bugs",
        run: slab,
    },
    Command {
        name: "slabinfo",
        usage: "",
        summary: "every cache, as /proc/slabinfo has them",
        run: slabinfo,
    },
];

fn slab(args: &mut Args<'_>) -> Outcome {
    match args.next_word() {
        Some("show") => show::show(args),
        Some("verify") => show::verify(),
        Some("aliases") => show::aliases(),
        Some("cost") => show::cost(args),
        Some("create") => show::create(args),
        Some("shrink") => exercise::shrink(args),
        Some("fill") => unused::fill(args),
        Some("shrinkers") => unused::shrinkers(args),
        Some("ctor-test") => exercise::constructors(args),
        Some("churn") => churn::churn(args),
        Some("bench") => exercise::bench(args),
        Some("handover") => exercise::handover(args),
        Some("stress") => exercise::stress(args),
        Some("bug") => bugs::plant(args),
        other => Err(usage(format_args!(
            "slab: expected show, verify, aliases, cost, create, shrink, fill, shrinkers, ctor-test, churn, \
             bench, handover, stress or bug, not '{}'",
            other.unwrap_or("nothing")
        ))),
    }
}

fn slabinfo(_: &mut Args<'_>) -> Outcome {
    files::cat(&mut Args::new("/proc/slabinfo"))
}

/// The cache called `name`.
fn named(name: Option<&str>) -> Result<&'static Cache, ExitStatus> {
    let name = name.unwrap_or("nothing");
    crate::memory::slab::SLABS
        .find(name)
        .ok_or_else(|| usage(format_args!("slab: no cache called '{name}'; see slabinfo")))
}
