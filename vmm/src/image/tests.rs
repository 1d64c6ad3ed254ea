//! What the options of `vmm image` mean, and its facts, statuses and mistakes.

use clap::Parser;
use images::{Content, FileSpec, PartitionContent, PartitionSpec};

use super::*;
use crate::cli::{Cli, Command};

fn command(words: &[&str]) -> ImageCommand {
    match Cli::try_parse_from([&["vmm", "image"], words].concat()).unwrap().command {
        Command::Image(command) => command,
        other => panic!("{other:?}"),
    }
}

fn data(words: &[&str]) -> Result<images::DataSpec, SpecError> {
    match command(&[&["mkdata", "--out", "x"], words].concat()) {
        ImageCommand::Mkdata(args) => spec::data(&args),
        other => panic!("{other:?}"),
    }
}

/// What is printed, or the status and the line of the error.
fn outcome(words: &[&str]) -> Result<String, (u32, String)> {
    let mut out = Vec::new();
    let result = run(&command(words), &mut out);
    let text = String::from_utf8(out).unwrap();
    result.map(|()| text).map_err(|error| (error.status().code(), error.to_string()))
}

fn file(name: &str, content: Content, room: u64, sparse: bool) -> FileSpec {
    FileSpec { name: name.into(), content, room, sparse }
}

#[test]
fn specifications_say_what_a_volume_holds() {
    let host = |path: &str| Content::Host(path.into());
    let spec = data(&[
        "--file",
        "db=./x",
        "--file",
        "a/b=1M,room=0x800000",
        "--file",
        "c=a,b=c,sparse,room=1K,sparse",
    ]);
    let expected = [
        file("db", host("./x"), 0, false),
        file("a/b", Content::Zeros(1 << 20), 8 << 20, false),
        file("c", host("a,b=c"), 1024, true),
    ];
    assert_eq!(spec.unwrap().files, expected);
    let spec = data(&["--size", "8M", "--swap", "s=1M", "--raw", "log=./8M", "--raw", "b=8M"]).unwrap();
    let raw =
        |name: &str, content| PartitionSpec { name: name.into(), content: PartitionContent::Raw(content) };
    let swap = PartitionSpec { name: "s".into(), content: PartitionContent::Swap(1 << 20) };
    assert_eq!(spec.partitions, [raw("log", host("./8M")), raw("b", Content::Zeros(8 << 20)), swap]);
    assert_eq!((spec.size, spec.uuid), (Some(8 << 20), None));
}

