//! The initramfs of the harness: a shell, KVM's modules, `vmm`, the tests, and what each job runs.
//!
//! Invariant: `vmm` and the tests are the files that the suite builds for this machine, with its libraries, so that
//! nothing is built twice.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::cpio::Archive;
use super::debian::{self, Debian};
use super::linux;
use crate::cargo;
use crate::repo::Repo;

/// Modules in the order in which they need each other.
const MODULES: [&str; 3] = ["irqbypass", "kvm", "kvm-amd"];

/// What the last line of the output begins with; the job's status follows.
pub const STATUS: &str = "hwkvm: status=";

/// Mounts what programs expect, gives us KVM, runs the job that the kernel's command line names, tells its status, and
/// ends the machine. Two virtual CPUs that wait for each other share one CPU, so it changes hands more often than is
/// usual.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin LD_LIBRARY_PATH=/lib64 HOME=/tmp TMPDIR=/disk VMM_BIN=/bin/vmm LINUX_GUEST=/linux
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t debugfs debugfs /sys/kernel/debug
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
for module in MODULES; do insmod /modules/$module.ko; done
mount -t ext4 /dev/nvme0n1 /disk
cd /sys/kernel/debug/sched
echo HRTICK >features
echo 400000 >latency_ns
echo 100000 >min_granularity_ns
echo 50000 >wakeup_granularity_ns
cd /tmp
exec </dev/null >/dev/ttyS1 2>&1
stty raw <&1
sh /jobs/$JOB
echo \"hwkvm: status=$?\"
poweroff -f
";

/// Builds what goes in and writes the archive for `jobs`, names and lines for the shell, to `path`.
pub fn write(repo: &Repo, debian: &Debian, jobs: &[(&str, String)], path: &Path) -> Result<()> {
    let programs = programs(repo)?;
    let sink = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut archive = Archive::new(BufWriter::new(sink));
    for folder in ["bin", "lib64", "proc", "sys", "dev", "tmp", "disk", "modules", "linux", "jobs"] {
        archive.directory(folder)?;
    }
    archive.file("init", INIT.replace("MODULES", &MODULES.join(" ")).as_bytes())?;
    for (name, lines) in jobs {
        archive.file(&format!("jobs/{name}"), lines.as_bytes())?;
    }
    archive.file("bin/busybox", &debian::read(&debian.program("busybox")?)?)?;
    for module in MODULES {
        archive.file(&format!("modules/{module}.ko"), &debian.module(module)?)?;
    }
    archive.file("bin/e2fsck.static", &debian::read(&debian.program("e2fsck.static")?)?)?;
    archive.file("linux/initrd", &linux::initrd(debian)?)?;
    let ext4 = linux::ext4(path.parent().unwrap_or(path))?;
    let mut files = vec![("linux/vmlinuz".to_owned(), debian.kernel()?), ("linux/ext4.img".to_owned(), ext4)];
    for library in libraries(programs.iter().map(|(_, path)| path.as_path()))? {
        let name = library.file_name().context("a library has no name")?.to_string_lossy().into_owned();
        files.push((format!("lib64/{name}"), library));
    }
    files.extend(programs.into_iter().map(|(name, path)| (format!("bin/{name}"), path)));
    for (name, file) in files {
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        archive.file(&name, &bytes)?;
    }
    archive.finish().with_context(|| format!("cannot write {}", path.display()))
}

/// Builds `vmm` and the integration tests as the step `guest` does; the paths by name.
fn programs(repo: &Repo) -> Result<Vec<(&'static str, PathBuf)>> {
    let mut vmm = cargo::host(repo);
    vmm.args(["build", "--release", "--package", "vmm"]);
    let mut tests = cargo::host(repo);
    tests.args(["test", "--package", "tests", "--no-run"]).args(cargo::CHECKED_PROFILE);
    let mut messages = cargo::messages(&mut vmm)?;
    messages.extend(cargo::messages(&mut tests)?);
    let path = |name: &str, kind: &str| {
        // A program is also built with its own tests in its place.
        let is_it = |built: &&Value| {
            let target = &built["target"];
            target["name"] == name
                && target["kind"][0] == kind
                && built["profile"]["test"] == (kind == "test")
        };
        let path = messages.iter().filter(is_it).find_map(|built| built["executable"].as_str());
        path.map(PathBuf::from).with_context(|| format!("cargo names no program {name} that it built"))
    };
    Ok(vec![("vmm", path("vmm", "bin")?), ("tests", path("tests", "test")?)])
}

/// The shared libraries that `programs` need, and the loader, as this machine's loader finds them.
fn libraries<'a>(programs: impl Iterator<Item = &'a Path>) -> Result<Vec<PathBuf>> {
    let mut ldd = Command::new("ldd");
    let output =
        ldd.args(programs).stdin(Stdio::null()).output().context("cannot run ldd (package libc-bin)")?;
    if !output.status.success() {
        bail!("ldd failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // `libc.so.6 => /lib/libc.so.6 (0x7f00)`, `/lib64/ld-linux-x86-64.so.2 (0x7f00)`
    let paths = text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    let mut paths: Vec<_> = paths.filter(|word| !word.ends_with(':')).map(PathBuf::from).collect();
    paths.sort();
    paths.dedup();
    Ok(paths)
}
