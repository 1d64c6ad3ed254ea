//! `cat`, `grep` and `ls`: reading the texts of `/proc` and `/sys`; `e820`.

use super::{Args, Command, Outcome, usage};
use crate::boot_info::{self, MAX_CMDLINE};
use crate::console;
use crate::proc::{self, File};
use crate::stats;
use crate::text::Text;
use core::fmt::{self, Write};
use shared::exit::ExitStatus;
use shared::text::e820::{E820Entry, E820Type, write_entry};

/// The family.
pub const FILES: &[Command] = &[
    Command { name: "cat", usage: "PATH...", summary: "shows texts of /proc and /sys", run: cat },
    Command { name: "grep", usage: "WORD PATH...", summary: "shows the lines that contain WORD", run: grep },
    Command { name: "ls", usage: "", summary: "lists what cat can show", run: ls },
    Command { name: "e820", usage: "", summary: "the memory map as the monitor gave it", run: e820 },
];

/// The longest line of any text is the command line with its end.
const LINE: usize = MAX_CMDLINE + 1;

/// Opens the next path; whoever looks at a text wants the statistics area to say the same.
fn next_file(command: &str, args: &mut Args<'_>) -> Result<Option<File>, ExitStatus> {
    let Some(path) = args.next_word() else { return Ok(None) };
    match proc::find(path) {
        Some(file) => {
            stats::refresh();
            Ok(Some(file))
        }
        None => Err(usage(format_args!("{command}: {path}: no such file, see `ls`"))),
    }
}

/// Prints the files named.
pub fn cat(args: &mut Args<'_>) -> Outcome {
    if args.peek().is_none() {
        return Err(usage(format_args!("cat: expected a path, see `ls`")));
    }
    while let Some(file) = next_file("cat", args)? {
        // The console takes everything.
        let _ = file.render(&mut console::writer());
    }
    Ok(())
}

/// Passes on the lines that contain a word.
struct Filter<'a, W: Write> {
    word: &'a str,
    out: W,
    line: Text<LINE>,
    hits: u64,
}

impl<W: Write> Filter<'_, W> {
    fn end_line(&mut self) -> fmt::Result {
        if self.line.as_str().contains(self.word) {
            self.hits += 1;
            writeln!(self.out, "{}", self.line.as_str())?;
        }
        self.line.clear();
        Ok(())
    }
}

impl<W: Write> Write for Filter<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive('\n') {
            match piece.strip_suffix('\n') {
                Some(end) => {
                    self.line.write_str(end)?;
                    self.end_line()?;
                }
                None => self.line.write_str(piece)?,
            }
        }
        Ok(())
    }
}

fn grep(args: &mut Args<'_>) -> Outcome {
    let (Some(word), true) = (args.next_word(), args.peek().is_some()) else {
        return Err(usage(format_args!("grep: expected a word and a path")));
    };
    let mut filter = Filter { word, out: console::writer(), line: Text::new(), hits: 0 };
    while let Some(file) = next_file("grep", args)? {
        let _ = file.render(&mut filter);
    }
    // As the tool of that name: no line is a failure, and says nothing.
    if filter.hits == 0 { Err(ExitStatus::CheckFailed) } else { Ok(()) }
}

fn ls(_: &mut Args<'_>) -> Outcome {
    proc::paths(&mut |path| console::print(format_args!("{path}\n")));
    Ok(())
}

fn e820(_: &mut Args<'_>) -> Outcome {
    for range in boot_info::get().map_or(&[][..], |info| info.ranges()) {
        let entry = E820Entry { start: range.start, size: range.size, kind: E820Type::from_code(range.kind) };
        let _ = write_entry(&mut console::writer(), &entry);
    }
    Ok(())
}
