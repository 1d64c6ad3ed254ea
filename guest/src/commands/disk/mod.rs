//! `disk`: the disks, what is on them, and patterns that a host can check.

mod bench;
mod journal;
mod rescan;

use super::support::parse;
use super::{Args, Command, Outcome, fail, usage};
use crate::console;
use crate::drivers::blk::{self, Disk};
use crate::memory;
use crc32fast::Hasher;
use mm::addr::PAGE_SIZE;
use shared::exit::ExitStatus;

/// The family.
pub const DISK: &[Command] = &[
    rescan::BLK,
    Command {
        name: "disk",
        usage: "list | crc NAME [sector=N] [sectors=N] | fill NAME [seed=N] [sector=N] [sectors=N] | \
            bench NAME [mode=read|write|randread|randwrite] [bs=4K] [depth=32] [seconds=2] | journal NAME [count=N]",
        summary: "lists disks; CRC-32 of a region; writes a pattern and flushes; measures; writes and flushes sector by sector",
        run: disk,
    },
];

const SECTOR: usize = 512;
/// A region's default length: 1 MiB.
const DEFAULT_SECTORS: u64 = 2048;
/// Requests are this long.
const CHUNK: usize = 64 << 10;

fn disk(args: &mut Args<'_>) -> Outcome {
    match args.next_word() {
        Some("list") => list(),
        Some("crc") => crc(args),
        Some("fill") => fill(args),
        Some("bench") => bench::bench(args),
        Some("journal") => journal::journal(args),
        other => {
            let other = other.unwrap_or("");
            Err(usage(format_args!("disk: expected list, crc, fill, bench or journal, not '{other}'")))
        }
    }
}

fn list() -> Outcome {
    for disk in blk::disks() {
        let totals = disk.counters();
        console::print(format_args!(
            "disk={} sectors={} ro={} rotational={} queues={} serial={} read_bytes={} write_bytes={}\n",
            Name(disk),
            disk.sectors(),
            u8::from(disk.is_read_only()),
            u8::from(disk.is_rotational()),
            disk.queues(),
            core::str::from_utf8(disk.serial().as_bytes()).unwrap_or("?"),
            totals.read_bytes,
            totals.write_bytes,
        ));
    }
    Ok(())
}

struct Name<'a>(&'a Disk);

impl core::fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "vd{}", self.0.letter())
    }
}

struct Region {
    disk: &'static Disk,
    sector: u64,
    sectors: u64,
}

/// Settings of a command, in any order. All are understood before a disk is touched.
#[derive(Default)]
struct Settings {
    sector: Option<u64>,
    sectors: Option<u64>,
    seed: Option<u64>,
}

impl Settings {
    fn parse(args: &mut Args<'_>) -> Result<Self, ExitStatus> {
        let mut settings = Self::default();
        while let Some(word) = args.next_word() {
            match parse::setting(word) {
                ("sector", Some(text)) => settings.sector = Some(parse::number("sector", text)?),
                ("sectors", Some(text)) => settings.sectors = Some(parse::number("sectors", text)?),
                ("seed", Some(text)) => settings.seed = Some(parse::number("seed", text)?),
                _ => return Err(parse::unexpected("disk", word)),
            }
        }
        Ok(settings)
    }

    fn region(&self, name: &str, disk: &'static Disk) -> Result<Region, ExitStatus> {
        let sector = self.sector.unwrap_or(0);
        let rest = disk.sectors().saturating_sub(sector);
        let sectors = self.sectors.unwrap_or(DEFAULT_SECTORS.min(rest));
        if sectors == 0 || sectors > rest {
            return Err(usage(format_args!(
                "{name}: {sectors} sectors at {sector} are not on the disk of {}",
                disk.sectors()
            )));
        }
        Ok(Region { disk, sector, sectors })
    }
}

/// The disk that the next word names.
fn named<'a>(args: &mut Args<'a>) -> Result<(&'a str, &'static Disk), ExitStatus> {
    let name = args.next_word().unwrap_or("");
    let missing = || fail(ExitStatus::CheckFailed, format_args!("{name}: no such device"));
    Ok((name, blk::find(name).ok_or_else(missing)?))
}

