//! `clippy`: lints both workspaces, all targets; a warning is an error.

use std::time::Duration;

use anyhow::Result;

use crate::{cargo, exec, repo::Repo};

const LIMIT: Duration = Duration::from_secs(600);
const DENY: [&str; 3] = ["--", "-D", "warnings"];

/// Lints; false means that there are warnings.
pub fn run(repo: &Repo) -> Result<bool> {
    let mut host = cargo::host(repo);
    host.args(["clippy", "--workspace", "--all-targets"]).args(DENY);
    // A build folder of its own: the monitor's build script builds the guest in another one.
    let mut guest = cargo::guest(repo, "guest-clippy");
    guest.args(["clippy", "--all-targets"]).args(DENY);
    let mut right = true;
    for command in [host, guest] {
        right &= exec::run(&command, LIMIT)?.success;
    }
    Ok(right)
}
