//! An image appears whole or not at all.

use std::io::Write;

use super::*;

fn entries(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn named(path: &Path, old: Option<File>) -> Draft {
    Draft::with_name(path.to_owned(), old, 0o666).unwrap()
}

#[test]
fn a_draft_that_is_dropped_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    for with_name in [false, true] {
        let draft =
            if with_name { named(&path, None) } else { Draft::new(&path, Existing::Keep, 0o666).unwrap() };
        draft.file().write_all(b"half").unwrap();
        drop(draft);
        assert_eq!(entries(folder.path()), [""; 0]);
    }
}

#[test]
fn a_finished_draft_has_its_name_and_its_bytes() {
    for with_name in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let draft =
            if with_name { named(&path, None) } else { Draft::new(&path, Existing::Keep, 0o666).unwrap() };
        draft.file().write_all(b"whole").unwrap();
        draft.finish().unwrap();
        assert_eq!(entries(folder.path()), ["image"]);
        assert_eq!(fs::read(&path).unwrap(), b"whole");
    }
}

#[test]
fn an_image_that_appears_meanwhile_is_kept() {
    for with_name in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let draft =
            if with_name { named(&path, None) } else { Draft::new(&path, Existing::Keep, 0o666).unwrap() };
        fs::write(&path, b"other").unwrap();
        assert!(matches!(draft.finish(), Err(ImageError::Exists(_))));
        assert_eq!(fs::read(&path).unwrap(), b"other");
        assert_eq!(entries(folder.path()), ["image"]);
    }
}

#[test]
fn an_old_image_is_replaced_only_when_asked_and_not_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let (path, link) = (folder.path().join("image"), folder.path().join("link"));
    fs::write(&path, b"old").unwrap();
    std::os::unix::fs::symlink("image", &link).unwrap();
    assert!(matches!(Draft::new(&path, Existing::Keep, 0o666), Err(ImageError::Exists(_))));
    let user = File::open(&path).unwrap();
    user.lock_shared().unwrap();
    assert!(matches!(Draft::new(&path, Existing::Replace, 0o666), Err(ImageError::Locked(_))));
    drop(user);
    // Through a link the image behind it is replaced, and the link stays.
    let draft = Draft::new(&link, Existing::Replace, 0o666).unwrap();
    draft.file().write_all(b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old");
    draft.finish().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("image"));
    assert_eq!(entries(folder.path()), ["image", "link"]);
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Draft::new(folder.path(), Existing::Replace, 0o666), Err(ImageError::NotAFile(_))));
    assert!(matches!(
        Draft::new(Path::new("/dev/null"), Existing::Replace, 0o666),
        Err(ImageError::NotAFile(_))
    ));
    let nowhere = folder.path().join("no/image");
    assert!(matches!(Draft::new(&nowhere, Existing::Keep, 0o666), Err(ImageError::Write { .. })));
    let dangling = folder.path().join("dangling");
    std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
    assert!(matches!(Draft::new(&dangling, Existing::Replace, 0o666), Err(ImageError::Write { .. })));
}
