//! `vmm image` as a user meets it: its sample in README.md, the guest that reads what it built, and what goes wrong.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;
use tests::{Guest, any_host, vmm};

/// Runs a command line of the sample in `folder`.
fn run(folder: &Path, line: &str) -> Output {
    let mut words = line.split_whitespace();
    let program = words.next().unwrap();
    let mut command = if program == "vmm" { Command::new(vmm()) } else { Command::new(program) };
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    command
        .args(words)
        .current_dir(folder)
        .env("PATH", path)
        .output()
        .unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// A text without what is random in it.
fn shape(text: &str) -> String {
    let is_uuid = |word: &str| word.len() == 36 && word.matches('-').count() == 4;
    let words = text.split_inclusive([' ', '=', '\n']);
    let blank = |word: &str| if is_uuid(word.trim_end()) { "UUID ".to_owned() } else { word.to_owned() };
    words.map(blank).collect()
}

#[test]
fn the_sample_in_the_readme_is_what_vmm_image_prints() {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once("```text\n$ vmm image mkdata").expect("README.md has the sample");
    let (sample, _) = rest.split_once("```").expect("the sample ends");
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("hello.txt"), "hello\n").unwrap();
    for step in format!(" mkdata{sample}").replacen(" mkdata", "vmm image mkdata", 1).split("\n$ ") {
        let (line, expected) = step.split_once('\n').expect("a command and its output");
        let output = run(folder.path(), line);
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(shape(printed.trim_end()), shape(expected.trim_end()), "{line}");
    }
}

#[test]
fn a_guest_reads_a_volume_as_it_was_built() {
    let folder = TempDir::new().unwrap();
    let mut log = fs::File::create(folder.path().join("log.bin")).unwrap();
    let crc = images::write_pattern(&mut log, 1 << 20, 7).unwrap();
    let made = run(folder.path(), "vmm image mkdata --out data.img --size 8M --raw log=./log.bin");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let image = folder.path().join("data.img");
    let start = images::inspect(&image).unwrap().partitions[1].first_lba;
    let command = format!("disk crc vda sector={start} sectors=2048");
    let run = Guest::on(any_host()).disk(&image, ",ro").run(&[&command]).start().assert_ok();
    assert_eq!(run.output(0).fact("crc32"), format!("0x{crc:08x}"), "{run}");
}

/// A write that fails in the middle: a limit on the size of files stands for a full file system.
#[test]
fn a_build_that_cannot_be_written_leaves_nothing_and_says_why() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("big"), vec![1; 4 << 20]).unwrap();
    fs::write(folder.path().join("old.img"), "old").unwrap();
    for image in ["--out new.img", "--force --out old.img"] {
        let limited = format!(
            "trap '' XFSZ; ulimit -f 1024; exec {} image mkdata {image} --raw a=./big",
            vmm().display()
        );
        let output = Command::new("sh").args(["-c", &limited]).current_dir(folder.path()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), error.lines().count()), (Some(2), 1), "{error}");
        assert!(error.contains("cannot write ") && error.contains("check the directory"), "{error}");
        let mut left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["big", "old.img"]);
        assert_eq!(fs::read(folder.path().join("old.img")).unwrap(), b"old");
    }
}

#[test]
fn a_reader_that_leaves_is_no_failure_and_a_full_device_is_one() {
    let folder = TempDir::new().unwrap();
    assert!(run(folder.path(), "vmm image mkdata --out i --file f=8M").status.success());
    let shell = |line: &str| {
        let line = line.replace("VMM", &vmm().display().to_string());
        Command::new("bash").args(["-c", &line]).current_dir(folder.path()).output().unwrap()
    };
    let left = shell("set -o pipefail; VMM image inspect i --extract f | head -c 1 > /dev/null");
    assert_eq!((left.status.code(), &*left.stderr), (Some(0), &b""[..]));
    for words in ["inspect i", "inspect --json i", "inspect i --extract f"] {
        let full = shell(&format!("VMM image {words} > /dev/full"));
        let error = String::from_utf8(full.stderr).unwrap();
        assert_eq!((full.status.code(), error.lines().count()), (Some(2), 1), "{error}");
        assert!(error.contains("No space left on device"), "{error}");
    }
}
