//! What a machine shall be: parsed and checked once, before anything is created.
//!
//! Owns: [`MachineConfig`] and all rules about the options of `vmm run`.
//! Stays outside: the words themselves (`cli`), opening files and devices (`builder`).
//! Invariants: a `MachineConfig` is consistent; what can still fail later depends on the host.

pub mod apic;
pub mod disk;
pub mod numa;
pub mod size;
pub mod topology;

use std::path::PathBuf;
use std::time::Duration;

use shared::params::{PsiTrigger, parse_size};

use crate::boot::cmdline::{self, CmdlineError};
use crate::cli::{HugePages, Ring, RunArgs};
use crate::memory::HostPages;
use crate::sandbox::Sandbox;
use crate::view::watcher::INTERVAL;

pub use disk::{DiskConfig, DiskSource};
pub use topology::Topology;

use disk::DiskSpecError;
use numa::NumaError;
use topology::TopologyError;

/// What is wrong with the options of `vmm run`; each text is a complete line.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ConfigError {
    /// `--mem` is no size.
    #[error("--mem {0:?} is not a size; write a number with K, M or G, like 512M")]
    BadMem(String),
    /// `--numa` cannot be read.
    #[error(transparent)]
    Numa(#[from] NumaError),
    /// vCPUs, memory and nodes make no machine.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// `--disk` or `--swap` cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskSpecError),
    /// Too many disks.
    #[error("{0} disks: a machine has at most {MAX_DISKS}")]
    TooManyDisks(usize),
    /// `--run` or `--append` cannot be passed on.
    #[error(transparent)]
    Cmdline(#[from] CmdlineError),
    /// `--timeout` is no time.
    #[error("--timeout {0} is not a time limit; give seconds above 0 and up to {MAX_TIMEOUT}")]
    BadTimeout(f64),
    /// `--pressure` is no trigger.
    #[error(
        "--pressure '{0}' is not a trigger; give some or full, a threshold and a window in microseconds, like \
         'some 150000 1000000': the window from 500000 to 10000000, the threshold up to it"
    )]
    BadPressure(String),
}

/// Disks beside the console: one I/O APIC pin each.
const MAX_DISKS: usize = shared::layout::VIRTIO_MAX_DEVICES as usize - 1;
/// Longest time limit in seconds; about a month.
const MAX_TIMEOUT: u32 = 2_000_000;
/// What our kernel runs when it is told nothing.
const DEFAULT_COMMANDS: &str = "tour";

/// A machine, as the user described it.
#[derive(Debug, Clone, PartialEq)]
pub struct MachineConfig {
    /// vCPUs, memory and nodes.
    pub topology: Topology,
    /// Data disks, then the swap disk.
    pub disks: Vec<DiskConfig>,
    /// The kernel; `None` for the guest that is built in.
    pub kernel: Option<PathBuf>,
    /// The initial RAM disk of another kernel.
    pub initrd: Option<PathBuf>,
    /// The user's boot parameters as given.
    pub append: String,
    /// The user's part of the guest command line.
    pub cmdline: String,
    /// Host pages behind guest RAM.
    pub pages: HostPages,
    /// Whether to bring all RAM in before boot.
    pub prefault: bool,
    /// The commands of `--run`; `None` for the prompt.
    pub script: Option<String>,
    /// Where to keep the guest's `/proc`.
    pub procfs: Option<PathBuf>,
    /// When the guest is to tell of its pressure.
    pub pressure: Option<PsiTrigger>,
    /// Where to write the report.
    pub report: Option<PathBuf>,
    /// When to stop.
    pub timeout: Option<Duration>,
    /// Whether the monitor's threads get system call filters.
    pub sandbox: Sandbox,
}

impl MachineConfig {
    /// Checks the options of `vmm run`.
    pub fn new(args: &RunArgs) -> Result<Self, ConfigError> {
        let parse_mem = |text: &String| parse_size(text).ok_or(ConfigError::BadMem(text.clone()));
        let mem = args.mem.as_ref().map(parse_mem).transpose()?;
        let numa = args.numa.iter().map(|text| numa::parse_node(text)).collect::<Result<Vec<_>, _>>()?;
        let disks = disk::disks(&args.disk, &args.swap)?;
        if disks.len() > MAX_DISKS {
            return Err(ConfigError::TooManyDisks(disks.len()));
        }
        let ring = match args.ring {
            Ring::Auto => None,
            Ring::Zero => Some(0),
            Ring::Three => Some(3),
        };
        let watched = args.procfs.is_some() || args.report.is_some() || args.pressure.is_some();
        let pressure = args.pressure.as_deref().map(pressure_trigger).transpose()?;
        let update = watched.then_some(INTERVAL);
        let append = args.append.join(" ");
        let run = args.run.as_deref().unwrap_or(DEFAULT_COMMANDS);
        Ok(Self {
            topology: Topology::new(args.cpus, mem, &numa)?,
            disks,
            kernel: args.kernel.clone(),
            initrd: args.initrd.clone(),
            cmdline: cmdline::user_part(ring, &append, update, pressure.as_ref(), run)?,
            append,
            script: Some(run.to_owned()).filter(|script| !script.is_empty()),
            procfs: args.procfs.clone(),
            pressure,
            report: args.report.clone(),
            pages: match args.hugepages {
                HugePages::Auto => HostPages::Auto,
                HugePages::Thp => HostPages::Thp,
                HugePages::Hugetlb => HostPages::Hugetlb,
                HugePages::Off => HostPages::Small,
            },
            prefault: args.prefault,
            timeout: args.timeout.map(time_limit).transpose()?,
            sandbox: if args.no_seccomp { Sandbox::Off } else { Sandbox::On },
        })
    }
}

impl MachineConfig {
    /// Leaves another kernel nothing but the boot parameters as given: it knows neither our commands nor our parameters.
    pub fn for_other_kernel(&mut self) {
        self.append.trim().clone_into(&mut self.cmdline);
        self.script = None;
    }

    /// What the guest reads from its console first: a script that does not fit into its command line.
    pub fn sent_script(&self) -> Option<&str> {
        self.script.as_deref().filter(|script| !cmdline::fits(script))
    }

    /// Whether somebody wants to see the guest from outside.
    pub fn is_watched(&self) -> bool {
        self.procfs.is_some() || self.report.is_some() || self.pressure.is_some()
    }
}

fn pressure_trigger(words: &str) -> Result<PsiTrigger, ConfigError> {
    PsiTrigger::parse(words).map_err(|_| ConfigError::BadPressure(words.to_owned()))
}

fn time_limit(seconds: f64) -> Result<Duration, ConfigError> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(limit) if seconds > 0.0 && seconds <= MAX_TIMEOUT.into() => Ok(limit),
        _ => Err(ConfigError::BadTimeout(seconds)),
    }
}

#[cfg(test)]
mod tests;
