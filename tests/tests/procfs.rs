//! The host's own tools read the guest's texts: what parses Linux parses us.

use std::path::Path;
use std::process::Command;

use tests::{Guest, Run, any_host};

/// The texts that the tools read, by their names below /proc.
const TEXTS: [&str; 5] = ["meminfo", "vmstat", "zoneinfo", "buddyinfo", "pagetypeinfo"];

/// A guest's texts as files in a folder of their own.
struct Proc {
    run: Run,
    folder: tempfile::TempDir,
}

impl Proc {
    fn of(guest: Guest) -> Self {
        let commands = TEXTS.map(|name| format!("cat /proc/{name}"));
        let run = guest.run(&commands.each_ref().map(String::as_str)).start().assert_ok();
        let folder = tempfile::tempdir().unwrap();
        for (n, name) in TEXTS.iter().enumerate() {
            std::fs::write(folder.path().join(name), run.output(n).as_str()).unwrap();
        }
        Self { run, folder }
    }

    /// A number of meminfo in bytes.
    fn bytes(&self, name: &str) -> u64 {
        tests::linux::meminfo(self.run.output(0), name) * 1024
    }

    /// What a shell command prints that sees the guest's text in place of the host's `/proc/NAME`.
    fn seen_by(&self, name: &str, command: &str) -> String {
        let script = format!("mount --bind \"$1\" /proc/{name} && exec {command}");
        let mut shell = Command::new("unshare");
        // A name space of users: without one only root may mount.
        shell.args(["--map-root-user", "--mount", "sh", "-c", &script, "sh"]);
        let file = self.folder.path().join(name);
        output(shell.arg(file))
    }
}

/// What a command prints; it must end well and complain about nothing.
#[track_caller]
fn output(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; try cargo xtask setup"));
    let (out, complaints) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(
        done.status.success() && complaints.is_empty(),
        "{command:?}: {}\n{out}{complaints}",
        done.status
    );
    out.into_owned()
}

/// Facts about memory as psutil gives them for the texts in `folder`.
fn psutil(folder: &Path) -> Vec<u64> {
    const SCRIPT: &str = "import sys, psutil\n\
        psutil.PROCFS_PATH = sys.argv[1]\n\
        m, s = psutil.virtual_memory(), psutil.swap_memory()\n\
        print(m.total, m.available, m.free, m.slab, s.total, s.sin)";
    // Debian's own interpreter: others do not see its packages.
    let text = output(Command::new("/usr/bin/python3").args(["-W", "error", "-c", SCRIPT]).arg(folder));
    text.split_whitespace().map(|word| word.parse().unwrap()).collect()
}

#[test]
fn free_shows_the_memory_of_the_guest() {
    let texts = Proc::of(Guest::on(any_host()).mem("256M"));
    let shown = texts.seen_by("meminfo", "free -b");
    let line = |name: &str| -> Vec<u64> {
        let line =
            shown.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{shown}"));
        line.split_whitespace().map(|word| word.parse().unwrap()).collect()
    };
    let [total, _, free, .., available] = line("Mem:")[..] else { panic!("{shown}") };
    assert_eq!(total, texts.bytes("MemTotal"), "{shown}");
    assert_eq!((free, available), (texts.bytes("MemFree"), texts.bytes("MemAvailable")), "{shown}");
    assert_eq!(line("Swap:")[0], texts.bytes("SwapTotal"), "{shown}");
    assert!((200 << 20..256 << 20).contains(&total), "not the host's memory: {shown}");
}

#[test]
fn psutil_parses_the_texts_of_the_guest() {
    let texts = Proc::of(
        Guest::on(any_host()).mem("256M").numa("node=0,cpus=0,mem=128M").numa("node=1,cpus=1,mem=128M"),
    );
    let [total, available, free, slab, swap, swapped_in] = psutil(texts.folder.path())[..] else {
        panic!("six numbers")
    };
    assert_eq!(total, texts.bytes("MemTotal"));
    assert_eq!((available, free), (texts.bytes("MemAvailable"), texts.bytes("MemFree")));
    assert_eq!((slab, swap), (texts.bytes("Slab"), texts.bytes("SwapTotal")));
    assert_eq!(swapped_in, 0, "from vmstat");
}
