//! What is fuzzed. A target takes any bytes, makes of them what an attacker could, and panics when something is
//! wrong that must not be.
//!
//! | target | what the bytes are |
//! |---|---|
//! | `transport` | accesses to the registers of a virtio device, in any order and width, and RAM between them |
//! | `blk` | descriptors, rings and request headers of a disk |
//! | `console` | the same of a console, with typed input |
//! | `elf` | a kernel image |
//! | `files` | a file table, with the right checksum or without |
//! | `gpt` | a partition table, likewise |
//! | `swap` | the header of a swap area |
//!
//! Owns: the targets. Stays outside: where bytes come from: libFuzzer (`fuzz`), or the corpus and its mutations
//! (the tests here).
//! Invariant: what a run does to RAM, registers and rings is gone before the next one. The contents of the disk and
//! input that a console's guest did not take stay, and no target asserts anything about them.

mod devices;
mod disk;
mod elf;
mod input;
mod rig;

/// Something to fuzz.
pub struct Target {
    /// What it is called, on the command line and as a folder of the corpus.
    pub name: &'static str,
    /// Runs it once.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 7] = [
    Target { name: "transport", run: devices::transport },
    Target { name: "blk", run: devices::blk },
    Target { name: "console", run: devices::console },
    Target { name: "elf", run: elf::elf },
    Target { name: "files", run: disk::files },
    Target { name: "gpt", run: disk::gpt },
    Target { name: "swap", run: disk::swap },
];

/// The target called `name`.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
