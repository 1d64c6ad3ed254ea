//! `fmt`: formats all workspaces, or checks that they are.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::{cargo, exec, repo::Repo};

const LIMIT: Duration = Duration::from_secs(120);

/// Formats; with `check` it only looks. False means that something is not formatted.
pub fn run(repo: &Repo, check: bool) -> Result<bool> {
    let mut host = cargo::host(repo);
    host.args(["fmt", "--all"]);
    let mut guest = cargo::guest(repo, "guest");
    guest.arg("fmt");
    let mut peers = cargo::peers(repo);
    peers.arg("fmt");
    let mut right = true;
    for mut command in [host, guest, peers] {
        right &= exec::run(checked(&mut command, check), LIMIT)?.success;
    }
    Ok(right)
}

fn checked(command: &mut Command, check: bool) -> &Command {
    if check {
        command.arg("--check");
    }
    command
}
