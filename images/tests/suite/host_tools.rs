//! The tools of the host read our images, and we read theirs.

use std::fs::{self, File};

use images::{Existing, Kind, SwapSpec, inspect, make_swap};

use crate::support::*;

#[test]
fn sgdisk_finds_no_problem_and_the_same_partitions() {
    let folder = tempfile::tempdir().unwrap();
    let path = small_volume(&folder);
    let image = path.to_str().unwrap();
    assert!(output("sgdisk", &["-v", image]).contains("No problems found"));
    let printed = output("sgdisk", &["-p", image]);
    assert!(printed.contains(&UUID.to_uppercase()), "{printed}");
    let found = inspect(&path).unwrap();
    assert_eq!(found.partitions.len(), 3);
    for partition in &found.partitions {
        let shown = output("sgdisk", &["-i", &partition.number.to_string(), image]);
        for fact in [
            format!("First sector: {} ", partition.first_lba),
            format!("Last sector: {} ", partition.last_lba),
            format!("Partition unique GUID: {}", partition.uuid.to_uppercase()),
            format!("Partition name: '{}'", partition.name),
        ] {
            assert!(shown.contains(&fact), "{fact} is not in {shown}");
        }
    }
    assert!(output("sgdisk", &["-i", "2", image]).contains("(Linux filesystem)"));
    assert!(output("sgdisk", &["-i", "3", image]).contains("(Linux swap)"));
}

#[test]
fn dd_copies_a_partition_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = small_volume(&folder);
    let log = &inspect(&path).unwrap().partitions[1];
    let (from, to) = (format!("if={}", path.display()), folder.path().join("log"));
    let (skip, to_file) = (format!("skip={}", log.first_lba), format!("of={}", to.display()));
    output("dd", &["status=none", "bs=512", "count=20", &from, &skip, &to_file]);
    assert_eq!(fs::read(to).unwrap(), fs::read(folder.path().join("host.bin")).unwrap()[..20 * 512]);
}

#[test]
fn we_read_what_sgdisk_makes_and_repairs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    File::create(&path).unwrap().set_len(8 << 20).unwrap();
    let image = path.to_str().unwrap();
    output(
        "sgdisk",
        &[
            "-n",
            "1:2048:+1M",
            "-c",
            "1:first one",
            "-t",
            "1:8200",
            "-n",
            "5:0:0",
            "-c",
            "5:\u{e4}\u{1f600}",
            image,
        ],
    );
    let found = inspect(&path).unwrap();
    assert_eq!((found.kind, found.partitions.len()), (Kind::Gpt, 2));
    assert_eq!(found.partitions[0].name, "first one");
    assert_eq!((found.partitions[1].number, &*found.partitions[1].name), (5, "\u{e4}\u{1f600}"));
    // It has the type of a swap area, but nobody has made one.
    assert_eq!(found.errors, ["partition 1: no swap signature"]);

    // Ours, with the primary table gone: the backup tells all, and sgdisk can restore the primary from it.
    let ours = small_volume(&folder);
    let whole = fs::read(&ours).unwrap();
    let mut broken = whole.clone();
    broken[512..512 + 92].fill(0);
    fs::write(&ours, &broken).unwrap();
    let found = inspect(&ours).unwrap();
    assert_eq!(found.errors, ["primary partition table in sector 1: no header"]);
    assert_eq!((found.partitions.len(), found.files.len()), (3, 3));
    assert_eq!(extracted(&ours, "db"), fs::read(folder.path().join("host.bin")).unwrap());
    output("sgdisk", &["-e", ours.to_str().unwrap()]);
    assert_eq!(inspect(&ours).unwrap().errors, [""; 0]);
    assert!(fs::read(&ours).unwrap()[..1 << 20] == whole[..1 << 20]);
}

#[test]
fn swap_areas_are_the_bytes_of_mkswap() {
    let folder = tempfile::tempdir().unwrap();
    for (n, (bytes, label)) in
        [(40 << 10, ""), (1 << 20, "x"), (5 << 20, "fifteen letters")].into_iter().enumerate()
    {
        let (ours, theirs) = (folder.path().join(format!("o{n}")), folder.path().join(format!("t{n}")));
        let spec = SwapSpec { size: bytes, label: label.into(), uuid: uuid(), bad_pages: vec![] };
        make_swap(&ours, &spec, Existing::Keep).unwrap();
        File::create(&theirs).unwrap().set_len(bytes).unwrap();
        output("mkswap", &["-q", "-L", label, "-U", UUID, theirs.to_str().unwrap()]);
        assert!(fs::read(&ours).unwrap() == fs::read(&theirs).unwrap(), "{bytes} {label}");
    }
}

#[test]
fn host_tools_read_our_swap_area_and_inspect_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let path = small_swap(&folder);
    let image = path.to_str().unwrap();
    let label = output("swaplabel", &[image]);
    assert!(label.contains("LABEL: small") && label.contains(&format!("UUID:  {UUID}")), "{label}");
    let known = output("blkid", &["-p", "-o", "export", image]);
    for fact in ["TYPE=swap", "VERSION=1", "LABEL=small", &format!("UUID={UUID}")] {
        assert!(known.lines().any(|line| line == fact), "{known}");
    }
    let told = output("file", &["-b", image]);
    assert!(
        told.contains("Linux swap file, 4k page size, little endian, version 1, size 255 pages, 2 bad pages"),
        "{told}"
    );

    // swaplabel changes ours, and we see it.
    output("swaplabel", &["-L", "renamed", image]);
    let found = inspect(&path).unwrap();
    assert_eq!((found.kind, found.errors.len(), found.swap.len()), (Kind::Swap, 0, 1));
    assert_eq!((&*found.swap[0].label, &*found.swap[0].uuid, found.swap[0].pages), ("renamed", UUID, 256));
    assert_eq!(found.swap[0].bad_pages, [3, 200]);
}

#[test]
fn a_swap_partition_can_be_cut_out_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let cut = folder.path().join("cut");
    fs::write(&cut, extracted(&small_volume(&folder), "swap0")).unwrap();
    assert!(output("swaplabel", &[cut.to_str().unwrap()]).contains("UUID:"));
    let found = inspect(&cut).unwrap();
    assert_eq!((found.swap[0].pages, found.errors.len(), found.warnings.len()), (256, 0, 0));
}
