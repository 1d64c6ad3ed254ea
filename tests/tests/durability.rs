//! What has been flushed survives the sudden end of the monitor. `cargo xtask soak` does more of it.

use tests::{kill_rounds, kvm};

#[test]
fn flushed_records_survive_the_kill_of_the_monitor() {
    let Some(host) = kvm() else { return };
    let promised = kill_rounds(host, 10);
    assert!(promised >= 10, "each round waits for its first record: {promised}");
}
