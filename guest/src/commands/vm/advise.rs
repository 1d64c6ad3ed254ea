//! Advice about the use of a range, and what comes of it at once.

use super::session;
use super::{range, refused};
use crate::commands::{Args, Outcome, usage};
use crate::console;
use crate::memory::slab::FRAMES;
use crate::memory::vm::{RECLAIM, STAT, VM};
use mm::addr::PAGE_SIZE;
use mm::space::Advice;
use mm::vmstat::VmEvent;

/// By the names of `madvise(2)`.
const WORDS: [(&str, Option<Advice>); 12] = [
    ("normal", Some(Advice::Normal)),
    ("random", Some(Advice::Random)),
    ("sequential", Some(Advice::Sequential)),
    ("willneed", Some(Advice::WillNeed)),
    ("dontneed", Some(Advice::DontNeed)),
    ("free", Some(Advice::Free)),
    ("cold", Some(Advice::Cold)),
    // Reclaim acts on it at once.
    ("pageout", None),
    ("dontfork", Some(Advice::DontFork)),
    ("dofork", Some(Advice::DoFork)),
    ("hugepage", Some(Advice::HugePage)),
    ("nohugepage", Some(Advice::NoHugePage)),
];

/// What the line of the command tells of.
const EVENTS: [(VmEvent, &str); 5] = [
    (VmEvent::PgLazyFree, "pglazyfree"),
    (VmEvent::PgLazyFreed, "pglazyfreed"),
    (VmEvent::PgDeactivate, "pgdeactivate"),
    (VmEvent::PswpOut, "pswpout"),
    (VmEvent::SwpoutZero, "swpout_zero"),
];

/// `vm advise WHAT [ADDR SIZE]`.
pub fn advise(args: &mut Args<'_>) -> Outcome {
    let word = args.next_word().unwrap_or("");
    let known = WORDS.iter().find(|(name, _)| *name == word);
    let &(name, advice) = known.ok_or_else(|| {
        usage(format_args!("vm advise: expected free, cold, pageout, dontneed, ..., not '{word}'"))
    })?;
    session::with(|session| {
        let (at, len) = range("vm advise", args, session)?;
        let mm = session.context.clone();
        let before = EVENTS.map(|(event, _)| STAT.event(event));
        let result = match advice {
            Some(advice) => VM.madvise(mm.mm(), at, len, advice, &FRAMES),
            None => RECLAIM.page_out(mm.mm(), at, len, &FRAMES).map(drop),
        };
        if matches!(advice, Some(Advice::DontNeed | Advice::Free)) {
            session.unmark(at.get(), len);
        }
        result.map_err(|errno| refused(errno, ""))?;
        console::print(format_args!("advised={name} at={:#x} pages={}", at.get(), len.div_ceil(PAGE_SIZE)));
        for ((event, name), before) in EVENTS.into_iter().zip(before) {
            console::print(format_args!(" {name}=+{}", STAT.event(event) - before));
        }
        console::print(format_args!("\n"));
        Ok(())
    })
}
