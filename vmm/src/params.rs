//! Boot parameters on the host: the strict check before boot, and the list of `vmm params`.
//!
//! Owns: what strict means, and how the list looks. Stays outside: the schema and the texts of bad
//! values (`shared::params`), which the guest uses as well.

use std::fmt::Write;

use serde_json::{Value, json};
use shared::params::{self, ParamSpec, SCHEMA};

/// What to do about a mistake: the texts of the schema are those of a guest that goes on.
const REFUSED: &str = "refused before boot; correct it, or let the guest decide with --params lenient";

/// Checks the user's part of a command line for a machine with `ram` bytes. Each result is a line that
/// names one mistake; none means that the guest will take everything.
pub fn mistakes(cmdline: &str, ram: u64) -> Vec<String> {
    let mut lines = Vec::new();
    params::parse(cmdline, &mut |event| {
        if event.is_error() {
            lines.push(format!("{event} ({REFUSED})"));
        }
    });
    params::cross_check(cmdline, ram, &mut |conflict| lines.push(format!("{conflict} ({REFUSED})")));
    lines
}

/// The list as text, by group.
pub fn text() -> String {
    let mut text = String::new();
    let mut group = None;
    for spec in SCHEMA {
        if group != Some(spec.group) {
            let gap = if group.is_some() { "\n" } else { "" };
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(text, "{gap}{}", spec.group.title());
            group = Some(spec.group);
        }
        let _ = writeln!(text, "  {}  ({})", heading(spec), details(spec));
        let _ = writeln!(text, "      {}", spec.help);
        if !spec.notice.is_empty() {
            let _ = writeln!(text, "      note: {}", spec.notice);
        }
    }
    text
}

/// The list as a JSON array.
pub fn json() -> String {
    let list = Value::Array(SCHEMA.iter().map(object).collect());
    format!("{list:#}\n")
}

fn heading(spec: &ParamSpec) -> String {
    let sign = if matches!(spec.kind, params::Kind::Flag) { "" } else { "=" };
    let names: Vec<_> =
        [&spec.name].into_iter().chain(spec.aliases).map(|name| format!("{name}{sign}")).collect();
    names.join(", ")
}

fn details(spec: &ParamSpec) -> String {
    let unit = match spec.unit {
        // A size says it by its name.
        "" | "bytes" => String::new(),
        unit => format!(" in {unit}"),
    };
    let repeats = if spec.repeats { "; may be repeated" } else { "" };
    format!("{}{unit}: {}; default {}{repeats}", spec.kind.type_name(), spec.kind, spec.default.text())
}

fn object(spec: &ParamSpec) -> Value {
    json!({
        "name": spec.name,
        "aliases": spec.aliases,
        "type": spec.kind.type_name(),
        "accepts": spec.kind.to_string(),
        "default": spec.default.text(),
        "unit": spec.unit,
        "help": spec.help,
        "group": spec.group.title(),
        "linux": spec.linux,
        "repeats": spec.repeats,
        "notice": spec.notice,
    })
}

#[cfg(test)]
mod tests;
