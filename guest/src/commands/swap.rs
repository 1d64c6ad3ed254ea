//! `swapon`, `swapoff`, `swap`, `swapcache`: swap areas and what is in them.

mod bench;

use super::vm::session;
use super::{Args, Command, Outcome, fail, usage};
use crate::arch::percpu;
use crate::commands::support::parse;
use crate::console;
use crate::context;
use crate::drivers::blk;
use crate::memory::kswapd;
use crate::memory::slab::FRAMES;
use crate::memory::swap;
use crate::memory::vm::{RECLAIM, STAT, SWAP, VM};
use crate::task;
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::errno::Errno;
use mm::space::MapRequest;
use mm::vma::VmFlags;
use mm::vmstat::{NodeStat, VmEvent};
use shared::exit::ExitStatus;
use shared::params::SwapDiscard;

/// The family.
pub const SWAPPING: &[Command] = &[
    Command {
        name: "swapon",
        usage: "[-p N] [--discard[=once|pages]] PATH",
        summary: "swaps to a disk, a partition or a file; its disk is told at first, or ever again, what is not needed",
        run: on,
    },
    Command {
        name: "swapoff",
        usage: "PATH [expect=ENOMEM]",
        summary: "brings everything back from there",
        run: off,
    },
    Command {
        name: "swap",
        usage: "verify | out | bench [size=BYTES] [until=touch|out|in|random] [pages=N] [scatter=STEP]",
        summary: "counts the entries of all slots again; sends all of the context to swap; how fast pages go and come back",
        run: swap,
    },
    Command {
        name: "swapcache",
        usage: "demo [PAGES]",
        summary: "what is read back and not changed goes again without being written",
        run: cache,
    },
];

fn on(args: &mut Args<'_>) -> Outcome {
    let (mut priority, mut discard) = (None, SwapDiscard::default());
    while let Some(word) = args.next_word() {
        match word {
            "-p" => {
                let number = parse::number("priority", args.next_word().unwrap_or(""))?;
                let fits = u16::try_from(number).ok().filter(|number| *number < 1 << 15);
                priority =
                    Some(fits.ok_or_else(|| usage(format_args!("swapon: priorities are 0 to 32767")))?);
            }
            "-d" => discard = SwapDiscard { once: true, pages: true },
            word if word.starts_with("--") => {
                let policy = word.strip_prefix("--").and_then(SwapDiscard::parse);
                discard = policy.ok_or_else(|| parse::unexpected("swapon", word))?;
            }
            path => {
                return swap::on(path, priority, discard).map_err(|refused| match refused {
                    swap::Refused::Call(Errno::Enomem | Errno::Eio) => {
                        fail(ExitStatus::CheckFailed, format_args!("swapon: {path}: {refused}"))
                    }
                    refused => usage(format_args!("swapon: {path}: {refused}")),
                });
            }
        }
    }
    Err(usage(format_args!("swapon: expected a disk, a partition or a file")))
}

fn off(args: &mut Args<'_>) -> Outcome {
    let path = args.next_word().ok_or_else(|| usage(format_args!("swapoff: expected what is swapped to")))?;
    // What cannot be brought back stays, and the run with it.
    let expects_enomem = args.take("expect=ENOMEM");
    match swap::off(path) {
        Err(Errno::Enomem) if expects_enomem => {
            console::print(format_args!("swapoff={path} error=ENOMEM\n"));
            Ok(())
        }
        Err(Errno::Einval) => Err(usage(format_args!("swapoff: {path}: EINVAL"))),
        Err(errno) => Err(fail(ExitStatus::CheckFailed, format_args!("swapoff: {path}: {errno}"))),
        Ok(()) if expects_enomem => {
            Err(fail(ExitStatus::CheckFailed, format_args!("swapoff: {path}: expected ENOMEM")))
        }
        Ok(()) => Ok(()),
    }
}

fn swap(args: &mut Args<'_>) -> Outcome {
    match args.next_word() {
        Some("verify") => verify(),
        Some("out") => session::with(|session| {
            let mappings = session.mappings();
            let mut sent = 0;
            for mapping in mappings {
                sent += send(session.context.mm().id(), mapping.start, mapping.bytes)?;
            }
            console::print(format_args!("sent={sent}\n"));
            Ok(())
        }),
        Some("bench") => bench::bench(args),
        _ => Err(usage(format_args!("swap: expected verify, out or bench"))),
    }
}

/// How often slots are counted again because some came or went meanwhile, and how long that is waited for.
const VERIFY_ROUNDS: u32 = 1000;
const VERIFY_NS: u64 = 1_000_000;

