//! Directions between packages.
//!
//! Owns: comparing what the manifests declare with what is allowed. Source: `cargo metadata`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::Violation;
use super::config::Edges;
use crate::cargo;
use crate::repo::Repo;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// A package as `cargo metadata` gives it.
#[derive(Debug, Deserialize)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) manifest_path: String,
    pub(super) dependencies: Vec<Dependency>,
}

/// A declared dependency.
#[derive(Debug, Deserialize)]
pub(super) struct Dependency {
    pub(super) name: String,
    /// `None` for a normal one, else `dev` or `build`.
    pub(super) kind: Option<String>,
    /// `None` for a local one.
    pub(super) source: Option<String>,
}

/// Checks both workspaces.
pub fn check(repo: &Repo, allowed: &BTreeMap<String, Edges>, found: &mut Vec<Violation>) -> Result<()> {
    let mut packages = Vec::new();
    for mut command in [cargo::host(repo), cargo::guest(repo, "guest")] {
        command.args(["metadata", "--format-version=1", "--no-deps", "--offline"]);
        let output = command.output().context("cannot run cargo metadata")?;
        if !output.status.success() {
            bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let metadata: Metadata =
            serde_json::from_slice(&output.stdout).context("cannot read what cargo metadata says")?;
        packages.extend(metadata.packages);
    }
    for package in &packages {
        let root = repo.root().to_string_lossy();
        let path = package.manifest_path.strip_prefix(&*root).unwrap_or(&package.manifest_path);
        let path = path.trim_start_matches('/');
        let manifest = repo.read(path)?;
        edges(package, path, &manifest, allowed, found);
    }
    for name in allowed.keys().filter(|name| !packages.iter().any(|package| package.name == **name)) {
        found.push(Violation::new("ci/layers.toml", 1, format!("there is no package {name}")));
    }
    Ok(())
}

/// Checks one package, whose manifest at `path` reads `manifest`.
pub(super) fn edges(
    package: &Package,
    path: &str,
    manifest: &str,
    allowed: &BTreeMap<String, Edges>,
    found: &mut Vec<Violation>,
) {
    let name = &package.name;
    let Some(rule) = allowed.get(name) else {
        let what = format!("package {name} has no entry in ci/layers.toml; add what it may depend on");
        found.push(Violation::new(path, 1, what));
        return;
    };
    for dependency in &package.dependencies {
        let on = &dependency.name;
        let is_dev = dependency.kind.as_deref() == Some("dev");
        let right = match dependency.source {
            None => rule.local.contains(on) || (is_dev && rule.local_dev.contains(on)),
            // What tests use from elsewhere cannot reach the product.
            Some(_) => is_dev || rule.external.as_ref().is_none_or(|external| external.contains(on)),
        };
        if !right {
            let line = manifest.lines().position(|line| line.starts_with(on.as_str())).map_or(1, |n| n + 1);
            let what = format!("{name} must not depend on {on} (ci/layers.toml)");
            found.push(Violation::new(path, line, what));
        }
    }
}
