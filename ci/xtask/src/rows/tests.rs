//! Tests of the list's format and rules.

use std::collections::BTreeSet;

use super::{all_rows, check, parse, row_of};

/// A list with every row owed, and `lines` before it.
fn list(lines: &str) -> String {
    let mut text = format!("| clause | what is checked | status | tests |\n|---|---|---|---|\n{lines}");
    for row in all_rows() {
        text.push_str(&format!("| {row} | x | owed | |\n"));
    }
    text
}

fn wrong(lines: &str) -> Vec<String> {
    let known: BTreeSet<_> = ["merges", "splits"].map(str::to_owned).into();
    check(&parse(&list(lines)).unwrap(), &known)
}

#[test]
fn done_clauses_need_tests_that_exist() {
    assert_eq!(wrong("| T27a | x | done | `buddy::merges`, splits |\n"), Vec::<String>::new());
    assert_eq!(wrong("| T27a | x | done | |\n"), ["3: T27a is done, but no test is named"]);
    let absent = wrong("| T27a | x | done | `merges` `lost` |\n");
    assert_eq!(absent, ["3: T27a names the test lost, which is not in the tree"]);
}

#[test]
fn clauses_are_unique_and_belong_to_a_row() {
    let found = wrong("| T27a | x | owed | |\n| T27a | x | owed | |\n| T93 | x | owed | |\n");
    assert_eq!(found, ["4: T27a stands on line 3 already", "5: T93 is no row of the feature map"]);
}

#[test]
fn every_row_must_appear() {
    let text = list("").replace("| T48 | x | owed | |\n", "").replace("| B7 | x | owed | |\n", "");
    let found = check(&parse(&text).unwrap(), &BTreeSet::new());
    assert_eq!(found, ["1: row T48 is missing", "1: row B7 is missing"]);
}

#[test]
fn bad_lines_are_errors() {
    assert!(parse("| T01 | x | soon | |").unwrap_err().to_string().contains("done or owed, not 'soon'"));
    assert!(parse("| T01 | x | done |").unwrap_err().to_string().contains("4 cells"));
}

#[test]
fn ids_have_the_form_of_the_feature_map() {
    assert_eq!(row_of("T01ab").as_deref(), Some("T01"));
    assert_eq!(row_of("B30").as_deref(), Some("B30"));
    assert_eq!(row_of("T1"), None);
    assert_eq!(row_of("B31"), None);
}
