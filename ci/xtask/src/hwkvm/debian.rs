//! What the harness takes from Debian: fetched with apt, unpacked into the build folder, never installed.
//!
//! Owns: the packages and where their files are. Stays outside: apt (`apt`). Invariant: what is there already is not
//! fetched again, so that the harness works without a network after the first time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::apt::{self, Apt};

/// Names the newest kernel of its kind.
const KERNEL: &str = "linux-image-cloud-amd64";
/// A shell and the usual programs; the checker of ext4. Each in one static file.
const OTHERS: [&str; 2] = ["busybox-static", "e2fsck-static"];
/// QEMU without its libraries: those are the ones that the installed QEMU brought.
const QEMU: [&str; 4] = ["qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios"];
/// Written last, so that a fetch that was interrupted starts again.
const COMPLETE: &str = "complete";

/// Unpacked packages.
pub struct Debian {
    root: PathBuf,
}

/// The kernel and the programs, unpacked into `folder` unless they are there.
pub fn kernel_and_programs(folder: &Path) -> Result<Debian> {
    unpacked(folder, || {
        let apt = Apt::of_machine(folder);
        // The name tells the version; apt may not have heard of any yet.
        let newest = || apt.dependency(KERNEL, "linux-image-");
        let kernel = match newest()? {
            Some(kernel) => kernel,
            None => {
                apt.update()?;
                newest()?.with_context(|| format!("no package source has {KERNEL}"))?
            }
        };
        let [shell, check] = OTHERS;
        apt.download(&[&kernel, shell, check])
    })
}

/// QEMU as the release's backports have it, unpacked into `folder` unless it is there: in the release's own
/// more guests die (ADR 0006), and the other tests are recorded with that one.
pub fn newer_qemu(folder: &Path) -> Result<Debian> {
    unpacked(folder, || {
        let backports = Apt::backports(folder)?;
        backports.update()?;
        backports.download(&QEMU)
    })
}

/// What `download` puts into `folder`, unpacked there.
fn unpacked(folder: &Path, download: impl Fn() -> Result<()>) -> Result<Debian> {
    let debian = Debian { root: folder.join("root") };
    let complete = folder.join(COMPLETE);
    if complete.is_file() {
        return Ok(debian);
    }
    // An interrupted fetch may have left another version.
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot clear {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    apt::persistently(download)?;
    for entry in fs::read_dir(folder).context("cannot list the packages")? {
        let path = entry.context("cannot list the packages")?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            apt::run(Command::new("dpkg-deb").arg("-x").arg(&path).arg(&debian.root))?;
        }
    }
    fs::write(complete, "").context("cannot write the mark of a complete fetch")?;
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
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        let folders = ["bin", "sbin", "usr/bin", "usr/sbin"].map(|folder| self.root.join(folder).join(name));
        let path = folders.into_iter().find(|path| path.is_file());
        path.with_context(|| format!("no package has the program {name}"))
    }

    /// The folder in which packages keep data under this name.
    pub fn data(&self, name: &str) -> PathBuf {
        self.root.join("usr/share").join(name)
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

/// The whole of a file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
