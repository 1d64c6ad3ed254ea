//! What README.md and docs/reclaim.md show is what is printed.

use tests::{Guest, Run, any_host};

/// Digits, and the blanks that pad them, replaced by `#`: numbers differ from run to run, the rest must not.
fn shape(line: &str) -> String {
    if line.starts_with("accelerator=") {
        return "accelerator=".to_owned(); // the sample is from one kind of host
    }
    let mut shape = String::new();
    for word in line.split_whitespace() {
        let mut in_number = false;
        for c in word.chars() {
            let digit = c.is_ascii_digit() || (in_number && c.is_ascii_hexdigit()) || (in_number && c == 'x');
            if !digit {
                shape.push(c);
            } else if !in_number {
                shape.push('#');
            }
            in_number = digit;
        }
        shape.push(' ');
    }
    shape
}

/// The words of a command line; what stands between double quotes is one.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('"').enumerate();
    let of_part = |(n, part): (usize, &str)| match n % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    };
    parts.flat_map(of_part).collect()
}

/// Every line of a sample stands in what `run` has printed, in the same order.
#[track_caller]
fn assert_printed(sample: &str, run: &Run) {
    let mut printed = run.all().lines().map(shape);
    for line in sample.lines().filter(|line| !line.is_empty() && *line != "...") {
        let wanted = shape(line);
        assert!(printed.any(|line| line == wanted), "nobody printed: {line}\n{run}");
    }
}

#[test]
fn samples_of_reclaim_are_what_is_printed() {
    let samples: Vec<_> =
        include_str!("../../docs/reclaim.md").split("```text\n$ vmm run ").skip(1).collect();
    assert_eq!(samples.len(), 6);
    for sample in samples {
        let (line, rest) = sample.split_once('\n').unwrap();
        let options = words(line);
        let with = |guest: Guest, pair: &[String]| guest.option(&pair[0], &pair[1]);
        let run = options.chunks(2).fold(Guest::on(any_host()), with).start().assert_ok();
        assert_printed(rest.split("```").next().unwrap(), &run);
    }
}

/// Every line of the sample stands in the output of the command above it, in the same order.
#[test]
fn readme_sample_is_what_the_default_run_prints() {
    let readme = include_str!("../../README.md");
    let (_, rest) =
        readme.split_once("```text\n$ cargo run --release -- run\n").expect("README.md has the sample");
    let (sample, _) = rest.split_once("```").expect("the sample ends");
    assert_printed(sample, &Guest::on(any_host()).start().assert_ok());
}
