//! Output is cut where the guest says, inside bounds, and facts are read from it.

use serde_json::json;
use shared::stats::CommandRecord;
use zerocopy::FromZeros;

use super::*;

fn group(records: &[CommandRecord]) -> CommandGroup {
    let mut group = CommandGroup::new_zeroed();
    group.count = records.len() as u64;
    group.records[..records.len()].copy_from_slice(records);
    group
}

fn record(from: u64, to: u64, status: u64) -> CommandRecord {
    CommandRecord { from, to, status, ns: 5999 }
}

#[test]
fn commands_have_their_text_output_and_facts() {
    let output = b"banner\na=1 b=0x2, c=\nplain\nlater";
    let group = group(&[record(7, 27, 0)]);
    let (reports, left_out) = reports(Some(&group), Some("first; second"), output);
    assert_eq!(left_out, 0);
    assert_eq!(
        json!(reports),
        json!([
            { "command": "first", "status": 0, "us": 5, "output": "a=1 b=0x2, c=\nplain\n",
              "facts": [{ "a": 1, "b": "0x2", "c": "" }] },
            { "command": "second", "status": null, "us": null, "output": "later", "facts": [] },
        ])
    );
}

#[test]
fn after_a_failure_nothing_is_open() {
    let group = group(&[record(0, 1, 2)]);
    assert_eq!(reports(Some(&group), Some("first; second"), b"xyz").0.len(), 1);
}

#[test]
fn typed_commands_have_no_text() {
    let (reports, _) = reports(Some(&group(&[record(0, 1, 0)])), None, b"x");
    assert_eq!((reports.len(), &reports[0].command), (1, &None));
    assert_eq!(super::reports(None, Some("a"), b"x").0, []);
}

#[test]
fn places_of_a_hostile_guest_stay_inside() {
    let mut group = group(&[record(u64::MAX, 0, 0), record(3, 1, 9), record(0, u64::MAX, u64::MAX)]);
    group.count = u64::MAX;
    let (reports, left_out) = reports(Some(&group), Some("a"), b"12345");
    assert_eq!(reports.len(), group.records.len());
    assert_eq!(left_out, u64::MAX - group.records.len() as u64);
    assert_eq!((reports[0].output.as_str(), reports[2].output.as_str()), ("", ""));
}

#[test]
fn the_first_of_equal_keys_counts() {
    assert_eq!(
        json!(facts("a=1 =2 a=3 b c=-4 d=18446744073709551615")),
        json!({"a":1,"c":"-4","d":u64::MAX})
    );
}
