//! Builds the guest and embeds its ELF file in the monitor, so that one binary is the whole product.
//!
//! The guest is a workspace of its own with its own flags. Whatever the caller's cargo passes down for
//! the host build (sanitizer flags, clippy as the compiler, a target directory) must not reach it.

#[path = "build/ksyms.rs"]
mod ksyms;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// What the guest is made of, from the root of the repository.
const SOURCES: [&str; 12] = [
    "guest/Cargo.toml",
    "guest/Cargo.lock",
    "guest/.cargo/config.toml",
    "guest/build.rs",
    "guest/link.ld",
    "guest/src",
    "guest/mm/Cargo.toml",
    "guest/mm/src",
    "guest/virtq/Cargo.toml",
    "guest/virtq/src",
    "shared/Cargo.toml",
    "shared/src",
];

/// Variables of the outer cargo that the inner one needs: where crates are, and how many jobs may run.
const KEPT: [&str; 3] = ["CARGO_HOME", "CARGO_MAKEFLAGS", "CARGO_NET_OFFLINE"];

fn main() {
    if let Err(reason) = build() {
        println!("cargo::error={reason}");
    }
}

fn build() -> Result<(), String> {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("..");
    let out = PathBuf::from(variable("OUT_DIR")?);
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    let elf = compile(&root.join("guest"), &out.join("guest-target"))?;
    let embedded = out.join("guest.elf");
    let mut image = fs::read(&elf).map_err(|error| format!("cannot read {}: {error}", elf.display()))?;
    ksyms::embed(&mut image).map_err(|error| format!("{}: {error}", elf.display()))?;
    fs::write(&embedded, image).map_err(|error| format!("cannot write {}: {error}", embedded.display()))?;
    Ok(())
}

/// Runs cargo in `directory` and returns the path of the guest's ELF file.
fn compile(directory: &Path, target: &Path) -> Result<PathBuf, String> {
    let mut cargo = Command::new(variable("CARGO")?);
    cargo.args(["build", "--release", "--target-dir"]).arg(target).current_dir(directory);
    for (name, _) in env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        let leaks = name.starts_with("CARGO") || name.starts_with("RUSTC") || name.starts_with("RUSTFLAGS");
        if leaks && !KEPT.contains(&name) {
            cargo.env_remove(name);
        }
    }
    let output = cargo.output().map_err(|error| format!("cannot run cargo for the guest: {error}"))?;
    if output.status.success() {
        return Ok(target.join("release/guest"));
    }
    let messages = String::from_utf8_lossy(&output.stderr);
    for line in messages.lines() {
        println!("cargo::warning={line}");
    }
    Err(format!(
        "the guest does not build; see above, or run `cargo build --release` in {}",
        directory.display()
    ))
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}"))
}
