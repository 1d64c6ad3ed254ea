//! What is made from the definition names everything in it, and programs of the host can read it.

use std::io::Write;
use std::process::{Command, Stdio};

use clap::ValueEnum;

use super::*;

fn page_of(path: &[&str]) -> String {
    page(&path.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).unwrap()
}

/// Every command with its path, as a list of words.
fn commands(command: &clap::Command, path: &[&str], found: &mut Vec<(Vec<String>, clap::Command)>) {
    found.push((path.iter().map(|word| (*word).to_owned()).collect(), command.clone()));
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        commands(sub, &[path, &[sub.get_name()]].concat(), found);
    }
}

#[test]
fn every_command_has_a_page_with_all_its_options() {
    let mut found = Vec::new();
    commands(&Cli::command(), &[], &mut found);
    assert!(found.len() >= 10, "{}", found.len());
    for (path, command) in found {
        let page = page(&path).unwrap();
        let title = [&["vmm".to_owned()], &*path].concat().join("-");
        assert!(page.contains(&format!(".TH {title} 1")), "{title}: {page}");
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            let long = argument.get_long().map(|long| long.replace('-', "\\-")).unwrap_or_default();
            assert!(page.contains(&format!("\\-\\-{long}")) || long.is_empty(), "{title}: --{long}");
        }
    }
    assert!(page_of(&["run"]).contains("Exit status:") && !page_of(&["run"]).contains("EXTRA"));
    let title = format!(".TH vmm-run 1  \"vmm {}\" Ballast", env!("CARGO_PKG_VERSION"));
    assert!(page_of(&["run"]).contains(&title), "{}", page_of(&["run"]));
    assert!(page_of(&["image", "mkdata"]).contains("vmm image mkdata \\-\\-out data.img"));
    let words = ["image", "mkfs"].map(String::from);
    let error = page(&words).unwrap_err().to_string();
    assert_eq!(error, "there is no command `vmm image mkfs`; `vmm --help` lists the commands");
}

#[test]
fn completions_know_every_command_and_bash_can_read_them() {
    for shell in Shell::value_variants() {
        let script = completions(*shell);
        for word in ["probe", "params", "mkswap", "mkdata", "inspect", "completions", "cpus", "bad-pages"] {
            assert!(script.contains(word), "{shell:?} {word}");
        }
    }
    let mut bash =
        Command::new("bash").arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(completions(Shell::Bash).as_bytes()).unwrap();
    let output = bash.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Asks bash what it would offer after `line`.
fn offered(line: &str) -> String {
    let script = format!(
        "{}\nread -ra COMP_WORDS <<< '{line}'\nCOMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
         _vmm vmm \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"\necho \"${{COMPREPLY[*]}}\"\n",
        completions(Shell::Bash)
    );
    let output = Command::new("bash").args(["--norc", "-c", &script]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn bash_completes_words() {
    assert_eq!(offered("vmm pro"), "probe");
    assert_eq!(offered("vmm image mk"), "mkswap mkdata");
    assert_eq!(offered("vmm run --acc"), "--accel");
    assert_eq!(offered("vmm run --accel k"), "kvm");
}

/// The words of the first command of a line, as a shell would split it.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for (at, part) in line.trim().split('\'').enumerate() {
        // Every second part is between quotes.
        let mut pieces = if at % 2 == 1 { vec![part] } else { part.split(' ').collect() }.into_iter();
        words.last_mut().unwrap().push_str(pieces.next().unwrap_or_default());
        words.extend(pieces.map(str::to_owned));
    }
    let end = words.iter().position(|word| word == "|" || word == ">").unwrap_or(words.len());
    words.truncate(end);
    words
}

#[test]
fn the_help_shows_examples_that_parse() {
    use clap::Parser;
    let mut found = Vec::new();
    commands(&Cli::command(), &[], &mut found);
    for (path, mut command) in found.into_iter().filter(|(path, _)| !path.is_empty()) {
        let help = command.render_long_help().to_string();
        assert!(help.contains("Examples:\n"), "{path:?}");
        for line in help.lines().filter(|line| line.starts_with("  vmm ")) {
            let words = words(line);
            Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        }
    }
}
