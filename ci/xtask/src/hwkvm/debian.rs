//! What the harness takes from Debian: fetched with apt, unpacked into the build folder, never installed.
//!
//! Owns: the packages and where their files are. Invariant: what is there already is not fetched again, so that the
//! harness works without a network after the first time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Names the newest kernel of its kind.
const KERNEL: &str = "linux-image-cloud-amd64";
/// A shell and the usual programs; the checker of ext4. Each in one static file.
const OTHERS: [&str; 2] = ["busybox-static", "e2fsck-static"];
/// Written last, so that a fetch that was interrupted starts again.
const COMPLETE: &str = "complete";

/// Unpacked packages.
pub struct Debian {
    root: PathBuf,
}

/// Unpacks the packages into `folder`, unless they are there.
pub fn fetch(folder: &Path) -> Result<Debian> {
    let debian = Debian { root: folder.join("root") };
    let complete = folder.join(COMPLETE);
    if complete.is_file() {
        return Ok(debian);
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let kernel = match newest_kernel()? {
        Some(kernel) => kernel,
        None => {
            run(Command::new("apt-get").args(["update", "-q"]))?;
            newest_kernel()?.with_context(|| format!("no package source has {KERNEL}"))?
        }
    };
    println!("hwkvm: fetching {kernel} {}", OTHERS.join(" "));
    let mut download = Command::new("apt-get");
    download.args(["download", "-q"]).arg(&kernel).args(OTHERS).current_dir(folder);
    if run(&mut download).is_err() {
        // The lists may be older than the packages.
        run(Command::new("apt-get").args(["update", "-q"]))?;
        run(&mut download)?;
    }
    for entry in fs::read_dir(folder).context("cannot list the packages")? {
        let path = entry.context("cannot list the packages")?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg-deb").arg("-x").arg(&path).arg(&debian.root))?;
        }
    }
    fs::write(complete, kernel).context("cannot write the mark of a complete fetch")?;
    Ok(debian)
}

impl Debian {
    /// The kernel image.
    pub fn kernel(&self) -> Result<PathBuf> {
        self.find(&self.root.join("boot"), &|name| name.starts_with("vmlinuz-"))
            .context("the kernel package has no kernel")
    }

    /// The kernel module of this name.
    pub fn module(&self, name: &str) -> Result<Vec<u8>> {
        let file = format!("{name}.ko");
        let path = self.find(&self.root.join("lib/modules"), &|found| found == file);
        read(&path.with_context(|| format!("the kernel package has no module {name}"))?)
    }

    /// A program, wherever its package puts it.
    pub fn program(&self, name: &str) -> Result<Vec<u8>> {
        let folders = ["bin", "sbin", "usr/bin", "usr/sbin"].map(|folder| self.root.join(folder).join(name));
        let path = folders.iter().find(|path| path.is_file());
        read(path.with_context(|| format!("no package has the program {name}"))?)
    }

    fn find(&self, folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
        let entries: Vec<_> = fs::read_dir(folder).ok()?.flatten().collect();
        entries.iter().find_map(|entry| {
            let path = entry.path();
            // Links, which may lead round in circles, are neither.
            match entry.file_type().ok()? {
                kind if kind.is_dir() => self.find(&path, wanted),
                kind if kind.is_file() => path.file_name()?.to_str().is_some_and(wanted).then_some(path),
                _ => None,
            }
        })
    }
}

/// The package that the newest kernel is in; `None` if apt has not heard of it.
fn newest_kernel() -> Result<Option<String>> {
    let output = Command::new("apt-cache").args(["depends", KERNEL]).stdin(Stdio::null()).output();
    let output = output.context("cannot run apt-cache")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut dependencies = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    Ok(dependencies.find(|name| name.starts_with("linux-image-")).map(str::to_owned))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Runs `command` silently; what it said comes out if it fails.
fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
