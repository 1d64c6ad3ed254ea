//! `vmm probe`: what this host offers, one fact per line.
//!
//! Owns: which facts, and their words. Stays outside: measuring ring 0 (`speed`), opening KVM
//! (`accel`).
//! Nothing here fails: what cannot be found out is said so.

mod speed;

use std::fmt::Display;
use std::fs;
use std::process::{Command, Stdio};

use kvm_bindings::{KVM_CAP_BINARY_STATS_FD, KVM_CAP_HALT_POLL, KVM_CAP_IOEVENTFD, KVM_CAP_IRQFD};
use kvm_ioctls::Kvm;

use crate::accel::{self, AccelError};
use crate::memory::thp_mode;
use crate::tcg;

/// A line `key=value`.
fn fact(lines: &mut Vec<String>, key: &str, value: impl Display) {
    lines.push(format!("{key}={value}"));
}

/// All facts, each a line without its end.
pub fn facts() -> Vec<String> {
    let mut lines = Vec::new();
    let kvm = accel::open_kvm();
    let qemu = qemu_version();
    let accelerator = match (&kvm, &qemu) {
        (Ok(_), _) => "kvm",
        (Err(_), Some(_)) => "tcg",
        (Err(_), None) => "none",
    };
    fact(&mut lines, "accelerator", accelerator);
    kvm_facts(&mut lines, &kvm);
    fact(&mut lines, "qemu", qemu.as_deref().unwrap_or("not installed"));
    memory_facts(&mut lines);
    fact(&mut lines, "host.cpus", std::thread::available_parallelism().map_or(0, usize::from));
    fact(&mut lines, "host.numa_nodes", numa_nodes());
    fact(&mut lines, "host.kernel", first_line("/proc/sys/kernel/osrelease"));
    lines
}

fn kvm_facts(lines: &mut Vec<String>, kvm: &Result<Kvm, AccelError>) {
    let kvm = match kvm {
        Ok(kvm) => kvm,
        Err(error) => {
            fact(lines, "kvm", error);
            // QEMU runs ring 0 as fast as any other.
            fact(lines, "ring", 0);
            return;
        }
    };
    fact(lines, "kvm", "ok");
    match speed::ring0_ns(kvm) {
        Ok(ns) => {
            let kind = speed::Kind::from_ns(ns);
            fact(lines, "kvm.kind", kind.name());
            fact(lines, "kvm.why", format_args!("an instruction in ring 0 takes {ns} ns"));
            fact(lines, "ring", kind.ring());
        }
        Err(error) => fact(lines, "kvm.kind", format_args!("unknown, the measurement failed: {error}")),
    }
    fact(lines, "kvm.modules", modules());
    fact(lines, "kvm.recommended_vcpus", kvm.get_nr_vcpus());
    fact(lines, "kvm.max_vcpus", kvm.get_max_vcpus());
    fact(lines, "kvm.memslots", kvm.get_nr_memslots());
    for (name, capability) in [
        ("irqfd", KVM_CAP_IRQFD),
        ("ioeventfd", KVM_CAP_IOEVENTFD),
        ("halt_poll", KVM_CAP_HALT_POLL),
        ("stats", KVM_CAP_BINARY_STATS_FD),
    ] {
        let present = kvm.check_extension_raw(capability.into()) > 0;
        fact(lines, &format!("kvm.{name}"), if present { "yes" } else { "no" });
    }
}

fn memory_facts(lines: &mut Vec<String>) {
    let thp = thp_mode();
    let backing = match thp.as_deref() {
        Some("always" | "madvise") => "thp",
        _ => "4k",
    };
    fact(lines, "hugepages.auto", backing);
    fact(lines, "hugepages.thp", thp.as_deref().unwrap_or("none"));
    fact(
        lines,
        "hugepages.hugetlb_free_2m",
        first_line("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"),
    );
    let available =
        meminfo_kib("MemAvailable").map_or(String::from("unknown"), |kib| format!("{}M", kib >> 10));
    fact(lines, "host.available_memory", available);
}

/// The loaded KVM modules: what the kernel thinks it has.
fn modules() -> String {
    let text = fs::read_to_string("/proc/modules").unwrap_or_default();
    let names = text.lines().filter_map(|line| line.split(' ').next());
    let names: Vec<_> = names.filter(|name| name.starts_with("kvm")).collect();
    if names.is_empty() { String::from("built in") } else { names.join(",") }
}

fn numa_nodes() -> usize {
    let is_node = |name: &str| {
        name.strip_prefix("node").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let entries = fs::read_dir("/sys/devices/system/node").into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_str().is_some_and(is_node)).count().max(1)
}

fn qemu_version() -> Option<String> {
    let output = Command::new(tcg::QEMU).arg("--version").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(|line| line.trim_start_matches("QEMU emulator version ").to_owned())
}

fn meminfo_kib(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

fn first_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().map_or_else(|| String::from("unknown"), str::to_owned)
}
