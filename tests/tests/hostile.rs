//! A guest that attacks its monitor: whatever it does, the monitor lives until the guest's own end, and says little.
//!
//! The attacks are those of the guest's command `hostile`, which also checks that no memory was touched that it did
//! not offer. On QEMU they would test QEMU, so they run on KVM only.

use tests::{Guest, Run, Text, kvm};

/// Lines that a monitor may print about a guest that breaks all its devices: one each.
const DEVICES: usize = 3;

/// What the guest says when the attack is over. Before that its console has printed whatever memory the attack named, which
/// may be the guest's texts.
fn last_line(all: &str) -> Text<'_> {
    let at = all.rfind("hostile: accesses=").unwrap_or_else(|| panic!("no last line in\n{all}"));
    Text::new(&all[at..])
}

/// Runs an attack and checks what holds for all: a defined end, a few lines, whole canaries.
fn survive(way: &str, seed: u64) -> Option<Run> {
    let script = format!("hostile {way} seconds=1 seed={seed}");
    let run = Guest::on(kvm()?).script(&script).start().assert_status(0);
    let all = run.all();
    let last = last_line(all.as_str());
    assert_eq!(last.fact("canaries"), "64", "{way}");
    assert!(last.number("accesses") > 100, "{way}: {}", last.fact("accesses"));
    let complaints: Vec<_> = run.stderr.lines().collect();
    assert!(complaints.len() <= DEVICES, "{way}: {complaints:?}");
    let about_devices = |line: &&str| line.starts_with("vmm: warning: the virtio device \"");
    assert!(complaints.iter().all(about_devices), "{way}: {complaints:?}");
    Some(run)
}

#[test]
fn hostile_register_accesses_do_not_harm_the_monitor() {
    survive("registers", 1);
}

#[test]
fn hostile_rings_do_not_harm_the_monitor() {
    for seed in 1..=3 {
        survive("rings", seed);
    }
}

#[test]
fn hostile_port_accesses_do_not_harm_the_monitor() {
    if let Some(run) = survive("ports", 1) {
        assert_eq!(run.stderr, "", "ports are no device that could break");
    }
}

#[test]
fn hostile_accesses_of_all_kinds_at_once_do_not_harm_the_monitor() {
    for seed in 1..=3 {
        survive("all", seed);
    }
}

/// The storm goes on until the monitor ends it: exits alone keep it from nothing.
#[test]
fn a_storm_of_exits_does_not_hold_up_the_time_limit() {
    let Some(host) = kvm() else { return };
    let limit = std::time::Duration::from_secs(2);
    let run = Guest::on(host).limit(limit).script("hostile all seconds=600").start().assert_status(7);
    let last = run.stderr.lines().last();
    assert_eq!(last, Some("vmm: time limit reached; raise or drop --timeout"));
}
