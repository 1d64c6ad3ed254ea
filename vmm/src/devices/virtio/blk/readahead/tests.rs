use std::fs;
use std::os::unix::fs::MetadataExt;

use super::*;

#[test]
fn the_window_is_twice_what_the_host_is_set_to() {
    let file = tempfile::tempfile().unwrap();
    let device = file.metadata().unwrap().dev();
    // Every disk and file system that reads ahead is listed under the numbers that `stat` shows.
    let name = format!("{}:{}", libc::major(device), libc::minor(device));
    let listed = fs::read_dir("/sys/class/bdi").unwrap().flatten().find(|entry| *entry.file_name() == *name);
    let expected = listed.map_or(0, |entry| {
        let text = fs::read_to_string(entry.path().join("read_ahead_kb")).unwrap();
        2048 * text.trim().parse::<u64>().unwrap()
    });
    assert_eq!(extend(&file), expected);
}

#[test]
fn a_file_that_cannot_be_read_ahead_has_no_window() {
    let (pipe, _writer) = std::io::pipe().unwrap();
    assert_eq!(extend(&File::from(std::os::fd::OwnedFd::from(pipe))), 0);
}
