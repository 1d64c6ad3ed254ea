//! The values of `--disk` and `--swap`, and the disks of a machine.
//!
//! Owns: the syntax and the default disks. Stays outside: opening images and what a disk can do
//! (`devices::virtio::blk`).

use std::path::PathBuf;
use std::time::Duration;

use shared::params::parse_size;

use crate::devices::virtio::blk::{Cache, EngineKind, FaultPlan};

/// Bytes of the temporary data disk.
const DATA_DISK_SIZE: u64 = 64 << 20;
/// Longest disk name a virtio-blk device can report, in bytes.
const MAX_ID: usize = 20;

/// All options, for messages.
const OPTIONS: &str = "ro, id=NAME, cache=writeback|none, io=uring|threads, latency=TIME, bps=SIZE, \
    error=read|write@sector:N, torn=N and fail_nth=N";
/// The names of those that take a value.
const KEYS: [&str; 8] = ["id", "cache", "io", "latency", "bps", "error", "torn", "fail_nth"];
/// Longest latency: an hour.
const MAX_LATENCY: Duration = Duration::from_secs(3600);

/// Where the contents of a disk are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskSource {
    /// An empty file without a name, of this many bytes, that is gone after the run.
    Temporary(u64),
    /// The same, that begins as a swap area.
    TemporarySwap(u64),
    /// An image.
    Image(PathBuf),
}

/// One disk of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskConfig {
    /// Where its contents are.
    pub source: DiskSource,
    /// Whether the guest may only read it.
    pub read_only: bool,
    /// The name the guest can read from it, at most 20 bytes.
    pub id: String,
    /// What the host's page cache does for it.
    pub cache: Cache,
    /// What moves its bytes.
    pub engine: EngineKind,
    /// What it does wrong on purpose.
    pub faults: FaultPlan,
}

/// What is wrong with a disk option; each text is a complete line.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DiskSpecError {
    /// An unknown word after the path.
    #[error("--disk: unknown option {0:?}; known are {OPTIONS}")]
    UnknownOption(String),
    /// A value that its option does not take.
    #[error("--disk: {option}={value:?} is not possible; write {expected}")]
    BadValue {
        /// The option.
        option: &'static str,
        /// The value.
        value: String,
        /// What it takes.
        expected: &'static str,
    },
    /// A name the device cannot report.
    #[error("--disk: id {0:?} is empty or longer than {MAX_ID} bytes; use a shorter one")]
    BadId(String),
    /// Options for the temporary disk beside disks with a path, or twice.
    #[error(
        "--disk {0:?} has no PATH; only a single --disk can do without, to set options of the temporary disk"
    )]
    NoPath(String),
    /// A size that no swap area has.
    #[error(
        "--swap {0}: the size of a swap area is a multiple of 4096 bytes from 40K to 16T; for none use --swap none"
    )]
    BadSize(String),
}

/// The disks of a machine: data disks in the order given, then the swap disk.
pub fn disks(data: &[String], swap: &str) -> Result<Vec<DiskConfig>, DiskSpecError> {
    let mut disks = Vec::with_capacity(data.len() + 2);
    if data.is_empty() {
        disks.push(temporary("data", DATA_DISK_SIZE));
    }
    for (index, text) in data.iter().enumerate() {
        disks.push(parse_disk(text, index, data.len())?);
    }
    disks.extend(parse_swap(swap)?);
    Ok(disks)
}

impl DiskConfig {
    /// A writable disk without faults.
    fn plain(source: DiskSource, id: String) -> Self {
        let (cache, engine, faults) = Default::default();
        Self { source, read_only: false, id, cache, engine, faults }
    }
}

fn temporary(id: &str, size: u64) -> DiskConfig {
    DiskConfig::plain(DiskSource::Temporary(size), id.to_owned())
}

