//! `setup`: installs what the tests need on Debian 12.
//!
//! Owns: the list of programs and their packages. Stays outside: Rust itself, which runs this.
//! Invariant: says nothing and changes nothing when all programs are there.

use std::env;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A program some test starts, or a file it needs, by its full path, and the Debian package that brings it.
struct Tool {
    program: &'static str,
    package: &'static str,
}

const TOOLS: [Tool; 15] = [
    // The guest under somebody else's monitor, and on machines without KVM.
    Tool { program: "qemu-system-x86_64", package: "qemu-system-x86" },
    // The harness around KVM in QEMU: Debian's packages, a file system, the libraries of what runs inside.
    Tool { program: "dpkg-deb", package: "dpkg" },
    Tool { program: "mke2fs", package: "e2fsprogs" },
    Tool { program: "ldd", package: "libc-bin" },
    // Memory errors that need no special build to be seen.
    Tool { program: "valgrind", package: "valgrind" },
    // What others make of our images, and we of theirs.
    Tool { program: "sgdisk", package: "gdisk" },
    Tool { program: "mkswap", package: "util-linux" },
    Tool { program: "swaplabel", package: "util-linux" },
    Tool { program: "file", package: "file" },
    // libFuzzer, which `fuzz` builds, is C++.
    Tool { program: "c++", package: "g++" },
    // What reads the texts of /proc that the guest writes.
    Tool { program: "free", package: "procps" },
    Tool { program: "slabtop", package: "procps" },
    Tool { program: "unshare", package: "util-linux" },
    Tool { program: "/usr/lib/python3/dist-packages/psutil/__init__.py", package: "python3-psutil" },
    // Asserts on the JSON report.
    Tool { program: "/usr/lib/python3/dist-packages/_pytest/__init__.py", package: "python3-pytest" },
];

/// Installs what is missing.
pub fn run() -> Result<()> {
    let missing: Vec<_> = TOOLS.iter().filter(|tool| !installed(tool.program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<_> = missing.iter().map(|tool| tool.package).collect();
    let packages = packages.join(" ");
    if !installed("apt-get") {
        bail!("this is no Debian; install these programs yourself: {packages}");
    }
    println!("setup: installing {packages}");
    apt(&["update", "-q"], &packages)?;
    let mut install = vec!["install", "-q", "-y", "--no-install-recommends"];
    install.extend(packages.split(' '));
    apt(&install, &packages)?;
    if let Some(tool) = missing.iter().find(|tool| !installed(tool.program)) {
        bail!("package {} did not bring {}; install it by hand", tool.package, tool.program);
    }
    println!("setup: installed {packages}");
    Ok(())
}

/// Whether a program of this name is on the search path, or where only root has it on the path, or the file with this
/// full path exists.
pub fn installed(program: &str) -> bool {
    // Joining a full path to a directory gives the full path.
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.any(|dir| dir.join(program).is_file())
}

fn apt(args: &[&str], packages: &str) -> Result<()> {
    let status = Command::new("apt-get")
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .status()
        .context("cannot run apt-get")?;
    if !status.success() {
        bail!("apt-get {} failed; as root, run: apt-get install {packages}", args.first().unwrap_or(&""));
    }
    Ok(())
}
