//! `--procfs`: the same bytes as on the guest's console, fresh while the guest runs, readable by the host's tools.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use shared::text::procps::{HEAD, Sample};
use tempfile::TempDir;
use tests::linux::meminfo;
use tests::{Guest, Run, Text, any_host, for_each_host};

/// A guest whose texts are in `directory` and on its console.
fn shown(guest: Guest, directory: &Path) -> Run {
    // After the check no CPU takes in memory in the background any more, so the numbers stand still.
    let commands = [
        "zones verify",
        "cat /proc/buddyinfo",
        "cat /proc/meminfo",
        "cat /proc/vmstat",
        "cat /proc/zoneinfo",
        "cat /proc/slabinfo",
        "cat /proc/vmallocinfo",
    ];
    guest.procfs(directory).run(&commands).start().assert_ok()
}

#[test]
fn files_have_the_bytes_of_the_console() {
    for_each_host(|host| {
        let directory = TempDir::new().unwrap();
        let run = shown(Guest::on(host), directory.path());
        let names = ["buddyinfo", "meminfo", "vmstat", "zoneinfo", "slabinfo", "vmallocinfo"];
        for (n, name) in names.into_iter().enumerate() {
            let file = fs::read_to_string(directory.path().join(name)).unwrap();
            assert_eq!(file, run.output(n + 1).as_str(), "{name}\n{run}");
        }
        let text = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        assert!(text("pagetypeinfo").starts_with("Page block order: 9\n"), "{run}");
        assert!(text("iomem").contains("System RAM") && text("version").starts_with("Ballast version "));
        assert!(text("cmdline").contains("run=") && text("interrupts").contains("LOC:"));
        let hidden = fs::read_dir(directory.path())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with('.'));
        assert_eq!(hidden.count(), 0, "temporary files are gone");
    });
}

/// What the guest does for its own end, such as the buffer of the last texts, is not in the numbers.
#[test]
fn the_end_of_the_guest_is_not_in_its_numbers() {
    for_each_host(|host| {
        let directory = TempDir::new().unwrap();
        // So often that many updates would fall into the end, which takes milliseconds.
        let run = shown(Guest::on(host).append("stats.interval_ms=1"), directory.path());
        for (place, name) in [(1, "buddyinfo"), (2, "meminfo"), (3, "vmstat"), (4, "zoneinfo")] {
            let file = fs::read_to_string(directory.path().join(name)).unwrap();
            assert_eq!(file, run.output(place).as_str(), "{name}\n{run}");
        }
    });
}

#[test]
fn files_follow_the_running_guest() {
    for_each_host(|host| {
        let directory = TempDir::new().unwrap();
        // It works for longer than it is needed.
        let guest =
            Guest::on(host).procfs(directory.path()).script("buddy storm ops=4000000000 seed=1; uptime");
        let mut child = guest.command().stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let mut seen: Vec<String> = Vec::new();
        let start = Instant::now();
        while seen.len() < 6 {
            assert!(child.try_wait().unwrap().is_none(), "the guest has ended: {seen:?} on {host}");
            // Not there before the guest is up; whole whenever it is there.
            if let Ok(text) = fs::read_to_string(directory.path().join("uptime")) {
                assert!(text.ends_with('\n') && text.split(' ').count() == 2, "{text:?}");
                if seen.last() != Some(&text) {
                    seen.push(text);
                }
            }
            assert!(start.elapsed() < Duration::from_secs(90), "nothing changes: {seen:?} on {host}");
            std::thread::sleep(Duration::from_millis(5));
        }
        // SAFETY: sends a signal to our own child, which has not been waited for.
        unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
        assert_eq!(child.wait().unwrap().code(), Some(130), "{host}");
    });
}

#[test]
fn what_cannot_be_written_is_refused_in_a_line() {
    let run = Guest::on(any_host()).option("--procfs", "/proc/version/x").start().assert_status(2);
    assert!(run.error_line().starts_with("cannot write /proc/version/x for --procfs: "), "{run}");
    assert_eq!(run.stdout, "", "{run}");
}

