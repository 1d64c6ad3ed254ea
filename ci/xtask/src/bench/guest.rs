//! The programs that are measured: the monitor and the guest's ELF file, both as released.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::{cargo, exec, repo::Repo};

const LIMIT: Duration = Duration::from_secs(600);

/// Builds the monitor; returns its path.
pub fn monitor(repo: &Repo) -> Result<PathBuf> {
    let mut build = cargo::host(repo);
    build.args(["build", "--release", "--package", "vmm"]);
    if !exec::run(&build, LIMIT)?.success {
        bail!("the monitor does not build; see above");
    }
    Ok(repo.target().join("release/vmm"))
}

/// Builds the guest; returns the path of its ELF file.
pub fn elf(repo: &Repo) -> Result<PathBuf> {
    let folder = "guest-bench";
    let mut build = cargo::guest(repo, folder);
    build.args(["build", "--release"]);
    if !exec::run(&build, LIMIT)?.success {
        bail!("the guest does not build; see above");
    }
    Ok(repo.target().join(folder).join("release/guest"))
}
