//! The report: its fields are those of `docs/report.md`, its contents those of the run.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tests::linux::meminfo;
use tests::{Guest, any_host, for_each_host};

/// Types of the fields by path, as the documentation has them.
fn documented() -> BTreeMap<String, String> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/report.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    rows.map(|(path, rest)| (path.to_owned(), rest.split(" |").next().unwrap().to_owned())).collect()
}

/// The path of every value that is no object and no list, with the value.
fn leaves(known: &BTreeMap<String, String>, path: &str, value: &Value, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(fields) => {
            let any = format!("{path}.*");
            for (key, value) in fields {
                let own = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                leaves(known, if known.contains_key(&any) { &any } else { &own }, value, found);
            }
        }
        Value::Array(values) => {
            values.iter().for_each(|value| leaves(known, &format!("{path}[]"), value, found));
        }
        leaf => found.push((path.to_owned(), leaf.clone())),
    }
}

fn fits(kind: &str, value: &Value) -> bool {
    match kind.strip_suffix('?') {
        Some(kind) => value.is_null() || fits(kind, value),
        None => match kind {
            "string" => value.is_string(),
            "integer" => value.is_u64(),
            "boolean" => value.is_boolean(),
            "value" => value.is_u64() || value.is_string(),
            _ => panic!("unknown type {kind:?} in docs/report.md"),
        },
    }
}

#[test]
fn fields_are_those_of_the_documentation() {
    let known = documented();
    let seen = RefCell::new(BTreeSet::new());
    let device = |guest: Guest| guest.option("--disk", "/nonexistent/disk");
    for_each_host(|host| {
        let runs = [
            Guest::on(host)
                .script("features; cat /proc/meminfo; disk crc vda sector=0 sectors=8")
                .report()
                .start()
                .assert_ok(),
            Guest::on(host)
                .script("psi stall 600")
                .append("psi.trigger=\"some 100000 500000\"")
                .report()
                .start()
                .assert_ok(),
            device(Guest::on(host)).report().start().assert_status(2),
            Guest::on(host).script("crash panic").report().start().assert_status(5),
        ];
        for run in runs {
            let mut found = Vec::new();
            leaves(&known, "", &run.report(), &mut found);
            for (path, value) in found {
                if path == "guest" && value.is_null() {
                    continue;
                }
                let kind = known.get(&path);
                let kind = kind.unwrap_or_else(|| panic!("{path} is not in docs/report.md\n{run}"));
                assert!(fits(kind, &value), "{path} is {value}, documented as {kind}\n{run}");
                seen.borrow_mut().insert(path);
            }
        }
    });
    // Warnings need a host that has something to warn of.
    let seen = seen.into_inner();
    let missing: Vec<_> =
        known.keys().filter(|path| !seen.contains(*path) && *path != "warnings[]").collect();
    assert_eq!(missing, Vec::<&String>::new(), "documented, but in no report");
}

#[test]
fn the_report_says_what_the_console_says() {
    for_each_host(|host| {
        let run = Guest::on(host)
            .cpus(1)
            .mem("64M")
            .run(&["features", "zones verify", "cat /proc/meminfo", "cat /proc/vmstat"])
            .report()
            .start()
            .assert_ok();
        let report = run.report();
        assert_eq!(report["guest"]["ring"], run.output(0).number("ring"), "{run}");
        for name in ["MemTotal", "MemFree", "DirectMap4k", "DirectMap2M", "VmallocUsed"] {
            assert_eq!(report["guest"]["meminfo"][name], meminfo(run.output(2), name), "{name}\n{run}");
        }
        for line in run.output(3).lines() {
            let (name, value) = line.split_once(' ').unwrap();
            assert_eq!(report["guest"]["vmstat"][name].to_string(), value, "{name}\n{run}");
        }
        // Each command is preceded by the echo of its marker.
        let commands = report["commands"].as_array().unwrap();
        assert_eq!(commands.len(), 8, "{run}");
        for (n, command) in commands.iter().skip(1).step_by(2).enumerate() {
            assert_eq!(command["output"].as_str().unwrap(), run.output(n).as_str(), "{run}");
            assert_eq!(command["status"], 0, "{run}");
        }
        assert_eq!(commands[1]["command"], "features");
        let ring = commands[1]["facts"].as_array().unwrap().iter().find_map(|line| line.get("ring"));
        assert_eq!(ring, Some(&Value::from(host.ring())), "{run}");
        assert_eq!(report["machine"]["cpus"], 1);
        assert_eq!(report["machine"]["memory_bytes"], 64 << 20);
        assert_eq!(report["exit"]["reason"], "guest");
    });
}

