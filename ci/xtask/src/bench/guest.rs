//! The programs that are measured, as released: the monitor, and the very guest inside it as a file; and runs of them.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{cargo, repo::Repo};

/// Both programs.
pub struct Programs {
    /// The monitor.
    pub vmm: PathBuf,
    /// The guest's ELF file that the monitor carries.
    pub elf: PathBuf,
}

/// Builds both. The guest's file is found through the folder of the build script that embedded it.
pub fn build(repo: &Repo) -> Result<Programs> {
    let mut build = cargo::host(repo);
    build.args(["build", "--release", "--package", "vmm"]);
    let messages = cargo::messages(&mut build)?;
    let find = |reason: &str, key: &str| {
        let about_vmm = messages.iter().filter(|message| message["reason"] == reason);
        let mut about_vmm = about_vmm.filter(|message| {
            message["package_id"].as_str().is_some_and(|id| id.contains("/vmm#") || id.starts_with("vmm "))
        });
        let path = about_vmm.find_map(|message| message[key].as_str());
        path.map(PathBuf::from).with_context(|| format!("cargo names no {key} of vmm"))
    };
    let elf = find("build-script-executed", "out_dir")?.join("guest.elf");
    Ok(Programs { vmm: find("compiler-artifact", "executable")?, elf })
}

fn command(programs: &Programs, options: &[&str]) -> Command {
    let mut command = Command::new(&programs.vmm);
    command.args(["run", "--accel", "kvm", "--timeout", "120", "--stats"]).args(options);
    command
}

/// Boots a guest on this machine's KVM with these options of `vmm run` and returns what it and the monitor printed.
pub fn run(programs: &Programs, options: &[&str]) -> Result<String> {
    let mut command = command(programs, options);
    let output = command.output().context("cannot run vmm")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{command:?} failed:\n{text}{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}

/// The same, and does `work` when the guest has printed the line `mark`. The guest goes on meanwhile.
pub fn run_with(
    programs: &Programs,
    options: &[&str],
    mark: &str,
    work: impl FnOnce() -> Result<()>,
) -> Result<String> {
    let mut command = command(programs, options);
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run vmm")?;
    let mut output = BufReader::new(child.stdout.take().context("vmm has no output")?);
    let (mut text, mut from, mut outcome) = (String::new(), 0, Ok(()));
    while output.read_line(&mut text).context("cannot read what vmm prints")? != 0 {
        if text.get(from..).is_some_and(|line| line.trim_end() == mark) {
            outcome = work();
            break;
        }
        from = text.len();
    }
    output.read_to_string(&mut text).context("cannot read what vmm prints")?;
    if !child.wait().context("cannot wait for vmm")?.success() {
        bail!("{command:?} failed:\n{text}");
    }
    outcome.map(|()| text)
}

/// All exits of all vCPUs.
pub fn exits(output: &str) -> Result<u64> {
    fact(output, "kvm.vcpu.exits").context("vmm --stats prints no kvm.vcpu.exits")
}

/// The number of the first word `key=N`.
pub fn fact(text: &str, key: &str) -> Option<u64> {
    facts(text, key).next()
}

/// The numbers of all words `key=N`, in order.
pub fn facts<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = u64> + 'a {
    let value = move |word: &str| word.strip_prefix(key)?.strip_prefix('=')?.parse().ok();
    text.split_ascii_whitespace().filter_map(value)
}

#[cfg(test)]
mod tests;