/// Python with the packages of the system.
const PYTHON: &str = "/usr/bin/python3";

/// Runs a program of the host to its end and returns what it printed.
fn host_tool(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).stdin(Stdio::null()).env("LC_ALL", "C").output();
    let output = output.unwrap_or_else(|error| panic!("cannot run {program}: {error}; cargo xtask setup"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {words:?}: {errors}\ncargo xtask setup installs what is missing"
    );
    String::from_utf8(output.stdout).unwrap()
}

/// What a line of shell prints that sees the texts in `directory` in place of the system's: procps knows no other
/// paths than those of the running system.
fn instead_of_proc(directory: &Path, texts: &str, line: &str) -> String {
    let script = format!("for f in {texts}; do mount --bind \"$0/$f\" /proc/$f || exit 1; done; {line}");
    let namespace = if host_tool("id", &["-u"]).trim() == "0" { "-m" } else { "-rm" };
    host_tool("unshare", &[namespace, "sh", "-c", &script, &directory.display().to_string()])
}

/// The number before `label` in a text of `vmstat -s`.
fn before(text: &str, label: &str) -> u64 {
    let line = text.lines().find_map(|line| line.trim().strip_suffix(label)).unwrap_or_else(|| {
        panic!("no {label:?} in\n{text}");
    });
    line.trim().trim_end_matches('K').trim().parse().unwrap()
}

#[test]
fn procps_agrees_with_the_console() {
    for_each_host(|host| {
        let directory = TempDir::new().unwrap();
        let run = shown(Guest::on(host).mem("200M"), directory.path());
        let info = |name| meminfo(run.output(2), name);
        let text = instead_of_proc(directory.path(), "meminfo vmstat stat", "free -k; echo; vmstat -s");
        let (free, vmstat) = text.split_once("\n\n").unwrap();
        let line = free.lines().find_map(|line| line.strip_prefix("Mem:")).unwrap();
        let columns: Vec<u64> = line.split_whitespace().map(|word| word.parse().unwrap()).collect();
        let used = info("MemTotal") - info("MemAvailable");
        let cache = info("Buffers") + info("Cached") + info("SReclaimable");
        let expected = [info("MemTotal"), used, info("MemFree"), info("Shmem"), cache, info("MemAvailable")];
        assert_eq!(columns, expected, "{text}");
        assert_eq!(before(vmstat, " total memory"), info("MemTotal"), "{text}");
        assert_eq!(before(vmstat, " free memory"), info("MemFree"), "{text}");
        assert_eq!(before(vmstat, " total swap"), info("SwapTotal"), "{text}");
        let counter = |name: &str| {
            let line = run.output(3).lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap().parse::<u64>().unwrap()
        };
        assert_eq!(before(vmstat, " pages swapped in"), counter("pswpin"), "{text}");
        let stat = fs::read_to_string(directory.path().join("stat")).unwrap();
        let of_stat = |name: &str| {
            let line = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
            line.split(' ').next().unwrap().parse::<u64>().unwrap()
        };
        assert_eq!(before(vmstat, " interrupts"), of_stat("intr"), "{text}");
        assert_eq!(before(vmstat, " CPU context switches"), of_stat("ctxt"), "{text}");
        assert_eq!(before(vmstat, " forks"), of_stat("processes"), "{text}");
    });
}

