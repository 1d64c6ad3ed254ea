//! `docs/measurements.md`: one section for each benchmark that writes its results down.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::repo::Repo;

const FILE: &str = "docs/measurements.md";

/// Replaces the section `title` by `body`, or adds it at the end.
pub fn record(repo: &Repo, title: &str, body: &str) -> Result<()> {
    let text = replaced(&repo.read(FILE)?, title, body);
    fs::write(repo.root().join(FILE), text).with_context(|| format!("cannot write {FILE}"))?;
    println!("written to {FILE}");
    Ok(())
}

/// The commit the tree is at, with a `+` when files have changed since.
pub fn commit(repo: &Repo) -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").current_dir(repo.root()).args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "an unknown commit".to_owned() };
    let clean = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|files| files.is_empty());
    if clean { commit } else { format!("{commit}+") }
}

fn replaced(text: &str, title: &str, body: &str) -> String {
    let heading = format!("## {title}\n");
    let section = format!("{heading}\n{}\n", body.trim_end());
    let Some(start) = text.find(&heading) else { return format!("{}\n\n{section}", text.trim_end()) };
    let (before, old) = text.split_at(start);
    match old.get(heading.len()..).and_then(|rest| rest.find("\n## ")) {
        Some(next) => {
            let after = old.get(heading.len() + next..).unwrap_or_default();
            format!("{before}{section}{after}")
        }
        None => format!("{before}{section}"),
    }
}

#[cfg(test)]
mod tests;
