//! The values of `--disk` and `--swap`, and the disks of a machine.
//!
//! Owns: the syntax and the default disks. Stays outside: opening images and what a disk can do
//! (`devices::virtio::blk`).

use std::path::PathBuf;

use shared::params::parse_size;

/// Bytes of the temporary data disk.
const DATA_DISK_SIZE: u64 = 64 << 20;
/// Longest disk name a virtio-blk device can report, in bytes.
const MAX_ID: usize = 20;

/// Where the contents of a disk are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskSource {
    /// An empty file without a name, of this many bytes, that is gone after the run.
    Temporary(u64),
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
}

/// What is wrong with a disk option; each text is a complete line.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DiskSpecError {
    /// An unknown word after the path.
    #[error("--disk: unknown option {0:?}; known are ro and id=NAME")]
    UnknownOption(String),
    /// A name the device cannot report.
    #[error("--disk: id {0:?} is empty or longer than {MAX_ID} bytes; use a shorter one")]
    BadId(String),
    /// Options for the temporary disk beside disks with a path, or twice.
    #[error(
        "--disk {0:?} has no PATH; only a single --disk can do without, to set options of the temporary disk"
    )]
    NoPath(String),
    /// A size of 0, or one that is no multiple of a sector.
    #[error(
        "--swap {0}: the size of a disk is a multiple of 4096 bytes above 0; for no swap disk use --swap none"
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

fn temporary(id: &str, size: u64) -> DiskConfig {
    DiskConfig { source: DiskSource::Temporary(size), read_only: false, id: id.to_owned() }
}

fn parse_disk(text: &str, index: usize, count: usize) -> Result<DiskConfig, DiskSpecError> {
    let mut words = text.split(',').peekable();
    let path = words.next_if(|word| !is_option(word));
    let mut disk = match path {
        Some(path) if !path.is_empty() => DiskConfig {
            source: DiskSource::Image(PathBuf::from(path)),
            read_only: false,
            id: format!("disk{index}"),
        },
        _ if count == 1 => temporary("data", DATA_DISK_SIZE),
        _ => return Err(DiskSpecError::NoPath(text.to_owned())),
    };
    for word in words {
        match word.split_once('=') {
            None if word == "ro" => disk.read_only = true,
            Some(("id", id)) if id.is_empty() || id.len() > MAX_ID => {
                return Err(DiskSpecError::BadId(id.to_owned()));
            }
            Some(("id", id)) => disk.id = id.to_owned(),
            _ => return Err(DiskSpecError::UnknownOption(word.to_owned())),
        }
    }
    Ok(disk)
}

/// Whether the first word is an option already. A file called `ro` is given as `./ro`.
fn is_option(word: &str) -> bool {
    word == "ro" || word.starts_with("id=")
}

fn parse_swap(text: &str) -> Result<Option<DiskConfig>, DiskSpecError> {
    match parse_size(text) {
        _ if text == "none" => Ok(None),
        Some(size) if size > 0 && size % 4096 == 0 => Ok(Some(temporary("swap", size))),
        Some(_) => Err(DiskSpecError::BadSize(text.to_owned())),
        None => Ok(Some(DiskConfig {
            source: DiskSource::Image(PathBuf::from(text)),
            read_only: false,
            id: String::from("swap"),
        })),
    }
}

#[cfg(test)]
mod tests;
