//! The host's own reads and writes of a file by io_uring: what a guest's disk is compared with.
//!
//! One thread, one ring, plain buffers: what a program without a virtual machine would do, and no more than what the
//! monitor does for a guest.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use io_uring::{IoUring, opcode, types};

/// O_DIRECT of x86-64.
const O_DIRECT: i32 = 0o40000;
/// What buffers are aligned to.
const PAGE: usize = 4096;

/// When to stop.
#[derive(Clone, Copy)]
pub enum Until {
    /// After so long.
    Seconds(u64),
    /// After so many requests.
    Requests(u64),
}

/// What to read or write.
pub struct Plan {
    /// Write.
    pub write: bool,
    /// Around the page cache.
    pub direct: bool,
    /// Anywhere, or one after the other.
    pub random: bool,
    /// Bytes of a request.
    pub bytes: u32,
    /// Requests in flight.
    pub depth: usize,
    /// How long, or how many.
    pub until: Until,
}

/// Where the next request goes.
struct Places {
    blocks: u64,
    random: Option<u64>,
    next: u64,
}

impl Places {
    fn next(&mut self) -> u64 {
        match &mut self.random {
            Some(state) => {
                // xorshift64.
                *state ^= *state << 13;
                *state ^= *state >> 7;
                *state ^= *state << 17;
                *state % self.blocks
            }
            None => {
                let block = self.next;
                self.next = (block + 1) % self.blocks;
                block
            }
        }
    }
}

/// What the host is told of how a whole file will be used.
#[derive(Clone, Copy)]
pub enum Advice {
    /// From its beginning to its end (`POSIX_FADV_SEQUENTIAL`).
    Sequential = 2,
    /// Not soon (`POSIX_FADV_DONTNEED`).
    DontNeed = 4,
}

/// Takes a file out of the page cache; what is dirty stays.
pub fn forget(path: &Path) -> Result<()> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    advise(&file, Advice::DontNeed)
}

/// Tells the host how an open file will be used.
pub fn advise(file: &File, advice: Advice) -> Result<()> {
    let mut ring = IoUring::new(1).context("the host refuses io_uring")?;
    let entry = opcode::Fadvise::new(types::Fd(file.as_raw_fd()), 0, advice as i32).build();
    // SAFETY: the request has no memory, and the file is open until it is done.
    unsafe { ring.submission().push(&entry) }.context("the ring is full")?;
    ring.submit_and_wait(1).context("io_uring_enter fails")?;
    match ring.completion().next().map(|entry| entry.result()) {
        Some(0) => Ok(()),
        result => bail!("posix_fadvise: {result:?}"),
    }
}

/// Reads or writes the file at `path` for a while. Returns requests per second.
pub fn run(path: &Path, plan: &Plan) -> Result<f64> {
    let flags = if plan.direct { O_DIRECT } else { 0 };
    let file = OpenOptions::new().read(true).write(plan.write).custom_flags(flags).open(path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    let size = file.metadata().context("cannot tell the size of the file")?.len();
    let random = plan.random.then_some(0x9e37_79b9_7f4a_7c15);
    let mut places = Places { blocks: (size / u64::from(plan.bytes)).max(1), random, next: 0 };
    let stride = (plan.bytes as usize).next_multiple_of(PAGE);
    let mut memory = vec![1u8; stride * plan.depth + PAGE];
    let skip = memory.as_ptr().align_offset(PAGE);
    let base = memory.as_mut_ptr().wrapping_add(skip);
    let mut ring = IoUring::new(plan.depth as u32).context("the host refuses io_uring")?;
    let fd = types::Fd(file.as_raw_fd());
    let start = Instant::now();
    let mut free: Vec<usize> = (0..plan.depth).collect();
    let (mut sent, mut requests) = (0u64, 0u64);
    loop {
        let most = match plan.until {
            Until::Seconds(seconds) if start.elapsed() >= Duration::from_secs(seconds) => 0,
            Until::Seconds(_) => u64::MAX,
            Until::Requests(count) => count,
        };
        while let Some(slot) = free.pop_if(|_| sent < most) {
            sent += 1;
            let at = base.wrapping_add(slot * stride);
            let offset = places.next() * u64::from(plan.bytes);
            let entry = if plan.write {
                opcode::Write::new(fd, at, plan.bytes).offset(offset).build()
            } else {
                opcode::Read::new(fd, at, plan.bytes).offset(offset).build()
            };
            let entry = entry.user_data(slot as u64);
            // SAFETY: each slot has its own part of `memory`, which outlives the ring's last request: the loop ends
            // only when every slot is free again.
            unsafe { ring.submission().push(&entry) }.context("the ring is full")?;
        }
        if free.len() == plan.depth {
            return Ok(requests as f64 / start.elapsed().as_secs_f64());
        }
        ring.submit_and_wait(1).context("io_uring_enter fails")?;
        let mut short = None;
        for entry in ring.completion() {
            free.push(entry.user_data() as usize);
            requests += 1;
            if entry.result() != plan.bytes as i32 {
                short = Some(entry.result());
            }
        }
        if let Some(result) = short {
            // The rest must not write into memory that is gone.
            ring.submit_and_wait(plan.depth - free.len()).context("io_uring_enter fails")?;
            bail!("a request of {} bytes came to {result}", plan.bytes);
        }
    }
}
