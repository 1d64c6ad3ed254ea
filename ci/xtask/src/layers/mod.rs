//! `layers`: the rules about structure that no compiler checks.
//!
//! Owns: running them and printing what breaks them. Stays outside: the rules (one file each), and what they
//! allow (`ci/layers.toml`, `ci/budgets.toml`). Rules:
//! * `crates`: which package may depend on which;
//! * `ranks`: inside `mm`, modules refer only to modules of a lower rank;
//! * `sizes`: files and functions stay short;
//! * `markers`: nothing unfinished or switched off lands;
//! * `unsafety`: unsafe code stays in named files within a budget.

mod config;
mod crates;
mod markers;
mod ranks;
mod sizes;
mod unsafety;

use std::fmt;

use anyhow::Result;

use crate::repo::{Repo, is_test_path};
use crate::rust::{self, Facts};

/// One place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    path: String,
    line: usize,
    what: String,
}

impl Violation {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// A Rust file as the rules see it.
struct Source {
    /// From the top of the repository.
    path: String,
    text: String,
    facts: Facts,
    /// It holds only tests.
    is_test: bool,
}

/// Checks all rules; false if any is broken.
pub fn run(repo: &Repo) -> Result<bool> {
    let config = config::load(repo)?;
    let mut found = Vec::new();
    let sources = read_sources(repo, &mut found)?;
    crates::check(repo, &config.layers.crates, &mut found)?;
    ranks::check(&config.layers.ranks, &sources, &mut found);
    sizes::check(&sources, &mut found);
    markers::check(repo, &sources, &mut found)?;
    unsafety::check(&config.budgets, &sources, &mut found);
    found.sort();
    // One line that names two things of the same module breaks the rule once.
    found.dedup();
    for violation in &found {
        println!("{violation}");
    }
    println!("layers: {} files, {} violations", sources.len(), found.len());
    Ok(found.is_empty())
}

fn read_sources(repo: &Repo, found: &mut Vec<Violation>) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in repo.files(&[".rs"])? {
        let text = repo.read(&path)?;
        match rust::read(&text, &module_of(&path)) {
            Ok(facts) => {
                let is_test = is_test_path(&path);
                sources.push(Source { path, text, facts, is_test });
            }
            Err((line, what)) => found.push(Violation::new(&path, line, format!("is no Rust: {what}"))),
        }
    }
    Ok(sources)
}

/// The module a file holds, as names from its crate's root.
fn module_of(path: &str) -> Vec<&str> {
    let inside = path.rsplit_once("src/").map_or(path, |(_, inside)| inside);
    let mut module: Vec<_> = inside.split('/').collect();
    if let Some(file) = module.pop()
        && let Some(name) = file.strip_suffix(".rs")
        && !matches!(name, "lib" | "main" | "mod")
    {
        module.push(name);
    }
    module
}

#[cfg(test)]
mod tests;
