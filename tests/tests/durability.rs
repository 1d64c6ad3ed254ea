//! What has been flushed survives the sudden end of the monitor. `cargo xtask soak` does more of it.

use tests::{Guest, any_host, kill_file_rounds, kill_rounds, kvm, swap_storms};

use crate::swap_areas::area;

/// The same in every run, so that a change is not told by chance what was wrong before it; soak takes new ones.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

#[test]
fn flushed_records_survive_the_kill_of_the_monitor() {
    let Some(host) = kvm() else { return };
    let promised = kill_rounds(host, 10, SEED);
    assert!(promised >= 10, "each round waits for its first record: {promised}");
}

#[test]
fn what_a_sync_of_a_file_promised_survives_the_kill_of_the_monitor() {
    let Some(host) = kvm() else { return };
    let promised = kill_file_rounds(host, 10, SEED);
    assert!(promised >= 30, "rounds get somewhere: {promised}");
}

#[test]
fn swap_storms_lose_no_page_and_tell_every_error() {
    let Some(host) = kvm() else { return };
    let storms = swap_storms(host, 10, SEED);
    assert!(storms.checked > 10 * 4096, "{storms:?}");
}

/// A page that cannot be read kills who needs it, and nobody else.
#[test]
fn a_page_of_swap_that_cannot_be_read_kills_its_context_only() {
    if kvm().is_none() {
        return;
    }
    let folder = tempfile::TempDir::new().unwrap();
    let swap = area(&folder, "swap.img", 64);
    // A page of the first context: whole clusters are given out first, so the second 2 MiB.
    let guest = Guest::on(any_host()).mem("64M").cpus(1).option("--swap", "none").flag("--stats");
    let guest = guest.disk(&swap, ",error=read@sector:4800").append("swap=vda transparent_hugepage=never");
    let commands = [
        "ctx new A; vm touch 4M; swap out; ctx new B; vm touch 4M; swap out",
        "vm verify",
        "ctx use A; vm verify",
        "ctx list",
        "swap verify",
        "mm verify",
    ];
    let run = guest.run(&commands).start().assert_status(5);
    assert_eq!((run.output(1).number("checked"), run.output(1).number("wrong")), (1024, 0), "{run}");
    assert!(run.output(2).as_str().contains("fault: no page of a file or of swap for read"), "{run}");
    assert!(!run.output(3).as_str().contains("name=A") && run.output(3).as_str().contains("name=B"), "{run}");
    assert_eq!(run.output(4).fact("swap_verify"), "ok", "{run}");
    assert_eq!(run.output(4).number("used"), 1024, "what the dead context had is free: {run}");
    assert!(run.all().number("disk.disk0.errors") > 0, "{run}");
}
