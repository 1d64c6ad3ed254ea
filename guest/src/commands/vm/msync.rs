//! `vm msync`: what was written through a mapping becomes stable.

use super::{range, session};
use crate::commands::support::parse;
use crate::commands::{Args, Outcome, fail};
use crate::console;
use crate::memory::slab::FRAMES;
use crate::memory::vm::VM;
use crate::text::Text;
use core::fmt::Write;
use mm::writeback::MsFlags;
use shared::exit::ExitStatus;

/// `vm msync sync|async|invalidate[,...] [ADDR SIZE] [expect=ERRNO]`: with `expect` the error is what should come.
pub fn msync(args: &mut Args<'_>) -> Outcome {
    let mut flags = MsFlags::empty();
    for word in args.next_word().unwrap_or("").split(',') {
        flags |= match word {
            "sync" => MsFlags::SYNC,
            "async" => MsFlags::ASYNC,
            "invalidate" => MsFlags::INVALIDATE,
            other => return Err(parse::unexpected("vm msync", other)),
        };
    }
    let expected = args.take_key("expect");
    session::with(|session| {
        let (at, len) = range("vm msync", args, session)?;
        let expected = expected.or_else(|| args.take_key("expect"));
        let result = VM.msync(session.context.mm(), at, len, flags, &FRAMES);
        let mut said = Text::<16>::new();
        let _ = match result {
            Ok(()) => write!(said, "0"),
            Err(errno) => write!(said, "{errno}"),
        };
        console::print(format_args!("msync={}\n", said.as_str()));
        if said.as_str() == expected.unwrap_or("0") {
            return Ok(());
        }
        match result {
            Err(errno) => Err(super::refused(errno, "msync")),
            Ok(()) => Err(fail(ExitStatus::CheckFailed, format_args!("vm msync: not as expected"))),
        }
    })
}