/// The region that the arguments name, and the seed if there is one.
fn region(args: &mut Args<'_>) -> Result<(Region, Option<u64>), ExitStatus> {
    let (name, disk) = named(args)?;
    let settings = Settings::parse(args)?;
    Ok((settings.region(name, disk)?, settings.seed))
}

/// Frames for requests, given back when dropped.
struct Buffer {
    at: mm::addr::PhysAddr,
    bytes: &'static mut [u8],
}

impl Buffer {
    fn alloc() -> Result<Self, ExitStatus> {
        Self::of(CHUNK)
    }

    /// Frames for `bytes` bytes in a row.
    fn of(bytes: usize) -> Result<Self, ExitStatus> {
        let (at, start) = memory::dma_alloc(bytes.div_ceil(PAGE_SIZE as usize))
            .ok_or_else(|| fail(ExitStatus::OutOfMemory, format_args!("disk: no memory for a buffer")))?;
        // SAFETY: the frames are ours and in a row; only requests that are waited for touch them meanwhile.
        let bytes = unsafe { core::slice::from_raw_parts_mut(start.as_ptr(), bytes) };
        Ok(Self { at, bytes })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: from `dma_alloc`; every request on the buffer was waited for.
        unsafe { memory::dma_free(self.at, self.bytes.len().div_ceil(PAGE_SIZE as usize)) };
    }
}

impl Region {
    /// Goes through the region in requests: first sector and length in bytes of each.
    fn chunks(&self) -> impl Iterator<Item = (u64, usize)> {
        let (start, end) = (self.sector, self.sector + self.sectors);
        (start..end).step_by(CHUNK / SECTOR).map(move |at| (at, ((end - at) as usize * SECTOR).min(CHUNK)))
    }
}

fn io_error(disk: &Disk, error: impl core::fmt::Debug) -> ExitStatus {
    fail(ExitStatus::CheckFailed, format_args!("{}: {error:?}", Name(disk)))
}

fn crc(args: &mut Args<'_>) -> Outcome {
    let (region, seed) = region(args)?;
    if seed.is_some() {
        return Err(usage(format_args!("disk crc: seed= is for fill")));
    }
    let buffer = Buffer::alloc()?;
    let mut hasher = Hasher::new();
    for (sector, length) in region.chunks() {
        let bytes = &mut buffer.bytes[..length];
        region.disk.read_sectors(sector, bytes).map_err(|error| io_error(region.disk, error))?;
        hasher.update(bytes);
    }
    console::print(format_args!(
        "disk={} sector={} sectors={} crc32=0x{:08x}\n",
        Name(region.disk),
        region.sector,
        region.sectors,
        hasher.finalize()
    ));
    Ok(())
}

/// Writes 64-bit words that depend on the seed and the word's place, then flushes.
fn fill(args: &mut Args<'_>) -> Outcome {
    let (region, seed) = region(args)?;
    let seed = seed.unwrap_or(0);
    let buffer = Buffer::alloc()?;
    let mut hasher = Hasher::new();
    for (sector, length) in region.chunks() {
        let bytes = &mut buffer.bytes[..length];
        for (n, word) in bytes.chunks_exact_mut(8).enumerate() {
            word.copy_from_slice(&pattern(seed, sector * SECTOR as u64 / 8 + n as u64).to_le_bytes());
        }
        hasher.update(bytes);
        region.disk.write_sectors(sector, bytes).map_err(|error| io_error(region.disk, error))?;
    }
    region.disk.flush().map_err(|error| io_error(region.disk, error))?;
    console::print(format_args!(
        "disk={} sector={} sectors={} seed={seed} written=1 crc32=0x{:08x}\n",
        Name(region.disk),
        region.sector,
        region.sectors,
        hasher.finalize()
    ));
    Ok(())
}

/// The word at index `n` of the disk: a splitmix64 step.
fn pattern(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add((n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}
