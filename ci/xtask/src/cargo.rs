//! Cargo commands with a clean environment.
//!
//! Owns: which variables a calling build must not pass on. Stays outside: running the commands (`exec`).
//! Invariant: nothing is fetched with rustup; a toolchain that is not installed counts as absent.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::repo::Repo;

/// What a calling build or a user's shell may set and what would change what is built.
const LEAKED: [&str; 7] = [
    "RUSTFLAGS",
    "RUSTDOCFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
];

/// The profile of tests: optimised, with every assertion in (`ci/checked.toml`).
pub const CHECKED_PROFILE: [&str; 4] = ["--config", "ci/checked.toml", "--profile", "checked"];

/// Cargo in the host workspace.
pub fn host(repo: &Repo) -> Command {
    let mut command = clean(repo, "");
    command.current_dir(repo.root());
    command
}

/// Cargo in the host workspace with a build folder of its own, for flags that would rebuild everything.
pub fn host_apart(repo: &Repo, folder: &str) -> Command {
    let mut command = clean(repo, folder);
    command.current_dir(repo.root());
    command
}

/// Cargo in the guest workspace. It runs in the guest's folder, because its configuration counts only there.
pub fn guest(repo: &Repo, folder: &str) -> Command {
    let mut command = clean(repo, folder);
    command.current_dir(repo.root().join("guest"));
    command
}

/// Cargo in the workspace that compares allocators.
pub fn peers(repo: &Repo) -> Command {
    let mut command = clean(repo, "bench-peers");
    command.current_dir(repo.root().join("ci/bench-peers"));
    command
}

/// Cargo of the installed nightly toolchain, or `None` without one.
pub fn nightly(repo: &Repo, folder: &str) -> Option<Command> {
    let toolchains = Command::new("rustup").args(["toolchain", "list"]).stdin(Stdio::null()).output().ok()?;
    let listed = String::from_utf8_lossy(&toolchains.stdout);
    listed.lines().any(|line| line.starts_with("nightly-x86_64-unknown-linux-gnu")).then(|| {
        let mut command = host_apart(repo, folder);
        command.arg("+nightly");
        command
    })
}

/// Runs a build and returns what cargo reports about it; what the compiler says goes to the screen.
pub fn messages(build: &mut Command) -> Result<Vec<Value>> {
    build.arg("--message-format=json-render-diagnostics").stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = build.output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("the build failed; see above");
    }
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{"));
    lines.map(|line| serde_json::from_slice(line).context("cannot read what cargo reports")).collect()
}

/// Has `cargo` build the integration tests of `package`, in the profile of tests; the path of the binary.
pub fn test_binary(cargo: &mut Command, package: &str) -> Result<String> {
    cargo.args(["test", "--package", package, "--test", package, "--no-run"]).args(CHECKED_PROFILE);
    let messages = messages(cargo)?;
    let binary = messages.iter().find_map(|message| message["executable"].as_str());
    binary.map(str::to_owned).with_context(|| format!("cargo names no test binary of {package}"))
}

fn clean(repo: &Repo, folder: &str) -> Command {
    let mut command = Command::new("cargo");
    command.env("CARGO_TARGET_DIR", repo.target().join(folder)).env("RUSTUP_AUTO_INSTALL", "0");
    for name in LEAKED {
        command.env_remove(name);
    }
    command
}
