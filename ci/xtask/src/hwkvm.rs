//! `hwkvm`: runs our tests where KVM executes ring 0 in hardware, without such hardware.
//!
//! QEMU's TCG plays an AMD CPU with SVM and nested paging; Debian's cloud kernel boots on it and loads kvm-amd; an
//! initramfs of ours holds `vmm`, the tests and the libraries they need, because there is nothing else.
//! Owns: how that is put together and started. Stays outside: Debian's packages (`debian`, `apt`), the archive format
//! (`cpio`), what is in the archive (`image`, `linux`).
//! Invariants: nothing is installed on this machine, and what runs inside cannot touch it; a machine has one CPU, because
//! with two of them QEMU loses a guest now and then (ADR 0009).

mod apt;
mod cpio;
mod debian;
mod image;
mod linux;

use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};

use self::debian::Debian;
use crate::exec::{self, Done};
use crate::repo::Repo;
use crate::setup;

/// What a run inside may take; a boot takes 4 s, the suite 2 minutes where nothing else runs.
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

/// Runs `job` inside and passes its output on: each host in a machine of its own, all at once.
pub fn run(repo: &Repo, job: &Job<'_>) -> Result<Done> {
    let (debian, emulator) = packages(repo)?;
    let folder = repo.target().join("hwkvm");
    let jobs = jobs(job);
    let initramfs = folder.join("initramfs");
    image::write(repo, &debian, &jobs, &initramfs)?;
    let machine = |name: &str| {
        let disk = folder.join(format!("{name}.img"));
        linux::empty_ext4(&disk)?;
        let mut qemu = qemu(&emulator, name)?;
        // The kernel speaks to a file, the job to us.
        let log = folder.join(format!("{name}.log"));
        qemu.arg("-serial").arg(format!("file:{}", log.display())).args(["-serial", "stdio"]);
        qemu.arg("-kernel").arg(debian.kernel()?).arg("-initrd").arg(&initramfs);
        // The one kind of disk whose driver is in the kernel.
        qemu.arg("-drive").arg(format!("if=none,id=disk,format=raw,cache=unsafe,file={}", disk.display()));
        qemu.args(["-device", "nvme,serial=disk,drive=disk"]);
        Ok(qemu)
    };
    let machines = jobs.iter().map(|(name, _)| machine(name)).collect::<Result<Vec<_>>>()?;
    all_at_once(&machines)
}

/// Runs `machines`; the first one's output comes as it arises, that of the others when it has ended.
fn all_at_once(machines: &[Command]) -> Result<Done> {
    let Some((first, others)) = machines.split_first() else { return Ok(Done::default()) };
    thread::scope(|scope| {
        let others: Vec<_> =
            others.iter().map(|machine| scope.spawn(|| exec::run_quietly(machine, LIMIT))).collect();
        let mut all = checked(exec::run(first, LIMIT)?);
        for other in others {
            let (done, output) = other.join().map_err(|_| anyhow!("a thread of the harness died"))??;
            print!("{output}");
            let done = checked(done);
            all.success &= done.success;
            all.timed_out |= done.timed_out;
            all.passed += done.passed;
            all.failed += done.failed;
        }
        Ok(all)
    })
}

/// QEMU's own status only tells that it could start; the job's is in its last line.
fn checked(mut done: Done) -> Done {
    done.success &= done.last_line == format!("{}0", image::STATUS);
    done
}

/// A host inside, as `TEST_HOSTS` names it, and words of the names of tests that run there.
type Share = (&'static str, &'static [&'static str]);

/// What each machine runs, one share after the other, so that both are busy for about the same time. In ring 0 it is what
/// depends on the host: the rows of the first boot, disks, and Linux. In ring 3 it is what depends on the ring. Other tests
/// need the sources, tools or a terminal, or do not care about the host, and have run outside.
const MACHINES: [(&str, &[Share]); 2] = [
    (
        "one",
        &[(
            RING_0,
            &[
                "buddy::",
                "crash::",
                "fragmentation::t27e",
                "machine::",
                "memory::",
                "numa::",
                "reserves::",
                "tables::",
                "zones::",
            ],
        )],
    ),
    (
        "two",
        &[
            (
                RING_0,
                &[
                    "api::t84",
                    "contexts::t15b",
                    "disk_faults::",
                    "disks::",
                    "faults::t13f",
                    "linux_guest::",
                    "refusals::b30",
                    "refusals::t",
                ],
            ),
            (RING_3, &["crash::", "disk_faults::", "disks::", "machine::", "tables::"]),
        ],
    ),
];
const RING_0: &str = "kvm-ring0";
const RING_3: &str = "kvm-ring3";

/// Words of the names of tests that depend on the host.
pub fn suite() -> Vec<&'static str> {
    let shares = MACHINES.iter().flat_map(|(_, shares)| *shares);
    shares.filter(|(host, _)| *host == RING_0).flat_map(|(_, words)| *words).copied().collect()
}

/// A name for each machine, and what its shell is to run.
fn jobs(job: &Job<'_>) -> Vec<(&'static str, String)> {
    match job {
        Job::Shell(line) => vec![("shell", (*line).to_owned())],
        Job::Tests([]) => MACHINES.iter().map(|(name, shares)| (*name, script(shares))).collect(),
        Job::Tests(words) => {
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            [RING_0, RING_3].map(|host| (host, script(&[(host, &words)]))).into()
        }
    }
}

/// Runs `shares` one after the other, each result with the label of its host.
fn script(shares: &[(&str, &[&str])]) -> String {
    let run = |(host, words): &(&str, &[&str])| {
        let words: Vec<_> = words.iter().map(|word| format!("'{}'", word.replace('\'', ""))).collect();
        let label = format!("sed 's/^test .* [.][.][.]/[{host}] &/'");
        format!("TEST_HOSTS={host} tests --test-threads=2 {} | {label} || failed=1\n", words.join(" "))
    };
    let all: String = shares.iter().map(run).collect();
    format!("set -o pipefail; failed=0\n{all}exit $failed\n")
}

/// The machine for the job `name`, without what is in it.
fn qemu(emulator: &Debian, name: &str) -> Result<Command> {
    let mut qemu = Command::new(emulator.program("qemu-system-x86_64")?);
    for folder in ["seabios", "qemu"] {
        qemu.arg("-L").arg(emulator.data(folder));
    }
    qemu.args(["-M", "q35", "-accel", "tcg", "-cpu", CPU, "-smp", "1", "-m", "3G"]);
    qemu.args(["-nodefaults", "-display", "none", "-no-reboot"]);
    qemu.args(["-append", &format!("console=ttyS0 quiet panic=-1 {CLOCKS} JOB={name}")]);
    Ok(qemu)
}
