//! Whatever is put into a volume comes out of it again.

use std::collections::BTreeSet;
use std::fs;

use images::{Content, DataSpec, Existing, FileSpec, ImageError, files_below, inspect, make_data};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::support::*;

/// A file: how its content is made, and how it is stored.
#[derive(Debug, Clone)]
struct Plan {
    name: String,
    /// Runs of bytes: what is in them and how many.
    runs: Vec<(u8, usize)>,
    zeros: bool,
    room: u64,
    sparse: bool,
}

fn plan() -> impl Strategy<Value = Plan> {
    let runs = prop::collection::vec((prop_oneof![Just(0u8), any::<u8>()], 0usize..9000), 0..40);
    ("[a-z/.A-Z \u{e4}-\u{f6}]{1,20}", runs, any::<bool>(), 0u64..200_000, any::<bool>())
        .prop_map(|(name, runs, zeros, room, sparse)| Plan { name, runs, zeros, room, sparse })
        .prop_filter("a name", |plan| shared::disk::files::is_name(&plan.name))
}

fn bytes(runs: &[(u8, usize)]) -> Vec<u8> {
    runs.iter().flat_map(|(byte, count)| std::iter::repeat_n(*byte, *count)).collect()
}

/// The file's specification; its content is written below `folder`.
fn spec(folder: &TempDir, n: usize, plan: &Plan) -> (FileSpec, Vec<u8>) {
    let content = bytes(&plan.runs);
    let (content, source) = if plan.zeros {
        (vec![0; content.len()], Content::Zeros(content.len() as u64))
    } else {
        let path = folder.path().join(format!("host{n}"));
        fs::write(&path, &content).unwrap();
        (content, Content::Host(path))
    };
    let file = FileSpec { name: plan.name.clone(), content: source, room: plan.room, sparse: plan.sparse };
    (file, content)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn files_and_partitions_come_back(
        plans in prop::collection::vec(plan(), 0..12),
        parts in prop::collection::vec((any::<bool>(), 1u64..300), 0..4),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut names = BTreeSet::new();
        let plans: Vec<_> = plans.into_iter().filter(|plan| names.insert(plan.name.clone())).collect();
        let files: Vec<_> = plans.iter().enumerate().map(|(n, plan)| spec(&folder, n, plan)).collect();
        let mut partitions = Vec::new();
        for (n, (is_swap, blocks)) in parts.iter().enumerate() {
            partitions.push(match is_swap {
                true => swap(&format!("PART{n}"), (blocks + 10) * 4096),
                false => raw(&format!("PART{n}"), Content::Zeros(blocks * 1000)),
            });
        }
        let spec = DataSpec { files: files.iter().map(|(file, _)| file.clone()).collect(), partitions, ..DataSpec::default() };
        let image = folder.path().join("image");
        let facts = make_data(&image, &spec, Existing::Keep).unwrap();
        let found = inspect(&image).unwrap();
        prop_assert_eq!(found.errors.len() + found.warnings.len(), 0, "{}", found);
        prop_assert_eq!((found.files.len(), found.partitions.len()), (files.len(), parts.len() + 1));
        prop_assert_eq!(found.tables[0].free_blocks * 4096, facts.free);
        for (facts, (file, content)) in found.files.iter().zip(&files) {
            prop_assert_eq!(&facts.name, &file.name);
            prop_assert_eq!(facts.bytes, content.len() as u64);
            prop_assert!(extracted(&image, &file.name) == *content, "{:?}", file);
            prop_assert!(facts.holes == 0 || file.sparse);
            let end = facts.extents.last().map_or(0, |[logical, _, blocks]| u64::from(logical + blocks) * 4096);
            prop_assert!(file.room.div_ceil(4096) <= facts.bytes.div_ceil(4096) || end >= file.room, "{:?}", facts);
        }
        for (n, (is_swap, blocks)) in parts.iter().enumerate() {
            let bytes = if *is_swap { (blocks + 10) * 4096 } else { (blocks * 1000).next_multiple_of(512) };
            prop_assert_eq!(extracted(&image, &format!("PART{n}")).len() as u64, bytes);
        }
    }
}

