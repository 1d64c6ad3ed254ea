//! `disk bench`: how fast a disk is, with a number of requests in flight from one task.
//!
//! Owns: the pattern of requests and the measurement. Invariants: buffers are freed only when no request has them; a
//! failed request ends the run.

use super::{Buffer, Name, SECTOR, io_error, named};
use crate::arch::{cpu, time};
use crate::commands::support::{Random, parse};
use crate::commands::{Args, Outcome, usage};
use crate::console;
use crate::drivers::blk::{BlkError, Disk, MAX_IN_FLIGHT, Operation, Segment, Submitter, Ticket};
use shared::exit::ExitStatus;

/// Longest run in seconds.
const MAX_SECONDS: u64 = 3600;
/// Largest request in bytes: a block of the highest order.
const MAX_BYTES: u64 = 4 << 20;

#[derive(Clone, Copy)]
struct Plan {
    write: bool,
    random: bool,
    bytes: u64,
    depth: usize,
    seconds: u64,
}

impl Plan {
    fn parse(args: &mut Args<'_>) -> Result<Self, ExitStatus> {
        let mut plan = Self { write: false, random: false, bytes: 4096, depth: 32, seconds: 2 };
        while let Some(word) = args.next_word() {
            match parse::setting(word) {
                ("mode", Some(text)) => {
                    (plan.write, plan.random) = match text {
                        "read" => (false, false),
                        "write" => (true, false),
                        "randread" => (false, true),
                        "randwrite" => (true, true),
                        _ => {
                            let line = format_args!("bad mode '{text}' (read, write, randread or randwrite)");
                            return Err(usage(line));
                        }
                    }
                }
                ("bs", Some(text)) => plan.bytes = parse::size("bs", text)?,
                ("depth", Some(text)) => plan.depth = parse::count("depth", text)? as usize,
                ("seconds", Some(text)) => plan.seconds = parse::count("seconds", text)?,
                _ => return Err(parse::unexpected("disk bench", word)),
            }
        }
        if !(SECTOR as u64..=MAX_BYTES).contains(&plan.bytes) || !plan.bytes.is_multiple_of(SECTOR as u64) {
            return Err(usage(format_args!("bad bs {} (whole sectors, up to 4M)", plan.bytes)));
        }
        if plan.depth > MAX_IN_FLIGHT || plan.seconds > MAX_SECONDS {
            return Err(usage(format_args!("depth goes up to {MAX_IN_FLIGHT}, seconds up to {MAX_SECONDS}")));
        }
        Ok(plan)
    }
}

/// Where requests go: one after the other, or anywhere.
struct Places {
    blocks: u64,
    sectors: u64,
    next: u64,
    random: Option<Random>,
}

impl Places {
    fn next(&mut self) -> u64 {
        let block = match &mut self.random {
            Some(random) => random.below(self.blocks),
            None => {
                let block = self.next;
                self.next = (block + 1) % self.blocks;
                block
            }
        };
        block * self.sectors
    }
}

/// A request that may be in flight, and its memory. The ticket is dropped before the memory is.
struct Slot {
    ticket: Option<Ticket>,
    buffer: Option<Buffer>,
}

/// What a run came to.
#[derive(Default)]
struct Tally {
    requests: u64,
    error: Option<BlkError>,
}

/// `disk bench NAME ...`.
pub fn bench(args: &mut Args<'_>) -> Outcome {
    let (name, disk) = named(args)?;
    let plan = Plan::parse(args)?;
    let sectors = plan.bytes / SECTOR as u64;
    let blocks = disk.sectors() / sectors;
    if blocks == 0 {
        return Err(usage(format_args!("{name}: a request of {} bytes is larger than the disk", plan.bytes)));
    }
    let random = plan.random.then(|| Random::new(cpu::rdtsc()));
    let places = Places { blocks, sectors, next: 0, random };
    let mut slots: [Slot; MAX_IN_FLIGHT] = [const { Slot { ticket: None, buffer: None } }; MAX_IN_FLIGHT];
    let slots = slots.get_mut(..plan.depth).unwrap_or_default();
    for slot in &mut *slots {
        slot.buffer = Some(Buffer::of(plan.bytes as usize)?);
    }
    let (before, start) = (disk.counters(), cpu::rdtsc());
    let result = run(disk, plan, places, slots, start);
    let us = (time::tsc_to_ns(cpu::rdtsc().wrapping_sub(start)) / 1000).max(1);
    let after = disk.counters();
    if let Some(error) = result.error {
        return Err(io_error(disk, error));
    }
    let bytes = result.requests * plan.bytes;
    let iops = result.requests.saturating_mul(1_000_000) / us;
    console::print(format_args!(
        "disk={} requests={} bytes={bytes} us={us} iops={iops} mb_s={} kicks={} interrupts={}\n",
        Name(disk),
        result.requests,
        bytes / us,
        after.kicks - before.kicks,
        after.interrupts - before.interrupts,
    ));
    Ok(())
}

/// Keeps all slots busy until the time is over, then waits for the last of them.
fn run(disk: &'static Disk, plan: Plan, mut places: Places, slots: &mut [Slot], start: u64) -> Tally {
    let limit = time::ns_to_tsc(plan.seconds * 1_000_000_000);
    let submitter = Submitter::new(disk);
    let mut result = Tally::default();
    let mut in_flight = 0usize;
    loop {
        let go_on = result.error.is_none() && cpu::rdtsc().wrapping_sub(start) < limit;
        let mut progress = false;
        for slot in &mut *slots {
            match slot.ticket.take().map(Ticket::finish) {
                Some(Err(ticket)) => {
                    slot.ticket = Some(ticket);
                    continue;
                }
                Some(Ok(outcome)) => {
                    in_flight -= 1;
                    progress = true;
                    match outcome {
                        Ok(()) => result.requests += 1,
                        Err(error) => result.error = Some(error),
                    }
                }
                None => {}
            }
            let Some(buffer) = slot.buffer.as_ref().filter(|_| go_on) else { continue };
            match start_one(&submitter, plan, places.next(), buffer) {
                Ok(ticket) => {
                    slot.ticket = Some(ticket);
                    in_flight += 1;
                }
                // Another task has the room; this slot has its turn later.
                Err(BlkError::Full) => {}
                Err(error) => result.error = Some(error),
            }
        }
        submitter.kick();
        if in_flight == 0 && !go_on {
            return result;
        }
        if !submitter.poll() && !progress && in_flight > 0 {
            submitter.wait();
        }
    }
}

fn start_one(
    submitter: &Submitter<'static>,
    plan: Plan,
    sector: u64,
    buffer: &Buffer,
) -> Result<Ticket, BlkError> {
    let operation = match plan.write {
        true => Operation::Write { sector },
        false => Operation::Read { sector },
    };
    // At most 4 MiB.
    let segment = Segment { addr: buffer.at, bytes: plan.bytes as u32 };
    // SAFETY: the buffer is its slot's, and the slot waits for this request before it uses or frees it.
    unsafe { submitter.submit(operation, &[segment]) }
}
