//! What the tests share: small images with fixed identifiers, and programs of the host.

use std::path::Path;
use std::process::Command;

use images::{Content, DataSpec, Existing, FileSpec, PartitionContent, PartitionSpec, SwapSpec};
use shared::disk::uuid::Uuid;
use tempfile::TempDir;

pub const UUID: &str = "8d4f4b0e-5a53-4a8e-9f0e-2f6f2f4c1a7b";

pub fn uuid() -> Option<Uuid> {
    Uuid::parse(UUID)
}

pub fn file(name: &str, content: Content) -> FileSpec {
    FileSpec { name: name.to_owned(), content, room: 0, sparse: false }
}

pub fn raw(name: &str, content: Content) -> PartitionSpec {
    PartitionSpec { name: name.to_owned(), content: PartitionContent::Raw(content) }
}

pub fn swap(name: &str, bytes: u64) -> PartitionSpec {
    PartitionSpec { name: name.to_owned(), content: PartitionContent::Swap(bytes) }
}

/// A volume of 6 MiB with three files and two other partitions.
pub fn small_volume(folder: &TempDir) -> std::path::PathBuf {
    let host = folder.path().join("host.bin");
    std::fs::write(&host, (0..100_000u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>()).unwrap();
    let spec = DataSpec {
        size: Some(6 << 20),
        uuid: uuid(),
        files: vec![
            file("db", Content::Host(host.clone())),
            FileSpec { room: 1 << 19, ..file("grows", Content::Zeros(1000)) },
            FileSpec { sparse: true, ..file("hole", Content::Zeros(1 << 30)) },
        ],
        partitions: vec![raw("log", Content::Host(host)), swap("swap0", 1 << 20)],
    };
    let path = folder.path().join("data.img");
    images::make_data(&path, &spec, Existing::Keep).unwrap();
    path
}

pub fn small_swap(folder: &TempDir) -> std::path::PathBuf {
    let path = folder.path().join("swap.img");
    let spec = SwapSpec { size: 1 << 20, label: "small".into(), uuid: uuid(), bad_pages: vec![3, 200] };
    images::make_swap(&path, &spec, Existing::Keep).unwrap();
    path
}

pub fn extracted(image: &Path, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    images::extract(image, name, &mut bytes).unwrap();
    bytes
}

/// What `program` prints. Root's programs are found as well; it must succeed.
pub fn output(program: &str, args: &[&str]) -> String {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = Command::new(program).args(args).env("PATH", path).env("LC_ALL", "C").output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; `cargo xtask setup` installs it"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}