#[test]
fn a_sparse_file_has_blocks_only_where_it_has_data() {
    let folder = tempfile::tempdir().unwrap();
    let host = folder.path().join("host");
    // 20 single blocks with growing gaps: more runs than extents, so the smallest gaps are filled.
    let mut content = Vec::new();
    for n in 0..20usize {
        content.extend([7; 4096]);
        content.extend(std::iter::repeat_n(0, (n + 1) * 4096));
    }
    fs::write(&host, &content).unwrap();
    let files = vec![FileSpec { sparse: true, ..file("f", Content::Host(host)) }];
    let image = folder.path().join("image");
    make_data(&image, &DataSpec { files, ..DataSpec::default() }, Existing::Keep).unwrap();
    let facts = &inspect(&image).unwrap().files[0];
    assert_eq!(facts.extents.len(), 14);
    // The six smallest gaps have 1 to 6 blocks.
    assert_eq!(facts.room / 4096, 20 + 21);
    assert_eq!(extracted(&image, "f"), content);
}

#[test]
fn directories_become_paths() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path().join("top");
    fs::create_dir_all(top.join("b/deep")).unwrap();
    for (path, content) in [("a", "1"), ("b/c", "22"), ("b/deep/d", "333")] {
        fs::write(top.join(path), content).unwrap();
    }
    let image = folder.path().join("image");
    let spec = DataSpec { files: files_below(&top).unwrap(), ..DataSpec::default() };
    make_data(&image, &spec, Existing::Keep).unwrap();
    let names: Vec<_> = inspect(&image).unwrap().files.into_iter().map(|file| file.name).collect();
    assert_eq!(names, ["a", "b/c", "b/deep/d"]);
    assert_eq!(extracted(&image, "b/deep/d"), b"333");
    std::os::unix::fs::symlink("a", top.join("link")).unwrap();
    assert!(matches!(files_below(&top), Err(ImageError::NotCopied(path)) if path.ends_with("link")));
}

#[test]
fn an_image_is_the_same_for_the_same_identifier() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert!(fs::read(small_volume(&one)).unwrap() == fs::read(small_volume(&two)).unwrap());
}

#[test]
fn volumes_that_make_no_sense_are_refused_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let zeros = |name: &str, bytes| file(name, Content::Zeros(bytes));
    let part = |name: &str, bytes| raw(name, Content::Zeros(bytes));
    let many: Vec<_> = (0..256).map(|n| zeros(&n.to_string(), 1)).collect();
    let files = |files: Vec<FileSpec>| DataSpec { files, ..DataSpec::default() };
    let parts = |partitions| DataSpec { partitions, ..DataSpec::default() };
    let missing = file("x", Content::Host(folder.path().join("missing")));
    let cases = [
        (files(vec![zeros("a", 1), zeros("a", 2)]), "two files are called \"a\""),
        (files(vec![zeros("../a", 1)]), "\"../a\" cannot be the name of a file"),
        (files(vec![zeros("", 1)]), "\"\" cannot be the name"),
        (files(vec![zeros(&"n".repeat(64), 1)]), "1 to 63 bytes"),
        (files(many), "256 files: an image has at most 255"),
        (files(vec![zeros("a", u64::MAX)]), "is smaller than 16T"),
        (files(vec![FileSpec { sparse: true, ..zeros("a", 1 << 44) }]), "is smaller than 16T"),
        (files(vec![missing]), "cannot read "),
        (files(vec![file("x", Content::Host("/dev/zero".into()))]), "/dev/zero is not a regular file"),
        (parts(vec![part("files", 1)]), "two partitions are called \"files\""),
        (parts(vec![part("log", 0)]), "partition log: 0 bytes is not possible"),
        (parts(vec![part(&"p".repeat(37), 1)]), "1 to 36 characters"),
        (parts(vec![swap("s", 4096)]), "a swap area: 4096 bytes is not possible"),
        (DataSpec { size: Some(1000), ..DataSpec::default() }, "a data volume: 1000 bytes is not possible"),
        (DataSpec { size: Some(4 << 20), ..files(vec![zeros("a", 2 << 20)]) }, "the file table needs "),
        (
            DataSpec { size: Some(4 << 20), ..parts(vec![part("p", 3 << 20)]) },
            "what is beside the files needs ",
        ),
    ];
    for (spec, text) in cases {
        let error = make_data(&image, &spec, Existing::Keep).unwrap_err().to_string();
        assert!(error.contains(text) && !error.contains('\n'), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
