//! `ci`: what continuous integration runs, which is what the README tells people to run.

use anyhow::Result;

use crate::{repo::Repo, test};

/// Installs what is missing, then runs every check and test.
pub fn run(repo: &Repo) -> Result<bool> {
    let mut steps = vec![test::SETUP];
    steps.extend(test::STEPS);
    test::run_steps(repo, &steps)
}