fn parse_disk(text: &str, index: usize, count: usize) -> Result<DiskConfig, DiskSpecError> {
    let mut words = text.split(',').peekable();
    let path = words.next_if(|word| !is_option(word));
    let mut disk = match path {
        Some(path) if !path.is_empty() => {
            DiskConfig::plain(DiskSource::Image(PathBuf::from(path)), format!("disk{index}"))
        }
        _ if count == 1 => temporary("data", DATA_DISK_SIZE),
        _ => return Err(DiskSpecError::NoPath(text.to_owned())),
    };
    for word in words {
        match word.split_once('=') {
            None if word == "ro" => disk.read_only = true,
            Some((key, value)) => set(&mut disk, key, value, word)?,
            None => return Err(DiskSpecError::UnknownOption(word.to_owned())),
        }
    }
    Ok(disk)
}

/// Whether the first word is an option already. A file called `ro` is given as `./ro`.
fn is_option(word: &str) -> bool {
    word == "ro" || word.split_once('=').is_some_and(|(key, _)| KEYS.contains(&key))
}

/// Sets the option `word`, which is `key=value`.
fn set(disk: &mut DiskConfig, key: &str, value: &str, word: &str) -> Result<(), DiskSpecError> {
    let bad = |option, expected| DiskSpecError::BadValue { option, value: value.to_owned(), expected };
    let nth = |option| match value.parse() {
        Ok(n @ 1..) => Ok(Some(n)),
        _ => Err(bad(option, "a number from 1 on: which request it is to be")),
    };
    match key {
        "id" if value.is_empty() || value.len() > MAX_ID => {
            return Err(DiskSpecError::BadId(value.to_owned()));
        }
        "id" => disk.id = value.to_owned(),
        "cache" => {
            disk.cache = match value {
                "writeback" => Cache::Writeback,
                "none" => Cache::None,
                _ => return Err(bad("cache", "writeback or none")),
            }
        }
        "io" => {
            disk.engine = match value {
                "uring" => EngineKind::Uring,
                "threads" => EngineKind::Threads,
                _ => return Err(bad("io", "uring or threads")),
            }
        }
        "latency" => {
            let time = parse_time(value).filter(|time| *time <= MAX_LATENCY);
            disk.faults.latency = Some(time.ok_or_else(|| bad("latency", "a time up to an hour, like 5ms"))?);
        }
        "bps" => {
            let rate = parse_size(value).filter(|rate| *rate > 0);
            let rate = rate.ok_or_else(|| bad("bps", "bytes per second above 0, like 4M"))?;
            disk.faults.bytes_per_second = Some(rate);
        }
        "error" => {
            let (list, sector) = match value.split_once("@sector:") {
                Some(("read", sector)) => (&mut disk.faults.bad_reads, sector.parse()),
                Some(("write", sector)) => (&mut disk.faults.bad_writes, sector.parse()),
                _ => return Err(bad("error", "read@sector:N or write@sector:N")),
            };
            list.push(sector.map_err(|_| bad("error", "read@sector:N or write@sector:N"))?);
        }
        "torn" => disk.faults.torn_write = nth("torn")?,
        "fail_nth" => disk.faults.fail_nth = nth("fail_nth")?,
        _ => return Err(DiskSpecError::UnknownOption(word.to_owned())),
    }
    Ok(())
}

/// A whole number of seconds, milliseconds or microseconds.
fn parse_time(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number = digits.parse().ok()?;
    match text.get(digits.len()..)? {
        "s" => Some(Duration::from_secs(number)),
        "ms" => Some(Duration::from_millis(number)),
        "us" => Some(Duration::from_micros(number)),
        _ => None,
    }
}

fn parse_swap(text: &str) -> Result<Option<DiskConfig>, DiskSpecError> {
    match parse_size(text) {
        _ if text == "none" => Ok(None),
        Some(size) if images::SwapSpec::is_size(size) => {
            Ok(Some(DiskConfig::plain(DiskSource::TemporarySwap(size), String::from("swap"))))
        }
        Some(_) => Err(DiskSpecError::BadSize(text.to_owned())),
        None => Ok(Some(DiskConfig::plain(DiskSource::Image(PathBuf::from(text)), String::from("swap")))),
    }
}

#[cfg(test)]
mod tests;
