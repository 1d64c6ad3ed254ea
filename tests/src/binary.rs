//! The `vmm` binary under test.
//!
//! Owns: finding it. `VMM_BIN` names one; without it, cargo brings the release build in this test's target
//! directory up to date, once a process, so that no test runs against an old one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The path of `vmm`. Panics when it cannot be built.
pub fn vmm() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| std::env::var_os("VMM_BIN").map_or_else(build, PathBuf::from))
}

fn build() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = target_directory();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--package", "vmm", "--target-dir"]).arg(&target).current_dir(root);
    let status = cargo.status().unwrap_or_else(|error| panic!("cannot run cargo: {error}"));
    assert!(status.success(), "vmm does not build, see above; or set VMM_BIN to one that is built");
    target.join("release/vmm")
}

/// `TARGET` of `TARGET/PROFILE/deps/TEST`, `TARGET/PROFILE/examples/EXAMPLE` or `TARGET/PROFILE/PROGRAM`.
fn target_directory() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_else(|error| panic!("no path of this test: {error}"));
    let in_folder = |parent: &Path| parent.ends_with("deps") || parent.ends_with("examples");
    let depth = if test.parent().is_some_and(in_folder) { 3 } else { 2 };
    let target =
        test.ancestors().nth(depth).unwrap_or_else(|| panic!("{} is no test of cargo", test.display()));
    target.to_owned()
}
