//! The repository on disk: where it is, where builds go, which files are its own.
//!
//! Owns: paths and the walk over source files. Stays outside: what the files say.
//! Invariant: a walk sees every file of the working tree, committed or not, and no build output.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The repository.
pub struct Repo {
    root: PathBuf,
    target: PathBuf,
}

impl Repo {
    /// The repository the current directory lies in.
    pub fn find() -> Result<Self> {
        let here = env::current_dir().context("cannot tell the current directory")?;
        let Some(root) = here.ancestors().find(|dir| dir.join("ci/layers.toml").is_file()) else {
            bail!("{} is not inside the repository; change into it first", here.display());
        };
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => here.join(dir),
            None => root.join("target"),
        };
        Ok(Self { root: root.to_owned(), target })
    }

    /// The top folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The build folder of the host workspace.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// A file of the repository by its path from the top.
    pub fn read(&self, path: &str) -> Result<String> {
        fs::read_to_string(self.root.join(path)).with_context(|| format!("cannot read {path}"))
    }

    /// Paths from the top of all files whose name ends in one of `endings`, sorted.
    pub fn files(&self, endings: &[&str]) -> Result<Vec<String>> {
        let mut found = Vec::new();
        self.walk(&self.root, endings, &mut found)?;
        found.sort();
        Ok(found)
    }

    fn walk(&self, dir: &Path, endings: &[&str], found: &mut Vec<String>) -> Result<()> {
        let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", dir.display()))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                bail!("{} has a name that is not UTF-8; rename it", entry.path().display());
            };
            let kind =
                entry.file_type().with_context(|| format!("cannot read {}", entry.path().display()))?;
            if kind.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    self.walk(&entry.path(), endings, found)?;
                }
            } else if kind.is_file() && endings.iter().any(|ending| name.ends_with(ending)) {
                let path = entry.path();
                let path = path.strip_prefix(&self.root).unwrap_or(&path);
                found.push(path.to_string_lossy().into_owned());
            }
        }
        Ok(())
    }
}

/// Whether the file at `path` holds only tests, by where it lies.
pub fn is_test_path(path: &str) -> bool {
    path.split('/').any(|part| matches!(part, "tests" | "benches" | "fuzz" | "tests.rs"))
}