#[test]
fn specifications_that_cannot_be_read_are_one_line() {
    let cases = [
        (["--file", "x"], "--file \"x\" has no NAME=; write NAME=HOSTFILE or NAME=SIZE"),
        (["--file", "=x"], "--file \"=x\" has no NAME="),
        (["--file", "x="], "--file \"x=\" has no NAME="),
        (["--file", "x=1M,room=much"], "--file \"much\" is not a size"),
        (["--raw", "8M"], "--raw \"8M\" has no NAME="),
        (["--swap", "s=./x"], "--swap \"./x\" is not a size"),
        (["--size", "all"], "--size \"all\" is not a size; write a number with K, M or G, like 64M"),
        (["--uuid", "1234"], "--uuid \"1234\" is not a UUID"),
    ];
    for (words, text) in cases {
        let error = data(&words).unwrap_err().to_string();
        assert!(error.starts_with(text) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn images_are_built_inspected_and_taken_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("db"), "content").unwrap();
    let (image, swap, db) = (path("data.img"), path("swap.img"), format!("db={}", path("db")));
    let made =
        outcome(&["mkdata", "--out", &image, "--size", "8M", "--file", &db, "--raw", "log=1M"]).unwrap();
    assert!(
        made.starts_with(&format!(
            "image={image} bytes=8388608 partitions=2 files=1 free_bytes=5107712 uuid="
        ))
    );
    let text = outcome(&["inspect", &image]).unwrap();
    assert!(
        text.contains("\nfile=db partition=1 bytes=7 valid=7 room=4096 holes=0 extents=0->32+1\n"),
        "{text}"
    );
    assert!(text.ends_with("warnings=0 errors=0\n"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&outcome(&["inspect", "--json", &image]).unwrap()).unwrap();
    assert_eq!((&json["schema"], &json["kind"]), (&1.into(), &"gpt".into()));
    assert_eq!((&json["files"][0]["name"], &json["partitions"][1]["name"]), (&"db".into(), &"log".into()));
    assert_eq!(outcome(&["inspect", &image, "--extract", "db"]).unwrap(), "content");

    let uuid = "8d4f4b0e-5a53-4a8e-9f0e-2f6f2f4c1a7b";
    let words =
        ["mkswap", "--out", &swap, "--size", "1M", "--label", "l", "--bad-pages", "3,5", "--uuid", uuid];
    assert_eq!(outcome(&words).unwrap(), format!("image={swap} bytes=1048576 pages=256 uuid={uuid}\n"));
    let text = outcome(&["inspect", &swap]).unwrap();
    assert!(text.contains(&format!("swap={uuid} pages=256 bad_pages=2 label=l\n")), "{text}");
    assert_eq!(
        outcome(&words).unwrap_err(),
        (2, format!("{swap} exists; choose another name, or replace it with --force"))
    );
    outcome(&[&words[..], &["--force"]].concat()).unwrap();
}

#[test]
fn a_damaged_image_has_status_1_and_an_unreadable_one_2() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image").display().to_string();
    let line = outcome(&["inspect", &image]).unwrap_err();
    assert_eq!(line.0, 2);
    assert!(line.1.starts_with(&format!("cannot read {image}: No such file")), "{line:?}");
    outcome(&["mkdata", "--out", &image]).unwrap();
    std::fs::File::options().write(true).open(&image).unwrap().set_len(1 << 20).unwrap();
    let line = outcome(&["inspect", &image]).unwrap_err();
    assert_eq!(line.0, 1);
    assert!(line.1.starts_with(&format!("{image} is damaged, see the errors above; ")), "{line:?}");
    let (status, line) = outcome(&["inspect", &image, "--extract", "db"]).unwrap_err();
    assert_eq!(
        (status, line),
        (2, format!("{image} has no sound partition table; `vmm image inspect` says what is wrong"))
    );
    let user = std::fs::File::open(&image).unwrap();
    user.lock().unwrap();
    for words in [&["inspect", &image][..], &["mkdata", "--force", "--out", &image]] {
        let (status, line) = outcome(words).unwrap_err();
        assert_eq!(
            (status, line),
            (2, format!("{image} is in use by another process; stop that process first"))
        );
    }
}

#[test]
fn output_that_is_not_taken_is_an_error_unless_the_reader_left() {
    struct Failing(io::ErrorKind);
    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image").display().to_string();
    outcome(&["mkdata", "--out", &image, "--file", "f=1M"]).unwrap();
    for words in [&["inspect", &image][..], &["inspect", &image, "--extract", "f"]] {
        let error = run(&command(words), &mut Failing(io::ErrorKind::StorageFull)).unwrap_err();
        assert_eq!(error.status(), ExitStatus::Usage);
        assert!(error.to_string().starts_with("cannot write what was asked for: "), "{error}");
        run(&command(words), &mut Failing(io::ErrorKind::BrokenPipe)).unwrap();
    }
}

#[test]
fn examples_of_the_help_are_true_commands() {
    use crate::cli::image::{EXAMPLES, INSPECT_EXAMPLES, MKDATA_EXAMPLES, MKSWAP_EXAMPLES};
    for text in [EXAMPLES, INSPECT_EXAMPLES, MKDATA_EXAMPLES, MKSWAP_EXAMPLES] {
        for line in text.lines().filter_map(|line| line.strip_prefix("  vmm ")) {
            let words = line.split(" > ").next().unwrap_or(line).split_whitespace();
            Cli::try_parse_from(["vmm"].into_iter().chain(words))
                .unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }
}
