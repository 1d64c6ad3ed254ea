//! The machine as a whole: the tour, the traps, what the CPU has.

use std::fs;
use std::thread;
use std::time::Duration;

use tempfile::NamedTempFile;
use tests::linux::{buddyinfo, e820};
use tests::{Guest, Host, Run, Text, any_host, for_each_host, kvm};

/// What `disk crc` looks at by default.
const REGION: u64 = 1 << 20;

/// The lines of a step of the tour, from its heading to the next.
#[track_caller]
fn step<'a>(run: &'a Run, title: &str) -> Text<'a> {
    let heading = format!("\n== {title} ==\n");
    let Some((_, after)) = run.stdout.split_once(&heading) else { panic!("no step {title:?}\n{run}") };
    Text::new(after.split_once("\n\n== ").map_or(after, |(step, _)| step))
}

/// The two tables of free blocks around the storm.
fn before_and_after(step: Text<'_>) -> [String; 2] {
    let (before, after) = step.as_str().split_once("cpus=").unwrap_or((step.as_str(), ""));
    [before, after].map(|text| {
        let lines = text.lines().filter(|line| line.starts_with("Node "));
        lines.map(|line| format!("{line}\n")).collect()
    })
}

#[test]
fn tour_shows_every_subsystem_with_evidence() {
    let image = NamedTempFile::new().unwrap();
    let crc = images::write_pattern(&mut image.reopen().unwrap(), REGION, 3).unwrap();
    for_each_host(|host| {
        let run = Guest::on(host).disk(image.path(), "").script("tour").start().assert_ok();
        let summary = step(&run, "summary");
        assert_eq!(summary.number("failed"), 0, "{run}");
        assert_eq!(summary.number("steps") as usize, summary.lines_with(" ok ").len(), "{run}");
        let machine = step(&run, "machine");
        assert_eq!(machine.number("ring"), host.ring(), "{run}");
        let signature = if host.is_kvm() { "KVMKVMKVM" } else { "TCGTCGTCGTCG" };
        assert_eq!(machine.fact("hypervisor_signature"), signature, "{run}");
        let accelerator = match host {
            Host::SoftKvm => "kvm-software",
            Host::HardKvm | Host::HardKvmRing3 => "kvm",
            Host::TcgMax | Host::TcgPlain => "tcg",
        };
        assert_eq!(machine.fact("accelerator"), accelerator, "{run}");
        let usable = e820(step(&run, "memory map")).iter().filter(|range| range.usable).count();
        assert_eq!(usable, 2, "{run}");
        step(&run, "nodes").assert_line("available: 2 nodes (0-1)");
        assert_eq!(step(&run, "zones").lines_with("zone=").len(), 3, "{run}");
        let [before, after] = before_and_after(step(&run, "buddy"));
        let pages = |text| buddyinfo(Text::new(text)).iter().map(|zone| zone.pages()).collect::<Vec<_>>();
        assert_eq!(pages(&before), pages(&after), "free pages before and after the storm\n{run}");
        assert_eq!(pages(&before).len(), 3, "{run}");
        let storm = step(&run, "buddy");
        assert!(storm.number("allocs") > 1000 && storm.number("allocs") == storm.number("frees"), "{run}");
        assert_eq!(step(&run, "disks").fact("crc32"), format!("0x{crc:08x}"), "{run}");
    });
}

#[test]
fn tour_of_the_default_machine_takes_less_than_three_seconds() {
    // The promise is for hosts whose CPU executes most of the guest; QEMU translates it.
    let Some(host) = kvm().filter(|&host| host == Host::SoftKvm) else { return };
    let limit = Duration::from_secs(3);
    // Other work on this machine is not the guest's: the best of a few, and of more while others keep all CPUs busy.
    let mut best = Duration::MAX;
    for n in 0..50 {
        if n >= 5 && (best < limit || !is_busy()) {
            break;
        }
        best = best.min(Guest::on(host).start().assert_ok().elapsed);
    }
    assert!(best < limit, "{best:?}");
}

/// Whether more wants to run here than there are CPUs.
fn is_busy() -> bool {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0);
    load > thread::available_parallelism().map_or(1.0, |cpus| cpus.get() as f64)
}