#[test]
fn every_end_is_reported() {
    for_each_host(|host| {
        let start = |script: &str, limit| {
            let guest = Guest::on(host).script(script).limit(Duration::from_secs_f64(limit));
            guest.report().start()
        };
        let late = start("echo before; crash hang", 3.0).assert_status(7).report();
        assert_eq!(late["exit"]["reason"], "timeout");
        assert_eq!(late["exit"]["message"], "time limit reached; raise or drop --timeout");
        assert_eq!(late["commands"][0]["output"], "before\n");
        assert!(late["commands"][1]["status"].is_null(), "it was running");
        assert!(late["guest"]["uptime_ns"].as_u64().unwrap() > 500_000_000, "numbers of the running guest");
        let failed = start("echo ok; nosuchcommand; echo never", 60.0).report();
        let statuses: Vec<_> = failed["commands"].as_array().unwrap().iter().map(|c| &c["status"]).collect();
        assert_eq!(statuses, [0, 2]);
        assert_eq!(failed["exit"]["status"], 2);
        let dead = start("crash panic", 60.0).assert_status(5).report();
        assert_eq!(dead["exit"]["status"], 5);
        assert!(dead["commands"][0]["output"].as_str().unwrap().contains("Kernel panic"), "{dead}");
    });
}

#[test]
fn a_report_that_cannot_be_written_is_refused_before_boot() {
    let directory = TempDir::new().unwrap();
    let absent = directory.path().join("absent/report.json");
    for path in [absent.as_path(), directory.path()] {
        let run = Guest::on(any_host()).option("--report", &path.display().to_string()).start();
        let run = run.assert_status(2);
        let start = format!("cannot write the report {}: ", path.display());
        assert!(run.error_line().starts_with(&start), "{run}");
        assert_eq!(run.stdout, "", "{run}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn stats_name_exits_and_memory() {
    let Some(host) = tests::kvm() else { return };
    let run = Guest::on(host).script("disk crc vda").flag("--stats").report().start().assert_ok();
    for name in
        ["host.ram_kb", "host.vmm_kb", "exits.mmio_read", "exits.io_out", "kvm.vm.pages_4k", "kvm.vcpu.exits"]
    {
        let printed = run.all().number(name);
        assert!(printed > 0, "{name}\n{run}");
        assert_eq!(run.report()["counters"][name], printed, "{name}");
    }
    assert_eq!(run.all().number("disk.data.read_bytes"), 1 << 20, "{run}");
}

#[test]
fn the_report_shows_what_disks_did() {
    let Some(host) = tests::kvm() else { return };
    let guest = Guest::on(host).option("--disk", "latency=5ms,error=read@sector:100").flag("--stats");
    let run =
        guest.script("disk crc vda sector=0 sectors=8; disk crc vda sector=100 sectors=8").report().start();
    let run = run.assert_status(1);
    let report = run.report();
    let disk = &report["disks"][0];
    assert_eq!((&disk["id"], &disk["errors"]), (&Value::from("data"), &Value::from(1)), "{run}");
    let read = &disk["requests"][0];
    assert_eq!(
        (&read["kind"], &read["count"], &read["bytes"]),
        (&"read".into(), &1.into(), &4096.into()),
        "{run}"
    );
    assert_eq!(disk["requests"].as_array().unwrap().len(), 1, "{run}");
    let half = read["p50_ns"].as_u64().unwrap();
    assert!(half >= 5_000_000, "no request is faster than its latency\n{run}");
    assert_eq!(read["latencies"], serde_json::json!([{ "below_ns": half, "count": 1 }]), "{run}");
    let log: Vec<_> = disk["log"].as_array().unwrap().iter().collect();
    let entries = log.iter().map(|entry| (&entry["kind"], &entry["sector"], &entry["bytes"], &entry["ok"]));
    let (read, good, bad) = (Value::from("read"), Value::from(true), Value::from(false));
    let bytes = Value::from(4096);
    let expected = [(&read, &Value::from(0), &bytes, &good), (&read, &Value::from(100), &bytes, &bad)];
    assert_eq!(entries.collect::<Vec<_>>(), expected, "{run}");
    assert!(log[0]["at_ns"].as_u64() < log[1]["at_ns"].as_u64(), "oldest first\n{run}");
    assert_eq!(run.all().number("disk.data.read_p50_ns"), half, "{run}");
}
