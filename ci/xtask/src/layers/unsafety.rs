//! Unsafe code stays in named files within a budget.
//!
//! A budget is how many times the word `unsafe` may stand in a file: blocks, functions and impls alike. It
//! covers every file of the folders that `ci/budgets.toml` names; a file without an entry may hold none.

use std::collections::BTreeMap;

use super::config::Budgets;
use super::{Source, Violation};

const TABLE: &str = "ci/budgets.toml";

/// Checks every folder that has a budget.
pub fn check(budgets: &Budgets, sources: &[Source], found: &mut Vec<Violation>) {
    for (folder, files) in budgets {
        let prefix = format!("{folder}/");
        let inside = sources.iter().filter(|source| !source.is_test);
        let used: BTreeMap<_, _> = inside
            .filter_map(|source| Some((source.path.strip_prefix(&prefix)?, source)))
            .filter(|(_, source)| !source.facts.unsafes.is_empty())
            .collect();
        for (file, source) in &used {
            let (count, budget) = (source.facts.unsafes.len(), files.get(*file).copied().unwrap_or(0));
            if count > budget {
                let line = source.facts.unsafes.get(budget).copied().unwrap_or(1);
                let what = format!("{count} times unsafe is over the budget of {budget} in {TABLE}");
                found.push(Violation::new(&source.path, line, what));
            }
        }
        for file in files.keys().filter(|file| !used.contains_key(file.as_str())) {
            let what = format!("{prefix}{file} holds no unsafe code; remove its budget");
            found.push(Violation::new(TABLE, 1, what));
        }
    }
}
