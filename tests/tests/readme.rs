//! What README.md shows is what is printed.

use tests::{Guest, any_host};

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

/// Every line of the sample stands in the output of the command above it, in the same order.
#[test]
fn readme_sample_is_what_the_default_run_prints() {
    let readme = include_str!("../../README.md");
    let (_, rest) =
        readme.split_once("```text\n$ cargo run --release -- run\n").expect("README.md has the sample");
    let (sample, _) = rest.split_once("```").expect("the sample ends");
    let host = any_host();
    let run = Guest::on(host).start().assert_ok();
    let mut printed = run.all().lines().map(shape);
    for line in sample.lines().filter(|line| !line.is_empty() && *line != "...") {
        let wanted = shape(line);
        assert!(
            printed.any(|line| line == wanted),
            "README.md shows a line that {host:?} did not print: {line}"
        );
    }
}
