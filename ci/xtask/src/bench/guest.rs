//! The programs that are measured, as released: the monitor, and the very guest inside it as a file.

use std::path::PathBuf;

use anyhow::{Context, Result};

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