/// The numbers of the texts in `directory` as the guest's `vmstat` takes them.
fn sample(directory: &Path) -> Sample {
    let text = |name: &str| fs::read_to_string(directory.join(name)).unwrap();
    let (stat, info, counts) = (text("stat"), text("meminfo"), text("vmstat"));
    let words = |text: &str, name: &str| -> Vec<u64> {
        let line = text.lines().find(|line| line.split([' ', ':']).next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in\n{text}"));
        line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect()
    };
    let first = |text: &str, name: &str| words(text, name)[0];
    let (memory, count) = (|name| first(&info, name), |name| first(&counts, name));
    let [user, nice, system, idle, wait, irq, softirq, steal] = words(&stat, "cpu")[..8] else {
        panic!("{stat}")
    };
    Sample {
        tasks: [first(&stat, "procs_running"), first(&stat, "procs_blocked")],
        memory: [
            memory("SwapTotal") - memory("SwapFree"),
            memory("MemFree"),
            memory("Buffers"),
            memory("Cached") + memory("SReclaimable"),
        ],
        swapped: [count("pswpin") * 4, count("pswpout") * 4],
        moved: [count("pgpgin"), count("pgpgout")],
        events: [first(&stat, "intr"), first(&stat, "ctxt")],
        ticks: [user + nice, system + irq + softirq, idle, wait, steal],
    }
}

/// The columns of the lines of a table of `vmstat`.
fn rows(text: &str) -> Vec<Vec<u64>> {
    let table = text.strip_prefix(HEAD).unwrap_or_else(|| panic!("another head:\n{text}"));
    let row = |line: &str| line.split_whitespace().map(|word| word.parse().unwrap()).collect();
    table.lines().filter(|line| line.split_whitespace().count() == 17).map(row).collect()
}

#[test]
fn t90_vmstat_shows_swap_in_the_guest_and_on_the_host() {
    let folder = TempDir::new().unwrap();
    let directory = folder.path().join("proc");
    let guest = Guest::on(any_host()).cpus(2).mem("64M").option("--swap", "128M");
    let guest = guest.append("transparent_hugepage=never").procfs(&directory);
    let commands = [
        "vmstat 0.2 2 vm touch 96M",
        "vmstat 0.2 2 vm verify",
        "cat /proc/vmstat",
        "vmstat",
        "vmstat 0.01 3",
    ];
    let run = guest.run(&commands).start().assert_ok();
    let (out, back) = (rows(run.output(0).as_str()), rows(run.output(1).as_str()));
    // Columns: r b swpd free buff cache si so bi bo in cs us sy id wa st.
    let sum = |rows: &[Vec<u64>], column: usize| rows[1..].iter().map(|row| row[column]).sum::<u64>() / 5;
    let counted = |name: &str| tests::linux::vmstat(run.output(2), name);
    assert!(out.len() >= 2 && sum(&out, 7) > 0, "{run}");
    assert!(sum(&back, 6) > 0, "{run}");
    for (column, name) in [(6, "pswpin"), (7, "pswpout")] {
        let shown = sum(&out, column) + sum(&back, column);
        let lines = (out.len() + back.len()) as u64;
        assert!(shown <= counted(name) * 4 + lines, "{shown} of {name}: {run}");
        assert!(shown + lines >= counted(name) * 2, "{shown} of {name}: {run}");
    }
    // What goes to swap goes to the disk.
    assert!(sum(&out, 9) * 10 >= sum(&out, 7) * 9, "{run}");
    assert!(out.last().unwrap()[2] > 30 << 10, "{run}");
    assert_eq!((rows(run.output(3).as_str()).len(), rows(run.output(4).as_str()).len()), (1, 3), "{run}");
    // The host's tools, of the last numbers.
    let text = instead_of_proc(&directory, "meminfo vmstat stat", "vmstat; echo; vmstat -s");
    let (table, list) = text.split_once("\n\n").unwrap();
    let mut ours = HEAD.to_owned();
    sample(&directory).write_since_boot(&mut ours).unwrap();
    assert_eq!(format!("{table}\n"), ours, "procps and we make the same of the same numbers");
    let exported = fs::read_to_string(directory.join("vmstat")).unwrap();
    let last = |name: &str| tests::linux::vmstat(Text::new(&exported), name);
    assert!(last("pswpin") > 8192 && last("pswpout") > 8192, "{exported}");
    for (label, name) in [
        (" pages swapped in", "pswpin"),
        (" pages swapped out", "pswpout"),
        (" K paged in", "pgpgin"),
        (" K paged out", "pgpgout"),
    ] {
        assert_eq!(before(list, label), last(name), "{list}");
    }
    let script = "import psutil, sys; psutil.PROCFS_PATH = sys.argv[1]; s = psutil.swap_memory(); \
                  print(s.total, s.used, s.sin, s.sout)";
    let printed = host_tool(PYTHON, &["-c", script, directory.to_str().unwrap()]);
    let numbers: Vec<u64> = printed.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let info = fs::read_to_string(directory.join("meminfo")).unwrap();
    let swap = |name| meminfo(Text::new(&info), name) * 1024;
    let (total, free) = (swap("SwapTotal"), swap("SwapFree"));
    assert_eq!(numbers, [total, total - free, last("pswpin") * 4096, last("pswpout") * 4096], "{printed}");
}

/// Every cache is in slabtop's table with the numbers of the console, and its sums are those of all lines.
#[test]
fn slabtop_agrees_with_the_console() {
    for_each_host(|host| {
        let directory = TempDir::new().unwrap();
        let run = shown(Guest::on(host).mem("200M"), directory.path());
        let caches: Vec<Vec<&str>> = run
            .output(5)
            .lines()
            .skip(2)
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|words| words.len() == 16)
            .collect();
        assert!(caches.len() > 40, "{run}");
        let text = instead_of_proc(directory.path(), "slabinfo", "slabtop -o -s n");
        let [active, total] = [1, 2].map(|column: usize| {
            caches.iter().map(|words| words[column].parse::<u64>().unwrap()).sum::<u64>()
        });
        let sums = text.lines().find_map(|line| line.trim().strip_prefix("Active / Total Objects (% used)"));
        let sums: Vec<_> = sums.unwrap().split_whitespace().collect();
        assert_eq!((sums[1], sums[3]), (active.to_string().as_str(), total.to_string().as_str()), "{text}");
        for words in caches {
            let (name, active, objects) = (words[0], words[1], words[2]);
            let row = text.lines().find(|line| line.split_whitespace().last() == Some(name));
            let row: Vec<_> =
                row.unwrap_or_else(|| panic!("no {name} in\n{text}")).split_whitespace().collect();
            assert_eq!((row[0], row[1]), (objects, active), "{name}\n{text}");
        }
    });
}

