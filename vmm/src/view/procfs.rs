//! The directory of `--procfs`: the guest's `/proc` in Linux's formats, for tools of the host.
//!
//! Owns: which files there are and how they change: always as a whole, by renaming, so a reader never sees
//! half a text. Stays outside: the formats (`shared::text`), when it is done (`watcher`).
//! Invariants: only names of our own are written; a text that has not changed is not written again.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use shared::stats::MAX_CPUS;
use shared::text::zoneinfo::Pageset;
use shared::text::{buddyinfo, cpuinfo, stat, zoneinfo};

use super::snapshot::{SentText, Snapshot};
use crate::files;

/// Why the directory cannot be used; a complete line.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path} for --procfs: {reason}; give a directory that can be written")]
pub struct ProcfsError {
    path: String,
    reason: io::Error,
}

/// Writes one text.
type Render = fn(&Snapshot, &mut dyn Write) -> fmt::Result;

/// The files that are rendered here.
const FILES: [(&str, Render); 8] = [
    ("buddyinfo", |snapshot, w| {
        let mut zones = snapshot.zones.iter().filter_map(|zone| zone.free_blocks());
        zones.try_for_each(|zone| buddyinfo::write_zone(w, &zone))
    }),
    ("cpuinfo", |snapshot, w| cpuinfo::write_cpus(w, snapshot.machine.cpus, snapshot.machine.tsc_khz)),
    ("loadavg", |snapshot, w| stat::write_loadavg(w, &snapshot.tasks)),
    ("meminfo", |snapshot, w| snapshot.meminfo.numbers().write(w)),
    ("stat", |snapshot, w| stat::write_stat(w, snapshot.machine.cpus, &snapshot.tasks, &snapshot.traps)),
    ("uptime", |snapshot, w| stat::write_uptime(w, snapshot.machine.cpus, &snapshot.tasks)),
    ("vmstat", |snapshot, w| snapshot.vmstat.numbers().write(w)),
    ("zoneinfo", |snapshot, w| {
        const EMPTY: Pageset =
            Pageset { cpu: 0, count: 0, high: 0, batch: 0, high_min: 0, high_max: 0, stat_threshold: 0 };
        snapshot.zones.iter().try_for_each(|zone| {
            let mut room = [EMPTY; MAX_CPUS];
            zoneinfo::write_zone(w, &zone.numbers(&mut room))
        })
    }),
];

/// The texts that are rendered from a snapshot, by the names of their files.
pub fn texts(snapshot: &Snapshot) -> impl Iterator<Item = (&'static str, String)> {
    FILES.iter().map(move |(name, render)| {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = render(snapshot, &mut text);
        (*name, text)
    })
}

/// The directory.
#[derive(Debug)]
pub struct Procfs {
    directory: PathBuf,
    /// What each file says now.
    written: HashMap<&'static str, Vec<u8>>,
}

impl Procfs {
    /// Makes `directory` if it does not exist, and checks that files can be made in it.
    pub fn create(directory: &Path) -> Result<Self, ProcfsError> {
        let procfs = Self { directory: directory.to_owned(), written: HashMap::new() };
        let made = fs::create_dir_all(directory).and_then(|()| files::check_directory(directory));
        made.map_err(|reason| ProcfsError { path: directory.display().to_string(), reason })?;
        Ok(procfs)
    }

    /// Brings the files of a snapshot up to date.
    pub fn update(&mut self, snapshot: &Snapshot) -> Result<(), ProcfsError> {
        texts(snapshot).try_for_each(|(name, text)| self.put(name, text.into_bytes()))
    }

    /// Writes the texts that the guest sent at its end.
    pub fn finish(&mut self, texts: Vec<SentText>) -> Result<(), ProcfsError> {
        texts.into_iter().try_for_each(|text| self.put(text.name, text.bytes))
    }

    fn put(&mut self, name: &'static str, bytes: Vec<u8>) -> Result<(), ProcfsError> {
        if self.written.get(name) == Some(&bytes) {
            return Ok(());
        }
        let path = self.directory.join(name);
        files::replace(&path, &bytes)
            .map_err(|reason| ProcfsError { path: path.display().to_string(), reason })?;
        self.written.insert(name, bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
