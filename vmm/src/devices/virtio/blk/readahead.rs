//! How far the host reads ahead of whoever reads an image in a row.
//!
//! Owns: the advice to the host, and its setting. Stays outside: what follows from it (`stream`).
//!
//! Source: `posix_fadvise(2)`; Linux `Documentation/ABI/testing/sysfs-class-bdi`, `Documentation/ABI/stable/sysfs-block`.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

/// Has the host read twice as far ahead as it is set to (Linux doubles the window): the guest reads ahead too, and its requests
/// come in bursts, between which a shorter window has the disk idle. Returns the bytes of the window; 0 where the host does
/// not tell, or refuses.
pub fn extend(file: &File) -> u64 {
    // SAFETY: takes no pointers; the descriptor is open.
    let refused = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_SEQUENTIAL) };
    match setting(file) {
        Some(bytes) if refused == 0 => bytes.saturating_mul(2),
        _ => 0,
    }
}

/// The setting of the disk or network that the file is on, in bytes.
fn setting(file: &File) -> Option<u64> {
    let device = file.metadata().ok()?.dev();
    let device = format!("{}:{}", libc::major(device), libc::minor(device));
    // A disk, a partition of one, and what is no disk.
    let places = [
        format!("/sys/dev/block/{device}/queue"),
        format!("/sys/dev/block/{device}/../queue"),
        format!("/sys/class/bdi/{device}"),
    ];
    let text = places.iter().find_map(|place| fs::read_to_string(format!("{place}/read_ahead_kb")).ok())?;
    text.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests;
