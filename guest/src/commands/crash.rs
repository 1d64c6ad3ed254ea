//! `crash`: every way a kernel dies, on purpose, so that reports and exit statuses can be tested.

use super::{Args, Command, Outcome, fail, usage};
use crate::arch::idt;
use crate::memory::PHYS;
use crate::report;
use core::arch::asm;
use core::hint::black_box;
use mm::addr::Order;
use mm::phys::GfpFlags;
use shared::exit::ExitStatus;

/// The family.
pub const CRASH: &[Command] = &[Command {
    name: "crash",
    usage: WAYS_TEXT,
    summary: "ends the kernel on purpose, to test reports and statuses",
    run: crash,
}];

const WAYS_TEXT: &str = "panic|bug|wild ADDR|wild-exec|null|divide|gp|stack-overflow|triple|oom|hang";

type Way = fn(&mut Args<'_>) -> Outcome;

const WAYS: &[(&str, Way)] = &[
    ("panic", panic),
    ("bug", bug),
    ("wild", wild),
    ("wild-exec", wild_exec),
    ("null", null),
    ("divide", divide),
    ("gp", general_protection),
    ("stack-overflow", stack_overflow),
    ("triple", triple),
    ("oom", oom),
    ("hang", hang),
];

fn crash(args: &mut Args<'_>) -> Outcome {
    let name = args.next_word().unwrap_or_default();
    match WAYS.iter().find(|(known, _)| *known == name) {
        Some((_, way)) => way(args),
        None => Err(usage(format_args!("crash: expected one of {WAYS_TEXT}"))),
    }
}

/// The machine survived what should have ended it.
fn survived(what: &str) -> Outcome {
    Err(fail(ExitStatus::CheckFailed, format_args!("crash: {what} did not fault")))
}

#[inline(never)]
fn panic(_: &mut Args<'_>) -> Outcome {
    panic!("asked for by the command line")
}

#[inline(never)]
fn bug(_: &mut Args<'_>) -> Outcome {
    report::corruption(format_args!("asked for by the command line"))
}

/// Reads one byte, whatever is there.
#[inline(never)]
fn read_at(address: u64) -> u8 {
    let value: u8;
    // SAFETY: unsound by design: the address is the user's. A read changes nothing; if nothing is mapped, the
    // machine ends with a report, which is what was asked for.
    unsafe {
        asm!("mov {}, byte ptr [{}]", out(reg_byte) value, in(reg) address, options(nostack, readonly))
    };
    value
}

fn wild(args: &mut Args<'_>) -> Outcome {
    let word = args.next_word().unwrap_or_default();
    match super::words::number(word) {
        Some(address) => {
            black_box(read_at(address));
            survived("the read")
        }
        None => Err(usage(format_args!("crash wild: bad address '{word}' (0x...)"))),
    }
}

#[inline(never)]
fn wild_exec(_: &mut Args<'_>) -> Outcome {
    static DATA: [u8; 16] = [0xc3; 16];
    // SAFETY: unsound by design: data is not executable, so the call faults. Were it executable, the bytes
    // are a bare return.
    unsafe { asm!("call {}", in(reg) black_box(DATA.as_ptr()), clobber_abi("C")) };
    survived("executing data")
}

#[inline(never)]
fn null(_: &mut Args<'_>) -> Outcome {
    black_box(read_at(0));
    survived("the null pointer")
}

#[inline(never)]
fn divide(_: &mut Args<'_>) -> Outcome {
    // SAFETY: changes registers only; ends in a divide error.
    unsafe {
        asm!("div {0:e}", in(reg) 0, inout("eax") 1 => _, inout("edx") 0 => _, options(nomem, nostack))
    };
    survived("the division by zero")
}

#[inline(never)]
fn general_protection(_: &mut Args<'_>) -> Outcome {
    black_box(read_at(1 << 63));
    survived("the non-canonical address")
}

/// Uses up the stack: every frame is bigger than the one before is done.
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let room = black_box([depth; 32]);
    if depth == u64::MAX { room[0] } else { recurse(depth + 1).wrapping_add(room[31]) }
}

fn stack_overflow(_: &mut Args<'_>) -> Outcome {
    black_box(recurse(black_box(0)));
    survived("the endless recursion")
}

#[inline(never)]
fn triple(_: &mut Args<'_>) -> Outcome {
    idt::destroy();
    // SAFETY: the trap finds no handler, nor do the two that follow from it: the CPU shuts down.
    unsafe { asm!("ud2", options(nomem, nostack)) };
    survived("an invalid instruction")
}

fn oom(_: &mut Args<'_>) -> Outcome {
    let mut taken = 0;
    for order in (0..=Order::MAX.get()).rev().filter_map(Order::new) {
        while let Ok(frames) = PHYS.alloc_pages(GfpFlags::GFP_KERNEL, order) {
            // Nobody gives them back.
            let _ = frames.into_raw();
            taken += order.pages();
        }
    }
    report::out_of_memory(format_args!("{taken} pages taken, as asked for by the command line"))
}

fn hang(_: &mut Args<'_>) -> Outcome {
    loop {
        core::hint::spin_loop();
    }
}
