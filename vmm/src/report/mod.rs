//! `--report FILE.json`: what a run was, did and cost, for programs.
//!
//! Owns: the fields, which `docs/report.md` describes one by one (a test compares the two), and their version.
//! Stays outside: where the numbers come from (`view`, `stats`, `timing`), when a report is written (`main`).
//! Invariants: every end of a machine gives a report, and a reader sees a whole one or none.

mod commands;
mod disks;
mod guest;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::Serialize;

use crate::config::{DiskSource, MachineConfig};
use crate::exit::End;
use crate::files;
use crate::timing::Phases;
use crate::view::pressure::Heard;
use crate::view::watcher::{Watched, Watcher};

pub use commands::CommandReport;
pub use disks::DiskActivity;
pub use guest::GuestReport;

/// Version of the fields; grows when one changes its meaning or goes away, not when one is added.
pub const VERSION: u32 = 1;

/// A report that cannot be written; a complete line.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the report {path}: {reason}; give --report a file in a directory that can be written")]
pub struct ReportError {
    path: String,
    reason: io::Error,
}

/// The fields of the file.
#[derive(Debug, Serialize)]
pub struct Report {
    schema: &'static str,
    version: u32,
    vmm: &'static str,
    arguments: Vec<String>,
    accelerator: &'static str,
    machine: MachineReport,
    exit: ExitReport,
    timing: TimingReport,
    guest: Option<GuestReport>,
    guest_error: Option<String>,
    commands: Vec<CommandReport>,
    commands_left_out: u64,
    output_truncated: bool,
    warnings: Vec<String>,
    disks: Vec<DiskActivity>,
    pressure: Vec<Heard>,
    pressure_left_out: u64,
    counters: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
struct MachineReport {
    kernel: String,
    parameters: String,
    cpus: u64,
    memory_bytes: u64,
    nodes: Vec<NodeReport>,
    disks: Vec<DiskReport>,
}

#[derive(Debug, Serialize)]
struct NodeReport {
    node: u32,
    cpus: Vec<u32>,
    memory_bytes: u64,
}

#[derive(Debug, Serialize)]
struct DiskReport {
    id: String,
    path: Option<String>,
    read_only: bool,
}

#[derive(Debug, Serialize)]
struct ExitReport {
    status: u8,
    reason: &'static str,
    message: Option<String>,
}

#[derive(Debug, Serialize)]
struct TimingReport {
    total_us: u64,
    phases: Vec<PhaseReport>,
}

#[derive(Debug, Serialize)]
struct PhaseReport {
    name: &'static str,
    us: u64,
}

/// How a run ended.
pub enum Outcome<'a> {
    /// The machine ran.
    Ended(&'a End),
    /// The machine could not be built or run: the status and the line that says why.
    Refused(u8, String),
}

/// Everything a report is made of.
pub struct Sources<'a> {
    /// The words after `vmm`.
    pub arguments: Vec<String>,
    /// `kvm` or `tcg`.
    pub accelerator: &'static str,
    /// The machine asked for.
    pub config: &'a MachineConfig,
    /// What to call its kernel.
    pub kernel: &'a str,
    /// How it ended.
    pub outcome: Outcome<'a>,
    /// Where the time went.
    pub phases: &'a Phases,
    /// What was seen of the guest; `None` if it does not show itself.
    pub watched: Option<&'a Watched>,
    /// What the guest printed.
    pub output: &'a [u8],
    /// Whether there was more than that.
    pub output_truncated: bool,
    /// Lines that went to standard error.
    pub warnings: Vec<String>,
    /// What the disks did; empty where another monitor has them.
    pub disks: Vec<DiskActivity>,
    /// What the host counted.
    pub counters: BTreeMap<String, u64>,
}

impl Report {
    /// The report of a run.
    pub fn new(sources: Sources<'_>) -> Self {
        let Sources { config, watched, .. } = &sources;
        let snapshot = watched.map(|watched| &watched.snapshot);
        let records = watched.and_then(|watched| watched.commands.as_ref().ok());
        let (commands, commands_left_out) =
            commands::reports(records, config.script.as_deref(), sources.output);
        let pressure = watched.map(|watched| watched.pressure.clone()).unwrap_or_default();
        Self {
            schema: "ballast-report",
            version: VERSION,
            vmm: env!("CARGO_PKG_VERSION"),
            accelerator: sources.accelerator,
            machine: machine(config, sources.kernel),
            exit: exit(&sources.outcome),
            timing: timing(sources.phases),
            guest: snapshot.and_then(|snapshot| snapshot.as_ref().ok()).map(GuestReport::new),
            guest_error: snapshot.and_then(|snapshot| snapshot.as_ref().err()).map(ToString::to_string),
            commands,
            commands_left_out,
            output_truncated: sources.output_truncated,
            arguments: sources.arguments,
            warnings: sources.warnings,
            disks: sources.disks,
            pressure: pressure.events,
            pressure_left_out: pressure.left_out,
            counters: sources.counters,
        }
    }

    /// Writes the report to `path`, in one step. After a machine has run only its `writer` can.
    pub fn write(&self, path: &Path, writer: Option<&Watcher>) -> Result<(), ReportError> {
        let json = serde_json::to_vec_pretty(self).map_err(io::Error::from);
        let written = json.and_then(|mut json| {
            json.push(b'\n');
            match writer {
                Some(writer) => writer.write(path.to_owned(), json),
                None => files::replace(path, &json),
            }
        });
        written.map_err(|reason| ReportError { path: path.display().to_string(), reason })
    }
}

/// Checks before the run that a report can be written to `path`.
pub fn check(path: &Path) -> Result<(), ReportError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let usable = if path.is_dir() {
        Err(io::ErrorKind::IsADirectory.into())
    } else {
        files::check_directory(directory)
    };
    usable.map_err(|reason| ReportError { path: path.display().to_string(), reason })
}

fn machine(config: &MachineConfig, kernel: &str) -> MachineReport {
    let topology = &config.topology;
    let nodes = (0..).zip(topology.nodes()).map(|(node, memory)| {
        let cpus = (0..).zip(topology.cpu_nodes()).filter(|(_, home)| *home == node);
        NodeReport { node, cpus: cpus.map(|(cpu, _)| cpu).collect(), memory_bytes: *memory }
    });
    let disks = config.disks.iter().map(|disk| DiskReport {
        id: disk.id.clone(),
        path: match &disk.source {
            DiskSource::Image(path) => Some(path.display().to_string()),
            DiskSource::Temporary(_) | DiskSource::TemporarySwap(_) => None,
        },
        read_only: disk.read_only,
    });
    MachineReport {
        kernel: kernel.to_owned(),
        parameters: config.cmdline.clone(),
        cpus: topology.cpu_count().into(),
        memory_bytes: topology.memory(),
        nodes: nodes.collect(),
        disks: disks.collect(),
    }
}

fn exit(outcome: &Outcome<'_>) -> ExitReport {
    let (status, reason, message) = match outcome {
        Outcome::Refused(status, line) => (*status, "refused", line.clone()),
        Outcome::Ended(end) => (end.status(), end.reason(), end.to_string()),
    };
    ExitReport { status, reason, message: Some(message).filter(|message| !message.is_empty()) }
}

fn timing(phases: &Phases) -> TimingReport {
    let micros = |duration: std::time::Duration| duration.as_micros().try_into().unwrap_or(u64::MAX);
    TimingReport {
        total_us: micros(phases.total()),
        phases: phases.iter().map(|(name, duration)| PhaseReport { name, us: micros(duration) }).collect(),
    }
}
