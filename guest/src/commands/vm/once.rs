//! `ctx once`: a command in a context of its own, which is gone afterwards.

use super::refused;
use super::session::{self, Session};
use crate::commands::{Args, Outcome, run_script, usage};
use crate::context;
use shared::exit::ExitStatus;

/// Runs the rest of the line with `once` as the context that commands work on.
pub fn once(args: &mut Args<'_>) -> Outcome {
    let script = match args.rest() {
        "" => return Err(usage(format_args!("ctx once: expected a command"))),
        script => script,
    };
    let before = context::chosen().and_then(context::find);
    let session = Session::create("once").map_err(|errno| refused(errno, "no context"))?;
    let context = session.context.clone();
    context::choose(&context);
    session::keep(session)?;
    let status = run_script(script);
    context.kill();
    drop(session::take(context.pid()));
    before.iter().for_each(context::choose);
    match status {
        ExitStatus::Ok => Ok(()),
        status => Err(status),
    }
}
