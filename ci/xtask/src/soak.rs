//! `soak`: long versions of tests, whose short versions run in `test`.

use std::time::Duration;

use anyhow::Result;

use crate::{cargo, exec, repo::Repo};

/// Limit of all of it.
const LIMIT: Duration = Duration::from_secs(3600);

/// Kills the monitor `kills` times while its guest writes, lets all CPUs of one take and free memory for `seconds`, and
/// two CPUs change mappings that the other uses for as long; false if anything was lost.
pub fn run(repo: &Repo, kills: u32, seconds: u32) -> Result<bool> {
    let mut command = cargo::host(repo);
    command.args(["run", "--quiet", "--package", "tests", "--bin", "soak"]).args(cargo::CHECKED_PROFILE);
    command.args(["--", &kills.to_string(), &seconds.to_string()]);
    Ok(exec::run(&command, LIMIT)?.success)
}