#[test]
fn traps_are_sound_for_five_seconds_on_two_cpus() {
    for_each_host(|host| {
        let run = Guest::on(host).cpus(2).script("traps stress seconds=5").start().assert_ok();
        let verdict = run.all().line_with("stress: ");
        assert_eq!((verdict.number("wrong"), verdict.number("lost")), (0, 0), "{run}");
        assert_eq!((verdict.number("ring"), verdict.number("cpus")), (host.ring(), 2), "{run}");
        assert_eq!(verdict.number("sent"), verdict.number("received"), "{run}");
        for kind in ["faults", "spins", "timers", "sent"] {
            assert!(verdict.number(kind) > 100, "{kind}\n{run}");
        }
        // Ring 3 passes the gate; ring 0 has none.
        assert_eq!(verdict.number("gates") > 0, host.ring() == 3, "{run}");
    });
}

/// The flags of the host's CPU.
fn host_flags() -> Vec<String> {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = text.lines().find_map(|line| line.strip_prefix("flags")?.split_once(": "));
    flags.map_or_else(Vec::new, |(_, flags)| flags.split(' ').map(str::to_owned).collect())
}

#[test]
fn t10a_features_are_those_of_the_cpu() {
    let names = ["nx", "pdpe1gb", "smep", "smap", "la57", "fsgsbase"];
    for_each_host(|host| {
        let run = Guest::on(host).script("features").start().assert_ok();
        let all = run.all();
        assert_eq!(all.number("ring"), host.ring(), "{run}");
        // What the page tables cannot do without is in use.
        assert_eq!((all.number("nx"), all.number("pae")), (1, 1), "{run}");
        // What CPUID offers; a feature that needs no switch is in use where it is offered.
        let has = names.map(|name| {
            let line = all.line_with(&format!("{name}="));
            if line.find("cpuid").is_some() { line.number("cpuid") } else { line.number(name) }
        });
        match host {
            // What QEMU documents for these models.
            Host::TcgMax => assert_eq!(has, [1, 1, 1, 1, 1, 1], "{names:?}\n{run}"),
            Host::TcgPlain => assert_eq!(has, [1, 0, 0, 0, 0, 0], "{names:?}\n{run}"),
            // KVM can show less than the CPU has, never more.
            Host::SoftKvm | Host::HardKvm | Host::HardKvmRing3 => {
                let flags = host_flags();
                for (name, has) in names.iter().zip(has) {
                    assert!(has == 0 || flags.iter().any(|flag| flag == name), "{name}\n{run}");
                }
            }
        }
    });
}

#[test]
fn ring_3_can_be_asked_for_everywhere() {
    for_each_host(|host| {
        let guest = Guest::on(host).option("--ring", "3");
        let run = guest.script("features; traps stress ms=300; mm verify").start().assert_ok();
        assert_eq!(run.all().line_with("ballast ").number("ring"), 3, "{run}");
        assert_eq!(run.all().line_with("stress: ").number("wrong"), 0, "{run}");
    });
}

/// Writes to device registers that only prepare are collected by KVM: a boot with a console and two disks takes
/// 51 exits for its registers, and 113 without.
#[test]
fn preparing_register_writes_do_not_stop_the_vcpu() {
    let Some(host) = kvm() else { return };
    let run = Guest::on(host).flag("--stats").run(&["disk crc vda"]).start().assert_ok();
    let exits = run.all().number("kvm.vcpu.mmio_exits");
    assert!((1..80).contains(&exits), "{exits} exits for device registers");
}

#[test]
fn tasks_sleep_for_as_long_as_they_say_and_workload_gives_way() {
    for_each_host(|host| {
        let commands = ["uptime", "sleep 0.25", "uptime", "tasks sleepers", "tasks preempt", "ps"];
        let run = Guest::on(host).cpus(2).run(&commands).start().assert_ok();
        let [before, after] = [0, 2].map(|n| run.output(n).line_with("uptime=").fact("uptime").to_owned());
        let slept = after.parse::<f64>().unwrap() - before.parse::<f64>().unwrap();
        assert!((0.25..5.0).contains(&slept), "{slept}\n{run}");
        let sleepers = run.output(3).line_with("sleepers=");
        assert_eq!((sleepers.number("sleepers"), sleepers.number("early")), (16, 0), "{run}");
        let turns = run.output(4).line_with("turns=");
        assert_eq!(turns.number("turns"), turns.number("expected"), "{run}");
        assert!(run.output(5).lines_with("name=daemon").is_empty(), "{run}");
    });
    let bad = Guest::on(any_host()).run(&["sleep -1"]).start().assert_status(2);
    bad.output(0).assert_line("error: bad seconds '-1' (such as 2 or 0.25)");
}
