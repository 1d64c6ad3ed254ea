//! The words of the command line, and mistakes in them.

use clap::CommandFactory;

use super::*;

fn line(words: &[&str]) -> String {
    let error = Cli::try_parse_from([&["vmm"], words].concat()).unwrap_err();
    CliError { error }.line()
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn a_mistake_is_one_line_that_says_what_to_do() {
    let cases: [(&[&str], &str); 4] = [
        (&["run", "--nosuch"], "unexpected argument '--nosuch' found; see `vmm --help`"),
        (
            &["run", "--accel", "xen"],
            "invalid value 'xen' for '--accel <ACCEL>'; [possible values: auto, kvm, tcg]; see `vmm --help`",
        ),
        (&["run", "--cpus"], "a value is required for '--cpus <N>' but none was supplied; see `vmm --help`"),
        (
            &["rum"],
            "unrecognized subcommand 'rum'; tip: a similar subcommand exists: 'run'; see `vmm --help`",
        ),
    ];
    for (words, expected) in cases {
        assert_eq!(line(words), expected);
    }
    assert!(!line(&["run", "--cpus", "many"]).contains('\n'));
}

#[test]
fn run_alone_says_what_the_whole_says() {
    let cases: [&[&str]; 7] = [
        &[],
        &["--cpus", "1", "--cpus=2", "--mem", "256M", "--stats"],
        &["--numa", "node=0,mem=64M", "--numa", "node=1,mem=64M", "--disk", "ro", "--disk=a,ro"],
        &["--append", "-x y", "--append", "", "--run", "", "--accel", "tcg", "--ring", "3", "--timeout=0.5"],
        &["--hugepages", "off", "--prefault", "--no-seccomp", "--params", "lenient", "--swap", "none"],
        &[
            "--kernel",
            "k",
            "--initrd",
            "i",
            "--report",
            "r",
            "--procfs",
            "p",
            "--pressure",
            "some 1 500000",
            "--dump-e820",
            "--tcg-cpu",
            "x",
        ],
        &["--run", "a", "--run", "b"],
    ];
    for options in cases {
        let words = [&["vmm", "run"], options].concat();
        let alone = run_alone(&words.iter().map(OsString::from).collect::<Vec<_>>()).unwrap();
        let whole = Cli::try_parse_from(&words).unwrap();
        assert_eq!(format!("{:?}", Command::Run(alone)), format!("{:?}", whole.command));
    }
    let others: [&[&str]; 7] = [
        &[],
        &["vmm"],
        &["vmm", "probe"],
        &["vmm", "run", "--help"],
        &["vmm", "run", "-h"],
        &["vmm", "run", "x"],
        &["vmm", "run", "--nosuch"],
    ];
    for words in others {
        assert!(run_alone(&words.iter().map(OsString::from).collect::<Vec<_>>()).is_none(), "{words:?}");
    }
}

#[test]
fn help_and_version_are_no_mistakes() {
    for words in [["vmm", "--help"], ["vmm", "--version"]] {
        let error = CliError { error: Cli::try_parse_from(words).unwrap_err() };
        assert!(error.is_help());
        assert!(!error.help(false).contains('\u{1b}'));
        assert!(!error.help(true).is_empty());
    }
    // Without any word the help is shown, but the status is that of a mistake.
    let bare = CliError { error: Cli::try_parse_from(["vmm"]).unwrap_err() };
    assert!(!bare.is_help());
}

#[test]
fn the_help_of_run_names_every_exit_status() {
    for status in 0..=8 {
        assert!(RUN_EXAMPLES.contains(&format!("{status} ")), "{status}");
    }
    assert!(RUN_EXAMPLES.contains("130 "));
}
