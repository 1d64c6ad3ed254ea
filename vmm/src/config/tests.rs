//! From words to a machine, as `vmm run` sees them.

use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};

fn config(words: &[&str]) -> Result<MachineConfig, String> {
    let cli = Cli::try_parse_from(["vmm", "run"].iter().chain(words)).unwrap();
    let Command::Run(args) = cli.command else { panic!("not run") };
    MachineConfig::new(&args).map_err(|error| error.to_string())
}

#[test]
fn the_default_machine() {
    let machine = config(&[]).unwrap();
    assert_eq!(machine.topology.nodes(), [256 << 20, 256 << 20]);
    assert_eq!(machine.topology.cpu_count(), 2);
    let disks: Vec<_> = machine.disks.iter().map(|disk| (disk.id.as_str(), &disk.source)).collect();
    assert_eq!(
        disks,
        [("data", &DiskSource::Temporary(64 << 20)), ("swap", &DiskSource::TemporarySwap(256 << 20))]
    );
    assert_eq!(machine.cmdline, "run=\"tour\"");
    assert_eq!((machine.pages, machine.prefault, machine.timeout), (HostPages::Auto, false, None));
    assert_eq!(machine.kernel, None);
}

#[test]
fn options_reach_the_machine() {
    let machine = config(&[
        "--cpus",
        "3",
        "--mem",
        "1G",
        "--swap",
        "none",
        "--ring",
        "3",
        "--append",
        "seed=1",
        "--run",
        "true",
        "--hugepages",
        "off",
        "--prefault",
        "--timeout",
        "1.5",
        "--kernel",
        "k",
    ])
    .unwrap();
    assert_eq!((machine.topology.cpu_count(), machine.topology.memory()), (3, 1 << 30));
    assert_eq!(machine.cmdline, "ring=3 seed=1 run=\"true\"");
    assert_eq!((machine.pages, machine.prefault), (HostPages::Small, true));
    assert_eq!(machine.timeout, Some(Duration::from_millis(1500)));
    assert_eq!((machine.kernel, machine.disks.len()), (Some(PathBuf::from("k")), 1));
}

#[test]
fn the_last_of_an_option_wins_and_lists_grow() {
    let machine =
        config(&["--mem", "1G", "--mem", "32M", "--disk", "a", "--disk", "b", "--swap", "none"]).unwrap();
    assert_eq!((machine.topology.memory(), machine.disks.len()), (32 << 20, 2));
}

#[test]
fn every_append_is_taken_even_one_that_starts_with_a_dash() {
    assert_eq!(config(&["--append", "-x", "--run", ""]).unwrap().cmdline, "-x");
    let both = config(&["--append", "a=1", "--append", "-x b", "--run", ""]).unwrap();
    assert_eq!((both.cmdline.as_str(), both.append.as_str()), ("a=1 -x b", "a=1 -x b"));
}

#[test]
fn another_kernel_gets_the_boot_parameters_as_given_and_nothing_else() {
    let mut machine = config(&["--append", " console=ttyS0 quiet", "--ring", "3", "--report", "r"]).unwrap();
    machine.for_other_kernel();
    assert_eq!((machine.cmdline.as_str(), machine.sent_script()), ("console=ttyS0 quiet", None));
    assert_eq!(machine.script, None);
}

#[test]
fn every_mistake_is_one_line() {
    let many: Vec<&str> = ["--disk", "x"].repeat(18);
    let cases: [(&[&str], &str); 8] = [
        (&["--mem", "1M"], "memory size 1 MiB is below the minimum 16 MiB"),
        (&["--mem", "lots"], "--mem \"lots\" is not a size; write a number with K, M or G, like 512M"),
        (
            &["--numa", "node=0"],
            "--numa: node 0 does not say how much memory it has; add mem=SIZE (mem=0 for none)",
        ),
        (&["--cpus", "0"], "0 vCPUs: a machine has 1 to 64"),
        (&["--timeout", "0"], "--timeout 0 is not a time limit; give seconds above 0 and up to 2000000"),
        (&["--timeout", "nan"], "--timeout NaN is not a time limit; give seconds above 0 and up to 2000000"),
        (
            &["--run", "say \u{7}"],
            "--run must not contain control characters; separate commands with `;` or line breaks",
        ),
        (&many, "19 disks: a machine has at most 18"),
    ];
    for (words, expected) in cases {
        let line = config(words).unwrap_err();
        assert_eq!(line, expected);
        assert!(!line.contains('\n'));
    }
}