/// What changes when slots do; `None` while reclaim has pages in hand.
fn movement() -> Option<u64> {
    let events =
        [VmEvent::PgScanAnon, VmEvent::PswpIn, VmEvent::SwpinZero, VmEvent::PswpOut, VmEvent::SwpoutZero];
    let in_hand = STAT.total(NodeStat::IsolatedAnon) + STAT.total(NodeStat::Writeback);
    (in_hand == 0).then(|| events.map(|event| STAT.event(event)).iter().sum())
}

/// Counts all slots while none comes or goes: kswapd may be at work on another CPU.
fn count_slots() -> Result<u64, &'static str> {
    for _ in 1..VERIFY_ROUNDS {
        let before = movement();
        let counted = SWAP.verify(|entry| VM.entries_naming(entry));
        if counted.is_ok() || before.is_some() && movement() == before {
            return counted;
        }
        task::sleep(VERIFY_NS);
    }
    SWAP.verify(|entry| VM.entries_naming(entry))
}

/// Counts what every slot is named by, and tells what could not be written up to now.
fn verify() -> Outcome {
    kswapd::settle();
    blk::settle();
    match count_slots() {
        Ok(taken) => {
            let (total, free) = (SWAP.total_slots(), SWAP.free_slots());
            console::print(format_args!(
                "swap_verify=ok used={taken} total={total} free={free} write_errors={}\n",
                SWAP.write_errors()
            ));
            Ok(())
        }
        Err(what) => Err(fail(ExitStatus::Corruption, format_args!("swap verify: {what}"))),
    }
}

/// Sends a range of context `id` to swap, and has it written.
pub(super) fn send(id: u32, start: u64, bytes: u64) -> Result<u64, ExitStatus> {
    let (Some(mm), Some(at)) = (VM.mm(id), VirtAddr::new(start)) else { return Ok(0) };
    let sent = RECLAIM.page_out_shared(mm, at, bytes, &FRAMES);
    VM.settle_swap(mm, at, bytes);
    // Those that are written now go.
    let _ = RECLAIM.page_out_shared(mm, at, bytes, &FRAMES);
    match sent {
        Err(Errno::Ecorrupt) => {
            Err(fail(ExitStatus::Corruption, format_args!("swap out: {}", Errno::Ecorrupt)))
        }
        // What is locked or gone stays.
        sent => Ok(sent.unwrap_or(0)),
    }
}

fn cache(args: &mut Args<'_>) -> Outcome {
    if !args.take("demo") {
        return Err(usage(format_args!("swapcache: expected demo")));
    }
    let pages = args.next_word().map_or(Ok(1000), |word| parse::count("pages", word))?;
    session::with(|session| {
        let mm = session.context.mm();
        // As many pages as are counted, and no more.
        let request = MapRequest::anon(pages * PAGE_SIZE);
        let request = MapRequest { vm: request.vm | VmFlags::NOHUGEPAGE, ..request };
        let at = VM.mmap(mm, &request, &FRAMES);
        let at = at.map_err(|errno| fail(ExitStatus::CheckFailed, format_args!("swapcache: {errno}")))?.get();
        let context = session.context.clone();
        let each = |work: &(dyn Fn(*mut u64, u64) + Sync), count: u64| {
            let all = || (0..count).for_each(|n| work((at + n * PAGE_SIZE) as *mut u64, n));
            context::run(&context, percpu::cpu(), all).or_else(session::ended)
        };
        // SAFETY: the mapping was just made in this context.
        each(&|page, n| unsafe { page.write_volatile(n + 1) }, pages)?;
        let step = |what: &str| -> Outcome {
            let before = STAT.event(VmEvent::PswpOut);
            let sent = send(mm.id(), at, pages * PAGE_SIZE)?;
            let written = STAT.event(VmEvent::PswpOut) - before;
            console::print(format_args!("{what} sent={sent} pswpout={written}\n"));
            Ok(())
        };
        step("evict")?;
        let wrong = core::sync::atomic::AtomicU64::new(0);
        let look = |page: *mut u64, n: u64| {
            // SAFETY: as above.
            if unsafe { page.read_volatile() } != n + 1 {
                wrong.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
            }
        };
        each(&look, pages)?;
        step("clean")?;
        // SAFETY: as above.
        each(&|page, n| unsafe { page.write_volatile(n + 1) }, pages / 10)?;
        step("modified")?;
        each(&look, pages)?;
        let wrong = wrong.into_inner();
        console::print(format_args!("verify={} wrong={wrong}\n", if wrong == 0 { "ok" } else { "wrong" }));
        if wrong == 0 { Ok(()) } else { Err(ExitStatus::CheckFailed) }
    })
}
