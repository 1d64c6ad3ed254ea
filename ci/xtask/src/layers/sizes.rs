//! Files and functions stay short enough to be read at one go. Tests may be longer.

use super::{Source, Violation};

/// Most lines of a file.
const FILE_LINES: usize = 500;
/// Most lines of a function, from `fn` to its closing brace.
const FUNCTION_LINES: usize = 80;

/// Checks every file that is not a test.
pub fn check(sources: &[Source], found: &mut Vec<Violation>) {
    for source in sources.iter().filter(|source| !source.is_test) {
        let lines = source.text.lines().count();
        if lines > FILE_LINES {
            let what = format!("file of {lines} lines, at most {FILE_LINES}; split it by responsibility");
            found.push(Violation::new(&source.path, lines, what));
        }
        for function in source.facts.functions.iter().filter(|function| function.length > FUNCTION_LINES) {
            let (name, length) = (&function.name, function.length);
            let what = format!("function {name} of {length} lines, at most {FUNCTION_LINES}");
            found.push(Violation::new(&source.path, function.line, what));
        }
    }
}
