//! What the rules allow: `ci/layers.toml` and `ci/budgets.toml`.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::repo::Repo;

/// Both files.
pub struct Config {
    /// Directions.
    pub layers: Layers,
    /// How many times each file may say `unsafe`: folder, then file in it.
    pub budgets: Budgets,
}

/// `ci/layers.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layers {
    /// What each package may depend on.
    pub crates: BTreeMap<String, Edges>,
    /// Rank of each module of `mm`.
    pub ranks: BTreeMap<String, u32>,
}

/// What one package may depend on.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edges {
    /// Packages of this repository.
    pub local: Vec<String>,
    /// The same, for tests only.
    #[serde(default)]
    pub local_dev: Vec<String>,
    /// Packages from elsewhere; without the key, any.
    pub external: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BudgetFile {
    #[serde(rename = "unsafe")]
    unsafety: Budgets,
}

/// `ci/budgets.toml`: folder, then file, then count.
pub type Budgets = BTreeMap<String, BTreeMap<String, usize>>;

/// Reads both files.
pub fn load(repo: &Repo) -> Result<Config> {
    let BudgetFile { unsafety: budgets } = read(repo, "ci/budgets.toml")?;
    Ok(Config { layers: read(repo, "ci/layers.toml")?, budgets })
}

fn read<T: DeserializeOwned>(repo: &Repo, path: &str) -> Result<T> {
    toml::from_str(&repo.read(path)?).with_context(|| format!("{path} is not as expected"))
}
