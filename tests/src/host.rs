//! What can run a guest on this machine.
//!
//! Owns: the list of hosts and which of them are here. `TEST_HOSTS` takes fewer: the beginnings of their names, with
//! commas between, so that a test that asks for any host runs on one of those. Invariant: a missing one is said once a
//! process, around the capture of test output.

use std::fmt;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::{Text, vmm};

/// Something that runs guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// KVM that interprets ring 0 in software; the kernel runs in ring 3.
    SoftKvm,
    /// KVM with hardware; the kernel runs in ring 0.
    HardKvm,
    /// The same, the kernel running in ring 3 all the same.
    HardKvmRing3,
    /// QEMU's microvm on TCG, with everything its CPU can have; ring 0.
    TcgMax,
    /// The same with the plainest x86-64 CPU: no 1 GiB pages, no x2APIC, no XSAVE.
    TcgPlain,
}

impl Host {
    /// The ring in which the kernel runs.
    #[must_use]
    pub fn ring(self) -> u64 {
        if matches!(self, Self::SoftKvm | Self::HardKvmRing3) { 3 } else { 0 }
    }

    /// Whether it is KVM, so that the machine is ours and not QEMU's.
    #[must_use]
    pub fn is_kvm(self) -> bool {
        matches!(self, Self::SoftKvm | Self::HardKvm | Self::HardKvmRing3)
    }

    /// Whether page tables can have leaves of 1 GiB. Software KVM has none to offer, whatever the CPU has.
    #[must_use]
    pub fn has_1g_leaves(self) -> bool {
        match self {
            Self::SoftKvm | Self::TcgPlain => false,
            Self::TcgMax => true,
            Self::HardKvm | Self::HardKvmRing3 => {
                let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
                cpus.split_whitespace().any(|flag| flag == "pdpe1gb")
            }
        }
    }

    /// How `TEST_HOSTS` names it.
    fn word(self) -> &'static str {
        match self {
            Self::SoftKvm => "kvm-software",
            Self::HardKvm => "kvm-ring0",
            Self::HardKvmRing3 => "kvm-ring3",
            Self::TcgMax => "microvm-max",
            Self::TcgPlain => "microvm-plain",
        }
    }

    /// The options of `vmm run` that select it.
    pub(crate) fn options(self) -> &'static [&'static str] {
        match self {
            Self::SoftKvm | Self::HardKvm => &["--accel", "kvm"],
            Self::HardKvmRing3 => &["--accel", "kvm", "--ring", "3"],
            Self::TcgMax => &["--accel", "tcg", "--tcg-cpu", "max"],
            Self::TcgPlain => &["--accel", "tcg", "--tcg-cpu", "qemu64"],
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SoftKvm => "software KVM",
            Self::HardKvm => "hardware KVM",
            Self::HardKvmRing3 => "hardware KVM, ring 3",
            Self::TcgMax => "QEMU microvm, cpu max",
            Self::TcgPlain => "QEMU microvm, cpu qemu64",
        })
    }
}

/// The hosts of this machine, fastest first.
fn hosts() -> &'static [Host] {
    static HOSTS: OnceLock<Vec<Host>> = OnceLock::new();
    HOSTS.get_or_init(|| {
        let output = Command::new(vmm()).arg("probe").stdin(Stdio::null()).output();
        let output = output.unwrap_or_else(|error| panic!("cannot run {}: {error}", vmm().display()));
        let text = String::from_utf8_lossy(&output.stdout);
        let facts = Text::new(&text);
        let mut found = Vec::new();
        match (facts.find("kvm"), facts.find("kvm.kind")) {
            (Some("ok"), Some("software")) => found.push(Host::SoftKvm),
            (Some("ok"), _) => found.extend([Host::HardKvm, Host::HardKvmRing3]),
            _ => not_tested("KVM", text.lines().find_map(|line| line.strip_prefix("kvm="))),
        }
        let qemu = Command::new("qemu-system-x86_64").arg("--version").output();
        match qemu {
            Ok(_) => found.extend([Host::TcgMax, Host::TcgPlain]),
            Err(error) => not_tested("QEMU microvm", Some(&error.to_string())),
        }
        let found = chosen(found, &std::env::var("TEST_HOSTS").unwrap_or_default());
        assert!(!found.is_empty(), "neither KVM nor QEMU is here, so no guest can run: see `vmm probe`");
        found
    })
}

/// Those of `hosts` whose names begin with a word of `wanted`; all if none does.
fn chosen(hosts: Vec<Host>, wanted: &str) -> Vec<Host> {
    if wanted.is_empty() {
        return hosts;
    }
    let is_wanted = |host: &Host| wanted.split(',').any(|word| host.word().starts_with(word));
    let chosen: Vec<_> = hosts.iter().copied().filter(is_wanted).collect();
    if chosen.is_empty() {
        not_tested(wanted, Some("TEST_HOSTS asks for it; the tests run on what is here"));
        return hosts;
    }
    chosen
}

/// Says, past the capture of test output, that `what` is missing here.
pub fn not_tested(what: &str, why: Option<&str>) {
    let line =
        format!("\nNOT TESTED on {what}, which is missing here: {}\n", why.unwrap_or("see `vmm probe`"));
    // The print macros would leave it to libtest, which hides what passing tests print.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Runs `test` on every host of this machine, one after the other.
pub fn for_each_host(test: impl Fn(Host)) {
    for &host in hosts() {
        eprintln!("on {host}");
        test(host);
    }
}

/// The fastest host, for tests of what does not depend on the host.
#[must_use]
pub fn any_host() -> Host {
    hosts()[0]
}

/// The KVM of this machine, for tests of a machine that only our monitor makes; `None` where there is none, which has
/// been said.
#[must_use]
pub fn kvm() -> Option<Host> {
    hosts().iter().copied().find(|host| host.is_kvm())
}

#[cfg(test)]
mod tests {
    use super::{Host, chosen};

    #[test]
    fn hosts_are_chosen_by_the_beginnings_of_their_names() {
        let all = vec![Host::HardKvm, Host::HardKvmRing3, Host::TcgMax, Host::TcgPlain];
        let of = |wanted| chosen(all.clone(), wanted);
        assert_eq!(of(""), all);
        assert_eq!(of("kvm-ring3"), [Host::HardKvmRing3]);
        assert_eq!(of("microvm"), [Host::TcgMax, Host::TcgPlain]);
        assert_eq!(of("kvm-ring0,microvm-plain"), [Host::HardKvm, Host::TcgPlain]);
        assert_eq!(of("kvm-software"), all, "none of these is here");
    }
}
