//! `rows`: the list of what is promised, in `docs/rows.md`, against the tests in the tree.
//!
//! Owns: the format of the list. Stays outside: whether a test tests what its row says.
//! Invariants: every row of the feature map has a clause; a clause is done only with tests, and each of
//! them exists.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};

use crate::repo::Repo;
use crate::rust;

const LIST: &str = "docs/rows.md";
/// Rows of the feature map: a letter and the last number.
const ROWS: [(char, u32, usize); 2] = [('T', 92, 2), ('B', 30, 1)];

/// One line of the list.
#[derive(Debug, PartialEq, Eq)]
struct Clause {
    line: usize,
    id: String,
    done: bool,
    tests: Vec<String>,
}

/// Checks the list; false if something in it is wrong.
pub fn run(repo: &Repo) -> Result<bool> {
    let clauses = parse(&repo.read(LIST)?)?;
    let wrong = check(&clauses, &tests(repo)?);
    for line in &wrong {
        println!("{LIST}:{line}");
    }
    let done = clauses.iter().filter(|clause| clause.done).count();
    println!("rows: {} clauses, {done} done, {} owed", clauses.len(), clauses.len() - done);
    Ok(wrong.is_empty())
}

/// Names of all tests in the tree.
fn tests(repo: &Repo) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for path in repo.files(&[".rs"])? {
        // A file that is no Rust is reported by `layers`.
        if let Ok(facts) = rust::read(&repo.read(&path)?, &[]) {
            names.extend(facts.tests);
        }
    }
    Ok(names)
}

/// Reads every table line whose first cell is an id.
fn parse(text: &str) -> Result<Vec<Clause>> {
    let mut clauses = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| line.starts_with('|')) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [id, _, status, tests] = cells.as_slice() else {
            bail!("{LIST}:{}: a row has 4 cells: clause, what is checked, status, tests", at + 1);
        };
        if *id == "clause" || id.starts_with("---") {
            continue;
        }
        let done = match *status {
            "done" => true,
            "owed" => false,
            other => bail!("{LIST}:{}: the status is done or owed, not '{other}'", at + 1),
        };
        let tests = tests.split([',', ' ', '`']).filter(|name| !name.is_empty()).map(str::to_owned);
        clauses.push(Clause { line: at + 1, id: (*id).to_owned(), done, tests: tests.collect() });
    }
    Ok(clauses)
}

/// What is wrong, each as `line: what`.
fn check(clauses: &[Clause], known: &BTreeSet<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut seen = BTreeMap::new();
    let mut rows = BTreeSet::new();
    for clause in clauses {
        let Clause { line, id, .. } = clause;
        match row_of(id) {
            Some(row) => drop(rows.insert(row)),
            None => wrong.push(format!("{line}: {id} is no row of the feature map")),
        }
        if let Some(first) = seen.insert(id, line) {
            wrong.push(format!("{line}: {id} stands on line {first} already"));
        }
        if clause.done && clause.tests.is_empty() {
            wrong.push(format!("{line}: {id} is done, but no test is named"));
        }
        for test in clause.tests.iter().filter(|test| !exists(test, known)) {
            wrong.push(format!("{line}: {id} names the test {test}, which is not in the tree"));
        }
    }
    for row in all_rows().filter(|row| !rows.contains(row)) {
        wrong.push(format!("1: row {row} is missing"));
    }
    wrong
}

/// A test is named by its function or by a path that ends in it.
fn exists(test: &str, known: &BTreeSet<String>) -> bool {
    let name = test.rsplit("::").next().unwrap_or(test);
    known.contains(name)
}

/// The row a clause belongs to: its id without the letter of the clause.
fn row_of(id: &str) -> Option<String> {
    let row = id.trim_end_matches(|c: char| c.is_ascii_lowercase());
    all_rows().find(|known| known == row)
}

fn all_rows() -> impl Iterator<Item = String> {
    ROWS.into_iter().flat_map(|(letter, last, width)| (1..=last).map(move |n| format!("{letter}{n:0width$}")))
}

#[cfg(test)]
mod tests;
