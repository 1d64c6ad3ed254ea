//! Ranks of the modules of `mm`: a module refers only to modules of a lower rank.
//!
//! The table stands twice, for people in the documentation of the crate and for this check in
//! `ci/layers.toml`; both must say the same. The crate root stands above every module.

use std::collections::BTreeMap;

use super::{Source, Violation, module_of};

/// Folder of the ranked crate.
const CRATE: &str = "guest/mm/src/";
const ROOT: &str = "guest/mm/src/lib.rs";
const TABLE: &str = "ci/layers.toml";

/// Checks the table, then every path.
pub fn check(ranks: &BTreeMap<String, u32>, sources: &[Source], found: &mut Vec<Violation>) {
    if let Some(root) = sources.iter().find(|source| source.path == ROOT) {
        tables(ranks, root, found);
    }
    for source in sources.iter().filter(|source| source.path.starts_with(CRATE) && !source.is_test) {
        paths(ranks, source, found);
    }
}

/// The two tables and the declared modules must agree.
fn tables(ranks: &BTreeMap<String, u32>, root: &Source, found: &mut Vec<Violation>) {
    let documented = documented(&root.text);
    for (name, (rank, line)) in &documented {
        if ranks.get(name) != Some(rank) {
            let what = format!("the table gives {name} rank {rank}, which {TABLE} does not");
            found.push(Violation::new(ROOT, *line, what));
        }
    }
    for (name, rank) in ranks.iter().filter(|(name, _)| !documented.contains_key(*name)) {
        let what = format!("{name} has rank {rank} in {TABLE} and none in the table of {ROOT}");
        found.push(Violation::new(ROOT, 1, what));
    }
    let declared = &root.facts.modules;
    for (name, line) in declared.iter().filter(|(name, _)| !ranks.contains_key(name)) {
        found.push(Violation::new(ROOT, *line, format!("module {name} has no rank in {TABLE}")));
    }
    for name in ranks.keys().filter(|name| !declared.iter().any(|(known, _)| known == *name)) {
        found.push(Violation::new(TABLE, 1, format!("mm has no module {name}")));
    }
}

/// The rank table in the documentation of the crate: module, rank, line.
pub(super) fn documented(text: &str) -> BTreeMap<String, (u32, usize)> {
    let mut table = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        let Some(row) = line.strip_prefix("//! |") else { continue };
        let Some((rank, modules)) = row.split_once('|') else { continue };
        let Ok(rank) = rank.trim().parse() else { continue };
        for link in modules.split("[`").skip(1) {
            if let Some((name, _)) = link.split_once("`]")
                && !name.contains(':')
            {
                table.insert(name.to_owned(), (rank, at + 1));
            }
        }
    }
    table
}

/// Checks the paths of one file.
pub(super) fn paths(ranks: &BTreeMap<String, u32>, source: &Source, found: &mut Vec<Violation>) {
    let module = module_of(&source.path);
    // The root may name everything; a module without a rank was reported with the table.
    let Some(own) = module.first() else { return };
    let Some(own_rank) = ranks.get(*own) else { return };
    for path in &source.facts.paths {
        let what = match path.segments.first() {
            Some(other) if other == own => continue,
            Some(other) => match ranks.get(other) {
                Some(rank) if rank < own_rank => continue,
                Some(rank) => format!("{own} (rank {own_rank}) reaches up to {other} (rank {rank})"),
                None => format!("{own} names crate::{other}, which is no ranked module"),
            },
            None => format!("{own} names the crate root, which is above every module"),
        };
        found.push(Violation::new(&source.path, path.line, what));
    }
}
