//! `vm` and `ctx`: contexts and their memory.
//!
//! Owns: reading the arguments. A command works on the context that `ctx use` chose, or on one that the first makes.
//!
//! | file | job |
//! |---|---|
//! | `session` | the context that commands work on, and what they have mapped in it |
//! | `map` | mapping, unmapping, rights |
//! | `advise` | advice about the use of a range |
//! | `touch` | reading and writing, checking what was written |
//! | `used` | using pages in order |
//! | `msync` | making stable what was written through mappings |
//! | `contig` | addresses that lie together, frames that do not |
//! | `places` | the parts that every context has |
//! | `ctx`, `once` | contexts themselves |
//! | `scratch` | contexts of one command's own |
//! | `cow`, `faults`, `flavours`, `leaves` | demonstrations: copy-on-write, the ways of faults, sizes of leaves |

mod advise;
mod contig;
mod cow;
mod ctx;
mod faults;
mod flavours;
mod leaves;
mod map;
mod msync;
mod once;
mod places;
mod scratch;
pub mod session;
mod touch;
mod used;

use super::pt::sparse;
use super::support::parse;
use super::{Args, Command, Outcome, fail, usage};
use crate::context::{self, Context};
use crate::memory::vm;
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::space::{Errno, OvercommitMode};
use mm::vma::VmFlags;
pub use scratch::{Scratch, load, store};
use session::Session;
pub use session::ended;
use shared::exit::ExitStatus;

/// The family of memory.
pub const VM: &[Command] = &[
    Command {
        name: "vm",
        usage: "map SIZE [RIGHTS] [overlay] [noreserve] [populate] [size=4K|2M|1G] [hugetlb[=2M|1G]] [file=PATH [at=N] [shared]] | map-fixed ADDR [SIZE] | unmap [ADDR SIZE] | \
                protect RIGHTS [ADDR SIZE] | advise WHAT [ADDR SIZE] | lock|unlock [ADDR SIZE] | msync sync|async|invalidate [ADDR SIZE] | populate | touch SIZE|N/M [all] [cpu=N] | use FIRST PAGES [zero] | read ADDR | write ADDR | verify | \
                 poke text|data|heap|stack | contig N [fragmented] | sparse N stride=SIZE | leaves [SIZE]",
        summary: "memory of a context",
        run: vm,
    },
    Command {
        name: "stack",
        usage: "grow SIZE",
        summary: "lets the stack of the context grow",
        run: places::stack,
    },
    Command {
        name: "rss",
        usage: "",
        summary: "what the context has more than at its start",
        run: touch::rss,
    },
    Command { name: "touch", usage: "N/M", summary: "the same as vm touch", run: touch::touch },
    Command { name: "populate", usage: "", summary: "the same as vm populate", run: map::populate },
];

/// The family of contexts.
pub const CTX: &[Command] = &[Command {
    name: "ctx",
    usage: "new NAME | list | use NAME | clone NAME [NEW] | kill NAME | once COMMAND",
    summary: "contexts",
    run: ctx::ctx,
}];

/// Contexts that one command makes and ends.
pub const DEMOS: &[Command] = &[
    Command {
        name: "cow",
        usage: "demo [PAGES]",
        summary: "clones a context: pages are shared, copied when written, and left to the last owner",
        run: cow::cow,
    },
    Command {
        name: "fault",
        usage: "flavours | trace [N]",
        summary: "drives each kind of page fault once; the last faults with handler and frame",
        run: faults::fault,
    },
];

/// The context that commands work on, if there is one.
pub fn chosen() -> Option<Context> {
    context::chosen().and_then(context::find)
}

fn vm(args: &mut Args<'_>) -> Outcome {
    match args.next_word() {
        Some("map") => map::map(args),
        Some("map-fixed") => map::map_fixed(args),
        Some("unmap") => map::unmap(args),
        Some("protect") => map::protect(args),
        Some("msync") => msync::msync(args),
        Some("advise") => advise::advise(args),
        Some("lock") => map::lock(args, true),
        Some("unlock") => map::lock(args, false),
        Some("populate") => map::populate(args),
        Some("touch") => touch::touch(args),
        Some("use") => used::use_pages(args),
        Some("read") => touch::read(args),
        Some("write") => touch::write(args),
        Some("verify") => touch::verify(args),
        Some("poke") => places::poke(args),
        Some("contig") => contig::contig(args),
        Some("sparse") => sparse(args),
        Some("leaves") => leaves::leaves(args),
        other => Err(usage(format_args!(
            "vm: expected map, map-fixed, unmap, protect, msync, advise, lock, unlock, populate, touch, use, read, write, verify, poke, \
             contig, sparse or leaves, not '{}'",
            other.unwrap_or("nothing")
        ))),
    }
}

/// Rights: `rw`, `r-x`, `none` and the like.
fn rights(word: &str) -> Option<VmFlags> {
    if word == "none" || word == "---" {
        return Some(VmFlags::empty());
    }
    let flag = |letter| match letter {
        'r' => Some(VmFlags::READ),
        'w' => Some(VmFlags::WRITE),
        'x' => Some(VmFlags::EXEC),
        '-' => Some(VmFlags::empty()),
        _ => None,
    };
    word.chars().try_fold(VmFlags::empty(), |all, letter| flag(letter).map(|flag| all | flag))
}

/// A range in bytes: the two words that follow, or the mapping made last.
fn range(command: &str, args: &mut Args<'_>, session: &Session) -> Result<(VirtAddr, u64), ExitStatus> {
    match args.next_word() {
        None => {
            let last = session.mappings().last().copied();
            let last = last.ok_or_else(|| usage(format_args!("{command}: nothing is mapped; see vm map")))?;
            Ok((VirtAddr::truncate(last.start), last.bytes))
        }
        Some(word) => {
            let at = parse::number("address", word)?;
            let len = args.next_word().map_or(Ok(PAGE_SIZE), |word| parse::size("size", word))?;
            let at =
                VirtAddr::new(at).ok_or_else(|| refused(Errno::Einval, "not an address of a context"))?;
            Ok((at, len))
        }
    }
}

/// The line of a call that did nothing, and what the command ends with.
fn refused(errno: Errno, why: &str) -> ExitStatus {
    let status = match errno {
        Errno::Enomem | Errno::Eagain => ExitStatus::CheckFailed,
        _ => ExitStatus::Usage,
    };
    match why {
        "" => fail(status, format_args!("{errno}")),
        why => fail(status, format_args!("{errno} ({why})")),
    }
}

/// As [`refused`], of a mapping that may have been too much to promise.
fn not_mapped(errno: Errno, bytes: u64) -> ExitStatus {
    let info = vm::commit_info();
    let limited = vm::VM.settings().overcommit() == OvercommitMode::Never;
    if errno == Errno::Enomem && limited && info.committed + bytes.div_ceil(PAGE_SIZE) > info.limit {
        let limit = info.limit * (PAGE_SIZE / 1024);
        return fail(ExitStatus::CheckFailed, format_args!("ENOMEM (CommitLimit {limit} kB)"));
    }
    match errno {
        Errno::Ecorrupt => fail(ExitStatus::Corruption, format_args!("{errno}")),
        _ => refused(errno, ""),
    }
}
