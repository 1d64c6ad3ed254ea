//! Files change in one step, and failures leave nothing behind.

use tempfile::tempdir;

use super::*;

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn contents_are_replaced_and_nothing_else_is_left() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("file");
    for contents in ["first", "second, longer", ""] {
        replace(&path, contents.as_bytes()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), contents);
        assert_eq!(names(directory.path()), ["file"]);
    }
}

#[test]
fn a_failure_leaves_the_old_contents() {
    let directory = tempdir().unwrap();
    // A directory cannot be replaced by a file, so the rename fails.
    let path = directory.path().join("taken");
    fs::create_dir(&path).unwrap();
    assert!(replace(&path, b"new").is_err());
    assert_eq!(names(directory.path()), ["taken"]);
    assert!(replace(&directory.path().join("absent/file"), b"new").is_err());
}

#[test]
fn a_directory_is_checked_without_a_trace() {
    let directory = tempdir().unwrap();
    check_directory(directory.path()).unwrap();
    assert_eq!(names(directory.path()), Vec::<String>::new());
    assert!(check_directory(&directory.path().join("absent")).is_err());
}
