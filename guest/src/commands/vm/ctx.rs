//! `ctx`: contexts by name.

use super::refused;
use super::session::{self, Session};
use crate::commands::{Args, Outcome, usage};
use crate::console;
use crate::context::{self, Context};
use mm::addr::PAGE_SIZE;
use mm::space::Usage;
use shared::exit::ExitStatus;

const KB: u64 = PAGE_SIZE / 1024;

/// `ctx new|list|use|clone|kill`.
pub fn ctx(args: &mut Args<'_>) -> Outcome {
    match args.next_word() {
        Some("new") => new(args),
        Some("list") => list(),
        Some("use") => choose(args),
        Some("clone") => clone(args),
        Some("kill") => kill(args),
        other => Err(usage(format_args!(
            "ctx: expected new, list, use, clone or kill, not '{}'",
            other.unwrap_or("nothing")
        ))),
    }
}

fn name<'a>(args: &mut Args<'a>) -> Result<&'a str, ExitStatus> {
    args.next_word().ok_or_else(|| usage(format_args!("ctx: expected the name of a context")))
}

fn find(args: &mut Args<'_>) -> Result<Context, ExitStatus> {
    let name = name(args)?;
    context::find_name(name).ok_or_else(|| usage(format_args!("ctx: no context '{name}', see ctx list")))
}

/// The session of a context, taken.
fn session_of(context: &Context) -> Result<Session, ExitStatus> {
    session::take(context.pid()).ok_or_else(|| usage(format_args!("ctx: the context is not one of commands")))
}

/// Keeps a new context, chooses it, and says so.
fn adopt(session: Session) -> Outcome {
    context::choose(&session.context);
    let context = &session.context;
    console::print(format_args!(
        "pid={} name={} cr3={:#x}\n",
        context.pid(),
        context.name().as_str(),
        context.mm().root().get()
    ));
    session::keep(session)
}

fn new(args: &mut Args<'_>) -> Outcome {
    adopt(Session::create(name(args)?).map_err(|errno| refused(errno, ""))?)
}

fn clone(args: &mut Args<'_>) -> Outcome {
    let parent = session_of(&find(args)?)?;
    let clone = parent.clone_as(args.next_word().unwrap_or("clone")).map_err(|errno| refused(errno, ""));
    session::keep(parent)?;
    adopt(clone?)
}

fn choose(args: &mut Args<'_>) -> Outcome {
    let session = session_of(&find(args)?)?;
    context::choose(&session.context);
    session::keep(session)
}

fn kill(args: &mut Args<'_>) -> Outcome {
    let context = find(args)?;
    let pid = context.pid();
    context.kill();
    drop(session::take(pid));
    console::print(format_args!("killed pid={pid}\n"));
    Ok(())
}

fn list() -> Outcome {
    for context in context::all() {
        let (counters, pid) = (context.mm().counters(), context.pid());
        console::print(format_args!(
            "pid={pid} name={} VmSize={} kB VmRSS={} kB VmPTE={} kB{}\n",
            context.name().as_str(),
            counters.usage(Usage::Total) * KB,
            counters.resident() * KB,
            counters.tables() * KB,
            if context::chosen() == Some(pid) { " *" } else { "" }
        ));
    }
    Ok(())
}
