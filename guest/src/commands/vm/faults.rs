//! `fault`: the ways that page faults take.

use super::flavours::flavours;
use crate::commands::support::parse;
use crate::commands::{Args, Outcome, usage};
use crate::console;
use crate::context::trace::{self, HANDLERS, Record};
use crate::memory::vm::VM;
use mm::addr::VirtAddr;

/// Faults that are listed when nobody says how many.
const DEFAULT_LINES: u64 = 16;
const MOST_LINES: usize = 64;

/// `fault flavours|trace [N]`.
pub fn fault(args: &mut Args<'_>) -> Outcome {
    match args.next_word() {
        Some("flavours") => flavours(),
        Some("trace") => show_trace(args),
        other => Err(usage(format_args!(
            "fault: expected flavours or trace, not '{}'",
            other.unwrap_or("nothing")
        ))),
    }
}

/// `fault trace [N]`: the last faults, the youngest at the end; `frame` is what the page has now.
fn show_trace(args: &mut Args<'_>) -> Outcome {
    let lines = args.next_word().map_or(Ok(DEFAULT_LINES), |word| parse::count("lines", word))?;
    let mut records = [Record::default(); MOST_LINES];
    let wanted = (lines as usize).min(MOST_LINES);
    for record in trace::last(records.get_mut(..wanted).unwrap_or_default()) {
        let Record { cpu, address, code, space, handler, .. } = *record;
        let name = HANDLERS.get(handler).copied().unwrap_or("unknown");
        console::print(format_args!(
            "cpu={cpu} addr={address:#x} code={code:#x} ({}) handler={name} ",
            Code(code)
        ));
        let mm = VM.mm(space);
        match VirtAddr::new(address).and_then(|va| mm?.tree().translate(va)) {
            Some(at) => console::print(format_args!("frame={:#x}\n", at.pfn().get())),
            None => console::print(format_args!("frame=none\n")),
        }
    }
    Ok(())
}

/// The bits of a page fault's error code that are set.
struct Code(u64);

impl core::fmt::Display for Code {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut blank = "";
        for (bit, name) in ["P", "W", "U", "R", "I"].into_iter().enumerate() {
            if self.0 >> bit & 1 != 0 {
                write!(f, "{blank}{name}")?;
                blank = " ";
            }
        }
        Ok(())
    }
}
