//! `oom`: who would be killed, and how much readier or not.

use super::support::parse;
use super::{Args, Command, Outcome, fail, usage};
use crate::console;
use crate::context::{self, Context, oom};
use mm::oom::{ADJ_MAX, ADJ_MIN};
use shared::exit::ExitStatus;

/// The family.
pub const OOM: &[Command] = &[Command {
    name: "oom",
    usage: "scores | adj N [NAME] | nice N [NAME]",
    summary: "how bad each context is, and what counts for or against it",
    run: oom,
}];

fn oom(args: &mut Args<'_>) -> Outcome {
    match args.next_word() {
        Some("scores") => scores(),
        Some("adj") => adj(args),
        Some("nice") => nice(args),
        other => Err(usage(format_args!(
            "oom: expected scores, adj or nice, not '{}'",
            other.unwrap_or("nothing")
        ))),
    }
}

fn scores() -> Outcome {
    for context in context::all() {
        let counters = context.mm().counters();
        console::print(format_args!(
            "pid={} name={} oom_score={} oom_score_adj={} nice={} rss={} swapents={} tables={} badness=",
            context.pid(),
            context.name().as_str(),
            oom::score(&context),
            context.oom_score_adj(),
            context.nice(),
            counters.resident(),
            counters.rss(mm::space::Rss::Swap),
            counters.tables().saturating_sub(1)
        ));
        match oom::badness(&context) {
            Some(points) => console::print(format_args!("{points}\n")),
            None => console::print(format_args!("never\n")),
        }
    }
    Ok(())
}

/// The context that is named, or the one that commands work on.
fn named(args: &mut Args<'_>) -> Result<Context, ExitStatus> {
    let context = match args.next_word() {
        Some(name) => context::find_name(name),
        None => context::chosen().and_then(context::find),
    };
    context.ok_or_else(|| usage(format_args!("oom: no such context, see ctx list")))
}

/// A number from `least` to `most`.
fn number(args: &mut Args<'_>, least: i32, most: i32) -> Result<i32, ExitStatus> {
    let word = args.next_word().unwrap_or("");
    let (sign, digits) = word.strip_prefix('-').map_or((1, word), |digits| (-1, digits));
    let number = i64::try_from(parse::count("number", digits)?).unwrap_or(i64::MAX).saturating_mul(sign);
    let fits = i32::try_from(number).ok().filter(|number| (least..=most).contains(number));
    fits.ok_or_else(|| fail(ExitStatus::Usage, format_args!("EINVAL ({least}..{most})")))
}

fn adj(args: &mut Args<'_>) -> Outcome {
    let adj = number(args, ADJ_MIN, ADJ_MAX)?;
    let context = named(args)?;
    context.set_oom_score_adj(adj);
    console::print(format_args!("pid={} oom_score_adj={adj}\n", context.pid()));
    Ok(())
}

fn nice(args: &mut Args<'_>) -> Outcome {
    let nice = number(args, -20, 19)?;
    let context = named(args)?;
    context.set_nice(nice);
    console::print(format_args!("pid={} nice={nice}\n", context.pid()));
    Ok(())
}
