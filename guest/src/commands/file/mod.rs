//! `file`: files of data volumes, and disks, through the page cache.
//!
//! Owns: the words. Stays outside: pages (`mm::cache`), where files are (`files`).
//!
//! | file | job |
//! |---|---|
//! | `open` | files stay open from one command to the next, with what readahead and errors remember |
//! | `bench` | how long reading takes |
//! | `read` | reading, with what came from the disk and what did not |
//! | `show` | what files there are, and what of them is in memory |
//! | `direct` | around the cache |
//! | `journal` | a file that is written until the machine stops |
//! | `write` | writing, and making that stable |
//! | `change` | making and removing files |
//! | `mapped` | reading and writing through mappings |
//! | `storm` | all of that at once, on all CPUs |

mod bench;
mod change;
mod direct;
mod journal;
mod mapped;
mod open;
mod read;
mod show;
mod storm;
mod write;

pub use open::with;

use super::{Args, Command, Outcome, fail, usage};
use crate::text::Text;
use core::fmt::Write;
use mm::errno::Errno;
use shared::exit::ExitStatus;

/// The family.
pub const FILE: &[Command] = &[Command {
    name: "file",
    usage: "ls | stat PATH | as PATH|all | open PATH [count=N] | close PATH|all | create PATH [SIZE] | rm PATH | \
            bench PATH [bs=4K] [order=hot|random|sequential] [rounds=N] | \
            read PATH [SIZE] [at=N] [bs=4K] [seed=N] [order=random] | \
            write PATH SIZE [at=N] [bs=4K] [seed=N] [expect=ENOSPC] | mmap-sum PATH [locked] | mmap-write PATH SIZE [at=N] [seed=N] | \
            storm PATH [ms=N] [seed=N] | truncate PATH SIZE | fsync|fdatasync PATH [expect=EIO] | sync | \
            dread PATH [SIZE] [at=N] [bs=64K] [expect=EINVAL] | dwrite PATH SIZE [at=N] [bs=64K] [seed=N] [expect=EINVAL] | \
            journal PATH [seed=N] [count=N] | \
            fadvise PATH normal|sequential|random|willneed|dontneed [at=N] [SIZE]",
    summary: "files through the page cache: PATH is NAME, /mnt/N/NAME or /dev/vda",
    run,
}];

fn run(args: &mut Args<'_>) -> Outcome {
    match args.next_word() {
        Some("ls") => show::list(),
        Some("stat") => show::stat(args),
        Some("as") => show::address_space(args),
        Some("open") => open::open(args),
        Some("close") => open::close(args),
        Some("create") => change::create(args),
        Some("rm") => change::remove(args),
        Some("bench") => bench::bench(args),
        Some("read") => read::read(args),
        Some("write") => write::write(args),
        Some("mmap-sum") => mapped::sum(args),
        Some("mmap-write") => mapped::write(args),
        Some("storm") => storm::storm(args),
        Some("journal") => journal::journal(args),
        Some("dread") => direct::read(args),
        Some("dwrite") => direct::write(args),
        Some("truncate") => write::truncate(args),
        Some("fsync") => write::fsync(args, false),
        Some("fdatasync") => write::fsync(args, true),
        Some("sync") => write::sync(),
        Some("fadvise") => read::fadvise(args),
        other => {
            let other = other.unwrap_or("");
            Err(usage(format_args!("file: no such word: '{other}'; see help")))
        }
    }
}

/// The next word as a path.
fn path<'a>(args: &mut Args<'a>) -> Result<&'a str, ExitStatus> {
    args.next_word().ok_or_else(|| usage(format_args!("file: expected a path")))
}

/// Whether a call on `path` has ended as `expected`, the name of an error, says; well without that.
fn as_expected(path: &str, result: Result<(), Errno>, expected: Option<&str>) -> Outcome {
    let is_expected = match (result, expected) {
        (Ok(()), None) => true,
        (Err(error), Some(name)) => {
            let mut said = Text::<16>::new();
            write!(said, "{error}").is_ok() && said.as_str() == name
        }
        _ => false,
    };
    match result {
        _ if is_expected => Ok(()),
        Err(error) if expected.is_none() => Err(failed(path, error)),
        _ => Err(fail(ExitStatus::CheckFailed, format_args!("{path}: not as expected"))),
    }
}

/// A call on `path` has failed.
fn failed(path: &str, error: Errno) -> ExitStatus {
    let status = if error == Errno::Ecorrupt { ExitStatus::Corruption } else { ExitStatus::CheckFailed };
    fail(status, format_args!("{path}: {error}"))
}