#[test]
fn psutil_agrees_with_the_console() {
    const SCRIPT: &str = "
import psutil, sys
psutil.PROCFS_PATH = sys.argv[1]
memory, swap = psutil.virtual_memory(), psutil.swap_memory()
print(f'total={memory.total} free={memory.free} available={memory.available} cached={memory.cached}')
print(f'swap_in={swap.sin} swap_out={swap.sout}')
print(f'cpus={len(psutil.cpu_times(percpu=True))} switches={psutil.cpu_stats().ctx_switches}')
print(f'system={psutil.cpu_times().system:.2f}')
";
    for_each_host(|host| {
        let directory = TempDir::new().unwrap();
        let run = shown(Guest::on(host).cpus(3).mem("200M"), directory.path());
        let path = directory.path().display().to_string();
        let printed = host_tool(PYTHON, &["-c", SCRIPT, &path]);
        let facts = Text::new(&printed);
        for (fact, line) in [("total", "MemTotal"), ("free", "MemFree"), ("available", "MemAvailable")] {
            assert_eq!(facts.number(fact), meminfo(run.output(2), line) * 1024, "{line}\n{printed}");
        }
        assert_eq!(facts.number("cpus"), 3, "{printed}");
        let stat = fs::read_to_string(directory.path().join("stat")).unwrap();
        assert!(stat.contains(&format!("ctxt {}\n", facts.number("switches"))), "{stat}{printed}");
    });
}

#[test]
fn the_pytest_example_passes() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/pytest");
    let mut command = Command::new(PYTHON);
    command.args(["-m", "pytest", "-q", "-p", "no:cacheprovider", directory]);
    command.env("VMM_BIN", tests::vmm()).env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
    let output = command.output().unwrap_or_else(|error| panic!("{PYTHON}: {error}; cargo xtask setup"));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains(" passed") && !text.contains("skipped"), "{text}");
}
