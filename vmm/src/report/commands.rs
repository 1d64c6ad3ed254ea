//! The commands of a run in a report: what each printed, and the facts in it.
//!
//! Owns: cutting the output at the places that the guest names, and reading facts. A fact is a word
//! `key=value`; a comma after a value belongs to the text. Invariants: places outside the output, or before
//! the end of the command before, are moved inside, whatever the guest says.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use shared::script;
use shared::stats::CommandGroup;

/// One command.
#[derive(Debug, Serialize, PartialEq)]
pub struct CommandReport {
    /// Its text; `None` when it was typed.
    command: Option<String>,
    /// Its status; `None` when it did not end.
    status: Option<u64>,
    /// How long it took; `None` when it did not end.
    us: Option<u64>,
    /// What was printed while it ran.
    output: String,
    /// The facts of each line that has some.
    facts: Vec<BTreeMap<String, Value>>,
}

/// The commands of a run, whose text is `script` unless they were typed, and how many more there were.
pub fn reports(
    records: Option<&CommandGroup>,
    script: Option<&str>,
    output: &[u8],
) -> (Vec<CommandReport>, u64) {
    let Some(group) = records else { return (Vec::new(), 0) };
    let recorded = usize::try_from(group.count).unwrap_or(usize::MAX).min(group.records.len());
    let mut texts = script.into_iter().flat_map(script::commands).map(str::to_owned);
    let mut end = 0;
    let mut reports = Vec::with_capacity(recorded);
    for record in group.records.iter().take(recorded) {
        let from = place(record.from, end, output);
        end = place(record.to, from, output);
        let (status, us) = (Some(record.status), Some(record.ns / 1000));
        reports.push(report(texts.next(), status, us, output.get(from..end)));
    }
    let left_out = group.count - recorded as u64;
    let failed = group.records.get(..recorded).unwrap_or_default().iter().any(|record| record.status != 0);
    if left_out == 0 && !failed {
        // What comes after the last one that ended is the one that did not.
        reports.extend(texts.next().map(|text| report(Some(text), None, None, output.get(end..))));
    }
    (reports, left_out)
}

/// A place that the guest names, inside `output` and not before `least`.
fn place(wanted: u64, least: usize, output: &[u8]) -> usize {
    usize::try_from(wanted).unwrap_or(output.len()).clamp(least, output.len())
}

fn report(
    command: Option<String>,
    status: Option<u64>,
    us: Option<u64>,
    output: Option<&[u8]>,
) -> CommandReport {
    let output = String::from_utf8_lossy(output.unwrap_or_default()).into_owned();
    let facts = output.lines().map(facts).filter(|facts| !facts.is_empty()).collect();
    CommandReport { command, status, us, output, facts }
}

/// The facts of a line; the first of several with the same key counts.
fn facts(line: &str) -> BTreeMap<String, Value> {
    let mut facts = BTreeMap::new();
    for (key, value) in line.split_whitespace().filter_map(|word| word.split_once('=')) {
        if !key.is_empty() {
            facts.entry(key.to_owned()).or_insert_with(|| fact(value.trim_end_matches(',')));
        }
    }
    facts
}

/// A decimal number as such, anything else as text.
fn fact(value: &str) -> Value {
    value.parse::<u64>().map_or_else(|_| value.into(), Value::from)
}

#[cfg(test)]
mod tests;
