//! Nothing unfinished or switched off lands.

use anyhow::Result;

use super::{Source, Violation};
use crate::repo::Repo;

/// Words that announce work, in pieces so that this file does not hold them.
const WORDS: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];
/// Files other than Rust sources that are searched for the words.
const OTHERS: [&str; 5] = [".s", ".ld", ".toml", ".sh", ".md"];

/// Checks the code of Rust files for markers and the text of all files for words.
pub fn check(repo: &Repo, sources: &[Source], found: &mut Vec<Violation>) -> Result<()> {
    for source in sources {
        let markers = source.facts.markers.iter();
        found.extend(markers.map(|marker| Violation::new(&source.path, marker.line, marker.what)));
        words(&source.path, &source.text, found);
    }
    for path in repo.files(&OTHERS)? {
        words(&path, &repo.read(&path)?, found);
    }
    Ok(())
}

/// Checks one text.
pub(super) fn words(path: &str, text: &str, found: &mut Vec<Violation>) {
    for (at, line) in text.lines().enumerate() {
        let mut parts = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        if let Some(word) = parts.find(|part| WORDS.contains(part)) {
            found.push(Violation::new(path, at + 1, word));
        }
    }
}
