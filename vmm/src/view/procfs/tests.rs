//! The directory: which files, what changes, what is refused.

use std::os::unix::fs::MetadataExt;

use shared::stats::{MachineGroup, MeminfoGroup, TaskGroup, TrapGroup, VmstatGroup};
use tempfile::tempdir;
use zerocopy::FromZeros;

use super::*;

fn snapshot(mem_total: u64) -> Snapshot {
    let mut meminfo = MeminfoGroup::new_zeroed();
    meminfo.lines[0] = mem_total;
    Snapshot {
        machine: MachineGroup::new_zeroed(),
        traps: TrapGroup::new_zeroed(),
        tasks: TaskGroup::new_zeroed(),
        meminfo,
        vmstat: VmstatGroup::new_zeroed(),
        zones: Vec::new(),
    }
}

#[test]
fn files_appear_and_change_only_when_their_text_does() {
    let root = tempdir().unwrap();
    let directory = root.path().join("a/proc");
    let mut procfs = Procfs::create(&directory).unwrap();
    procfs.update(&snapshot(1)).unwrap();
    let mut names: Vec<_> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let expected: Vec<_> = FILES.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, expected);
    let inode = |name: &str| fs::metadata(directory.join(name)).unwrap().ino();
    let before = (inode("meminfo"), inode("vmstat"));
    procfs.update(&snapshot(2)).unwrap();
    assert!(
        fs::read_to_string(directory.join("meminfo")).unwrap().starts_with("MemTotal:              2 kB\n")
    );
    assert_ne!(inode("meminfo"), before.0, "renamed over, not written into");
    assert_eq!(inode("vmstat"), before.1, "the same text is not written again");
}

#[test]
fn what_the_guest_sent_is_kept_as_it_is() {
    let root = tempdir().unwrap();
    let mut procfs = Procfs::create(root.path()).unwrap();
    procfs.finish(vec![SentText { name: "slabinfo", bytes: vec![0xff, 0, b'\n'] }]).unwrap();
    assert_eq!(fs::read(root.path().join("slabinfo")).unwrap(), [0xff, 0, b'\n']);
}

#[test]
fn a_place_that_cannot_be_a_directory_is_refused_in_a_line() {
    let root = tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Procfs::create(&file).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot write {} for --procfs: ", file.display())), "{error}");
    assert!(error.ends_with("; give a directory that can be written"), "{error}");
}
