//! Files that are written as a whole: a reader sees the old contents or the new ones, never half.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A name beside `path` that nobody else uses: of the same directory, so that a rename is atomic, and hidden.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}", std::process::id()))
}

/// Gives the file at `path` the contents `bytes`, in one step. On failure it stays what it was.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = beside(path);
    let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // It may not even exist; the first error is the one that counts.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Whether files can be made in `directory`; leaves nothing behind.
pub fn check_directory(directory: &Path) -> io::Result<()> {
    let probe = beside(&directory.join("probe"));
    fs::write(&probe, [])?;
    fs::remove_file(&probe)
}

#[cfg(test)]
mod tests;
