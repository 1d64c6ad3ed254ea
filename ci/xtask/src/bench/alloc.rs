//! `bench alloc`: allocators of `mm` beside others, in the same run.
//!
//! Owns: building and running the two programs that measure: `ci/bench-peers` on this machine, and a guest with the
//! command `bench-peers`, which no product has; at the end instructions, counted (`icount`). Stays outside: what they
//! measure and the limits.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{guest, icount, record};
use crate::repo::Repo;
use crate::{cargo, setup};

/// What the C and C++ allocators are built with.
const COMPILERS: [&str; 3] = ["cc", "c++", "make"];
const GUEST_OPTIONS: [&str; 6] = ["--cpus", "1", "--mem", "256M", "--timeout", "300"];

/// Measures and records; false if a limit is missed.
pub fn run(repo: &Repo, rounds: u32) -> Result<bool> {
    if let Some(missing) = COMPILERS.iter().find(|program| !setup::installed(program)) {
        bail!("{missing} is not installed; `apt-get install g++ make` brings what the other allocators need");
    }
    let (host, kept) = on_host(repo, rounds)?;
    let inside = in_guest(repo, rounds)?;
    let body = format!(
        "`cargo xtask bench alloc` at {}: nanoseconds as minimum / median [third quartile] of {rounds} rounds; a ratio \
         is the median over the rounds of Ballast's time over the other's. Only ratios say much: the machine had \
         other work. llfree is on no registry; its recorded pair took 38 ns. Ours with the guest's defaults: free \
         lists are neither hardened nor in random order. On the host RAM and descriptors lie in large pages, as in a \
         kernel, and CPUs have plain per-CPU data.\n\n### On the host\n\n{}\n\n\
         ### In the guest\n\n```text\n{}\n```\n",
        record::commit(repo),
        host.trim_end(),
        inside.trim_end()
    );
    record::record(repo, "Allocation beside other allocators, time", &body)?;
    println!("instructions in the guest at ring 0, counted by QEMU:");
    let counted = icount::report(repo)?;
    Ok(kept && counted)
}

/// What the program on this machine says, and whether its limits were kept.
fn on_host(repo: &Repo, rounds: u32) -> Result<(String, bool)> {
    let program = executable(cargo::peers(repo).args(["build", "--release"]), "bench-peers")?;
    let mut command = Command::new(program);
    let output = output(command.args(["--rounds", &rounds.to_string()]))?;
    match output.status.code() {
        Some(0) => Ok((text(&output.stdout), true)),
        Some(1) => Ok((text(&output.stdout), false)),
        _ => bail!("bench-peers did not end well: {}", output.status),
    }
}

/// What the guest's command says.
fn in_guest(repo: &Repo, rounds: u32) -> Result<String> {
    let vmm = guest::build(repo)?.vmm;
    let mut build = cargo::guest(repo, "guest-peers");
    let kernel = executable(build.args(["build", "--release", "--features", "bench-peers"]), "guest")?;
    let mut command = Command::new(vmm);
    command.arg("run").args(GUEST_OPTIONS).arg("--kernel").arg(kernel);
    let output = output(command.args(["--run", &format!("bench-peers rounds={rounds}")]))?;
    if !output.status.success() {
        bail!("the guest with bench-peers ended with {}", output.status);
    }
    let all = text(&output.stdout).replace('\r', "");
    let facts: Vec<_> = all.lines().filter(|line| line.starts_with("op=")).collect();
    if facts.is_empty() {
        bail!("the guest's bench-peers printed nothing");
    }
    Ok(facts.join("\n"))
}

/// Builds and finds the program `name`.
fn executable(build: &mut Command, name: &str) -> Result<PathBuf> {
    let messages = cargo::messages(build)?;
    let of_name = |message: &&serde_json::Value| message["target"]["name"] == name;
    let path = messages.iter().filter(of_name).find_map(|message| message["executable"].as_str());
    let path = PathBuf::from(path.with_context(|| format!("cargo names no executable of {name}"))?);
    fs::metadata(&path).with_context(|| format!("{} is not there", path.display()))?;
    Ok(path)
}

/// Runs to the end; what it writes to standard output is shown, too.
fn output(command: &mut Command) -> Result<std::process::Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot run {program}"))?;
    print!("{}", text(&output.stdout));
    Ok(output)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
