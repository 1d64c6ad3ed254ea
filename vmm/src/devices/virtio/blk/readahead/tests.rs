use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::*;

/// The setting as the disks list it: of the one that has the number of the file's device, or a part with that. 0 if there is none.
fn expected(file: &File) -> u64 {
    let device = file.metadata().unwrap().dev();
    let device = format!("{}:{}\n", libc::major(device), libc::minor(device));
    let list = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let has_number = |path: &PathBuf| fs::read_to_string(path.join("dev")).is_ok_and(|text| text == device);
    let disk = list("/sys/block".into())
        .find(|disk| has_number(disk) || list(disk.clone()).any(|part| has_number(&part)));
    disk.map_or(0, |disk| {
        let text = fs::read_to_string(disk.join("queue/read_ahead_kb")).unwrap();
        2048 * text.trim().parse::<u64>().unwrap()
    })
}

#[test]
fn the_window_is_twice_what_the_host_is_set_to() {
    let file = tempfile::tempfile().unwrap();
    match expected(&file) {
        // On no disk; what such a file system is set to is its own business.
        0 => assert_eq!(extend(&file) % 2048, 0),
        bytes => assert_eq!(extend(&file), bytes),
    }
}

#[test]
fn a_file_that_cannot_be_read_ahead_has_no_window() {
    let (pipe, _writer) = std::io::pipe().unwrap();
    assert_eq!(extend(&File::from(OwnedFd::from(pipe))), 0);
}
