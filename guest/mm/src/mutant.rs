//! Planted bugs: the proof that the tests would notice.
//!
//! Owns: which bug is active. A bug is a wrong way beside the right one, chosen by [`planted`] with its name. In every
//! build but one that is a constant `false`, so nothing of it is left; with `--cfg mutants` the environment variable
//! `MM_MUTANT` names the bug that is active, and without it nothing is wrong. `cargo xtask mutants` finds the names in
//! the sources and runs the tests once for each: a bug that no test sees is a hole in them. What stands before the dot
//! of a name is the part of the tests that must see it.

/// Whether this bug is active.
#[cfg(not(mutants))]
#[inline(always)]
pub(crate) const fn planted(_: &str) -> bool {
    false
}

#[cfg(mutants)]
extern crate std;

/// Whether this bug is active.
#[cfg(mutants)]
pub(crate) fn planted(name: &str) -> bool {
    use std::string::String;
    static ACTIVE: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    ACTIVE.get_or_init(|| std::env::var("MM_MUTANT").ok()).as_deref() == Some(name)
}
