//! The host's own reads: `pread` of a file in its page cache, and copies of memory.

use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::bench::uring;

/// Bytes of a batch, and how many batches there are: as `file bench` in the guest.
const BATCH: usize = 16 << 20;
const BATCHES: u32 = 100;
/// Bytes of a read from one end of the file to the other.
const CHUNK: usize = 64 << 10;

/// What is done again and again.
#[derive(Clone, Copy)]
pub enum Work {
    /// `pread` of the file.
    Read {
        /// Bytes at a time.
        bytes: usize,
        /// From anywhere, or from one place.
        random: bool,
    },
    /// Copies from anywhere in as much memory as the file has.
    Copy {
        /// Bytes at a time.
        bytes: usize,
    },
}

/// The file and the memory.
pub struct Host {
    file: File,
    memory: Vec<u8>,
    buffer: Vec<u8>,
}

impl Host {
    /// Opens the file at `path`, of `bytes` bytes.
    pub fn new(path: &Path, bytes: u64) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        // As the monitor does, so that the host reads as far ahead for both.
        uring::advise(&file, uring::Advice::Sequential)?;
        Ok(Self { file, memory: vec![1; bytes as usize], buffer: vec![1; CHUNK] })
    }

    /// Reads the whole file in order; picoseconds.
    pub fn read_through(&mut self) -> Result<u64> {
        let start = Instant::now();
        for at in (0..self.memory.len()).step_by(CHUNK) {
            self.file.read_exact_at(&mut self.buffer, at as u64).context("cannot read the file")?;
        }
        Ok(ps(start.elapsed()))
    }

    /// The least time of one operation, in picoseconds.
    pub fn least(&mut self, work: Work) -> Result<u64> {
        let (Work::Read { bytes, .. } | Work::Copy { bytes }) = work;
        let (count, places) = (BATCH / bytes, self.memory.len() / bytes);
        let (mut state, mut least) = (0x9e37_79b9_7f4a_7c15_u64, u64::MAX);
        let buffer = &mut self.buffer[..bytes];
        for _ in 0..BATCHES {
            let start = Instant::now();
            for _ in 0..count {
                // xorshift64.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let at = state as usize % places * bytes;
                match work {
                    Work::Read { random, .. } => {
                        let at = if random { at } else { 0 };
                        self.file.read_exact_at(buffer, at as u64).context("cannot read the file")?;
                    }
                    Work::Copy { .. } => buffer.copy_from_slice(&self.memory[at..at + bytes]),
                }
                black_box(&mut *buffer);
            }
            least = least.min(ps(start.elapsed()) / count as u64);
        }
        Ok(least)
    }
}

fn ps(time: Duration) -> u64 {
    time.as_nanos() as u64 * 1000
}

/// How far the host reads ahead of whoever reads the file at `path`, in KiB.
pub fn readahead_kb(path: &Path) -> Result<u64> {
    let device = fs::metadata(path).context("cannot look at the file")?.dev();
    // Linux `MAJOR` and `MINOR` of what `stat` shows.
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xff_ff00);
    let device = format!("/sys/dev/block/{major}:{minor}");
    // A disk, or a partition of one.
    let text = ["queue", "../queue"]
        .iter()
        .find_map(|place| fs::read_to_string(format!("{device}/{place}/read_ahead_kb")).ok());
    let text = text.with_context(|| format!("{} is on no disk: no readahead in {device}", path.display()))?;
    text.trim().parse().with_context(|| format!("the readahead in {device} is {text}"))
}
