//! T62, T63: pages of files are taken back, and which of them stay.

use std::fs;
use std::path::PathBuf;

use images::{Content, DataSpec, Existing, FileSpec};
use tempfile::TempDir;
use tests::{Guest, Run, any_host, for_each_host};

const MIB: u64 = 1 << 20;

/// A volume with files of a pattern.
fn volume(folder: &TempDir, sizes: &[(&str, u64)]) -> PathBuf {
    let file = |&(name, bytes): &(&str, u64)| {
        let content = folder.path().join(name);
        images::write_pattern(&mut fs::File::create(&content).unwrap(), bytes, 5).unwrap();
        FileSpec { name: name.into(), content: Content::Host(content), room: 0, sparse: false }
    };
    let files: Vec<_> = sizes.iter().map(file).collect();
    let bytes: u64 = sizes.iter().map(|(_, bytes)| bytes).sum();
    let spec = DataSpec { size: Some(16 * MIB + bytes), uuid: None, files, partitions: vec![] };
    let image = folder.path().join("data.img");
    images::make_data(&image, &spec, Existing::Keep).unwrap();
    image
}

/// A counter of the `/proc/vmstat` that command `n` showed.
fn vmstat(run: &Run, n: usize, name: &str) -> u64 {
    let line = run.output(n).line_with(&format!("{name} "));
    line.as_str().rsplit(' ').next().unwrap().trim().parse().unwrap()
}

#[test]
fn t62_a_hot_set_survives_a_cold_scan() {
    let folder = TempDir::new().unwrap();
    let image = volume(&folder, &[("hot", 8 * MIB), ("cold", 128 * MIB)]);
    let commands = [
        "file read hot",
        "file read hot",
        "file read cold",
        "cat /proc/vmstat",
        "file as hot",
        "file read hot",
    ];
    for_each_host(|host| {
        let run = Guest::on(host).mem("64M").disk(&image, "").run(&commands).start().assert_ok();
        let kept = run.output(4).line_with("nrpages=").number("nrpages");
        assert!(kept * 100 >= 2048 * 95, "{kept} of 2048 pages are left: {run}");
        // What was read and is not in memory was taken back.
        let stolen = vmstat(&run, 3, "pgsteal_file");
        let cached = vmstat(&run, 3, "nr_file_pages");
        assert!(stolen + cached >= (128 + 8) * 256 && stolen > 64 * 256, "{stolen} {cached}: {run}");
        assert_eq!(vmstat(&run, 3, "workingset_activate_file"), 0, "{run}");
        assert!(vmstat(&run, 3, "pgscan_file") >= stolen, "{run}");
    });
}

#[test]
fn t63_a_cyclic_scan_keeps_a_part_of_itself() {
    let folder = TempDir::new().unwrap();
    let image = volume(&folder, &[("hot", 8 * MIB), ("loop", 48 * MIB)]);
    let read = "file read loop";
    let commands = ["file read hot", "file read hot", read, read, read, read, "cat /proc/vmstat"];
    let run = Guest::on(any_host()).mem("64M").disk(&image, "").run(&commands).start().assert_ok();
    assert!(vmstat(&run, 6, "workingset_refault_file") > 0, "{run}");
    assert!(vmstat(&run, 6, "workingset_activate_file") > 0, "{run}");
    let hits = |n| run.output(n).line_with("read=").number("hit");
    assert!(hits(5) > hits(3), "{} {}: {run}", hits(3), hits(5));
}
