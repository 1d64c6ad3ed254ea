//! The initramfs of the harness: a shell, KVM's modules, `vmm`, the tests, and what one job runs.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::cpio::Archive;
use super::debian::Debian;
use super::linux;
use crate::cargo;
use crate::repo::Repo;

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Modules in the order in which they need each other.
const MODULES: [&str; 3] = ["irqbypass", "kvm", "kvm-amd"];

/// What the last line of the output begins with; the job's status follows.
pub const STATUS: &str = "hwkvm: status=";

/// Mounts what programs expect, gives us KVM, runs the job, tells its status, and ends the machine.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp VMM_BIN=/bin/vmm LINUX_GUEST=/linux
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
for module in irqbypass kvm kvm-amd; do insmod /modules/$module.ko; done
cd /tmp
exec </dev/null >/dev/ttyS1 2>&1
stty raw <&1
sh /job
echo \"hwkvm: status=$?\"
poweroff -f
";

/// Builds what goes in and writes the archive for `job`, lines for the shell, to `path`.
pub fn write(repo: &Repo, debian: &Debian, job: &str, path: &Path) -> Result<()> {
    let (vmm, tests) = (vmm(repo)?, tests(repo)?);
    let sink = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut archive = Archive::new(BufWriter::new(sink));
    for folder in ["bin", "proc", "sys", "dev", "tmp", "modules", "linux"] {
        archive.directory(folder)?;
    }
    archive.file("init", INIT.as_bytes())?;
    archive.file("job", job.as_bytes())?;
    archive.file("bin/busybox", &debian.program("busybox")?)?;
    for module in MODULES {
        archive.file(&format!("modules/{module}.ko"), &debian.module(module)?)?;
    }
    archive.file("bin/e2fsck.static", &debian.program("e2fsck.static")?)?;
    archive.file("linux/initrd", &linux::initrd(debian)?)?;
    let ext4 = linux::ext4(path.parent().unwrap_or(path))?;
    for (name, binary) in [
        ("bin/vmm", vmm),
        ("bin/tests", tests),
        ("linux/vmlinuz", debian.kernel()?),
        ("linux/ext4.img", ext4),
    ] {
        let bytes = fs::read(&binary).with_context(|| format!("cannot read {}", binary.display()))?;
        archive.file(name, &bytes)?;
    }
    archive.finish().with_context(|| format!("cannot write {}", path.display()))
}

/// `vmm` in the profile of tests, in one static file.
fn vmm(repo: &Repo) -> Result<PathBuf> {
    built(repo, &["build", "--package", "vmm", "--bin", "vmm"])
}

/// The integration tests in one static file.
fn tests(repo: &Repo) -> Result<PathBuf> {
    built(repo, &["test", "--package", "tests", "--test", "tests", "--no-run"])
}

/// Runs a build and returns the path of what it built. Naming the target keeps the flags from build scripts and
/// macros, which cannot be static.
fn built(repo: &Repo, build: &[&str]) -> Result<PathBuf> {
    let mut command = cargo::host_apart(repo, "static");
    command.env("RUSTFLAGS", "-C target-feature=+crt-static -C strip=debuginfo");
    command.args(build).args(cargo::CHECKED_PROFILE).args(["--target", TARGET]);
    let messages = cargo::messages(&mut command)?;
    let path = messages.iter().filter_map(|message| message["executable"].as_str()).next_back();
    path.map(PathBuf::from).context("cargo names no binary that it built")
}
