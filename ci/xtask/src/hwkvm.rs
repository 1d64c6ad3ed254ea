//! `hwkvm`: runs our tests where KVM executes ring 0 in hardware, without such hardware.
//!
//! QEMU's TCG plays an AMD CPU with SVM and nested paging; Debian's cloud kernel boots on it and loads kvm-amd; an
//! initramfs of ours holds `vmm`, the tests and the libraries they need, because there is nothing else.
//! Owns: how that is put together and started. Stays outside: Debian's packages (`debian`, `apt`), the archive format
//! (`cpio`), what is in the archive (`image`, `linux`).
//! Invariant: nothing is installed on this machine, and what runs inside cannot touch it.

mod apt;
mod cpio;
mod debian;
mod image;
mod linux;

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use self::debian::Debian;
use crate::exec::{self, Done};
use crate::repo::Repo;
use crate::setup;

/// What a run inside may take; a boot takes 4 s, the suite 3 minutes.
const LIMIT: Duration = Duration::from_secs(900);
/// The CPU: the flags TCG lacks do no harm and are not worth a warning each.
const CPU: &str = "EPYC-v3,+svm,+npt,-rdseed,-sha-ni,-fxsr-opt,-misalignsse,-3dnowprefetch,-osvw,-topoext,\
                   -perfctr-core,-clzero,-xsaveerptr,-ibpb,-nrip-save,-xsavec,-xsaves";

/// Both clocks come from this machine's, so they agree. On a busy machine the check of the timer finds it late and stops
/// the boot; a CPU without a constant TSC gets the HPET, an exit and a lock of QEMU for each look at the time.
const CLOCKS: &str = "no_timer_check tsc=reliable";

/// What to run inside.
pub enum Job<'a> {
    /// The integration tests whose names contain one of these words; without any, those that depend on KVM.
    Tests(&'a [String]),
    /// A line for the shell.
    Shell(&'a str),
}

/// Whether this machine can run the harness; otherwise why not.
pub fn missing() -> Option<&'static str> {
    let needed = ["qemu-system-x86_64", "apt-get", "dpkg-deb"];
    let program = needed.into_iter().find(|program| !setup::installed(program))?;
    Some(match program {
        "qemu-system-x86_64" => "QEMU is not installed; `cargo xtask setup` installs it",
        _ => "this is no Debian, and the kernel for the harness is Debian's",
    })
}

/// Fetches Debian's packages, so that a run needs no network; nothing on machines that cannot run the harness.
pub fn prepare(repo: &Repo) -> Result<()> {
    match missing() {
        Some(_) => Ok(()),
        None => packages(repo).map(drop),
    }
}

/// The unpacked packages: what runs inside, and QEMU.
fn packages(repo: &Repo) -> Result<(Debian, Debian)> {
    let folder = repo.target().join("hwkvm");
    let inside = debian::kernel_and_programs(&folder.join("debian"))?;
    Ok((inside, debian::newer_qemu(&folder.join("qemu"))?))
}

/// Runs `job` inside and passes its output on.
pub fn run(repo: &Repo, job: &Job<'_>) -> Result<Done> {
    let (debian, emulator) = packages(repo)?;
    let folder = repo.target().join("hwkvm");
    let (initramfs, disk) = (folder.join("initramfs"), folder.join("disk.img"));
    linux::empty_ext4(&disk)?;
    image::write(repo, &debian, &command(job), &initramfs)?;
    let mut qemu = qemu(&emulator)?;
    // The kernel speaks to a file, the job to us.
    qemu.arg("-serial").arg(format!("file:{}", folder.join("boot.log").display())).args(["-serial", "stdio"]);
    qemu.arg("-kernel").arg(debian.kernel()?).arg("-initrd").arg(&initramfs);
    // The one kind of disk whose driver is in the kernel.
    qemu.arg("-drive").arg(format!("if=none,id=disk,format=raw,cache=unsafe,file={}", disk.display()));
    qemu.args(["-device", "nvme,serial=disk,drive=disk"]);
    let mut done = exec::run(&qemu, LIMIT)?;
    // QEMU's own status only tells that it could start.
    done.success &= done.last_line == format!("{}0", image::STATUS);
    Ok(done)
}

/// The hosts inside, as `TEST_HOSTS` names them, and the tests of each: one after the other, each result with its
/// label. In ring 3 it is what depends on the ring.
const HOSTS: [(&str, &[&str]); 2] =
    [("kvm-ring0", &SUITE), ("kvm-ring3", &["crash::", "disk_faults::", "disks::", "machine::", "tables::"])];
/// What depends on the host. Other tests need the sources, tools or a terminal, and have run outside.
pub const SUITE: [&str; 13] = [
    "buddy::",
    "crash::",
    "disk_faults::",
    "disks::",
    "linux_guest::",
    "machine::",
    "memory::",
    "numa::",
    "refusals::b30",
    "refusals::t",
    "reserves::",
    "tables::",
    "zones::",
];

/// What the shell inside is to run.
fn command(job: &Job<'_>) -> String {
    let named: &[String] = match job {
        Job::Shell(line) => return (*line).to_owned(),
        Job::Tests(words) => words,
    };
    let run = |(host, suite): (&str, &[&str])| {
        let quoted = named.iter().map(|word| format!("'{}'", word.replace('\'', "")));
        let words = if named.is_empty() { suite.join(" ") } else { quoted.collect::<Vec<_>>().join(" ") };
        let label = format!("sed 's/^test .* [.][.][.]/[{host}] &/'");
        format!("TEST_HOSTS={host} tests --test-threads=2 {words} | {label} || failed=1\n")
    };
    format!("set -o pipefail; failed=0\n{}exit $failed\n", HOSTS.map(run).concat())
}

/// The machine, without what is in it.
fn qemu(emulator: &Debian) -> Result<Command> {
    let mut qemu = Command::new(emulator.program("qemu-system-x86_64")?);
    for folder in ["seabios", "qemu"] {
        qemu.arg("-L").arg(emulator.data(folder));
    }
    qemu.args(["-M", "q35", "-accel", "tcg,thread=multi", "-cpu", CPU, "-smp", "2", "-m", "3G"]);
    qemu.args(["-nodefaults", "-display", "none", "-no-reboot"]);
    qemu.args(["-append", &format!("console=ttyS0 quiet panic=-1 {CLOCKS}")]);
    Ok(qemu)
}
