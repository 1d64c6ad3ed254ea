//! Facts are whole words.

use super::*;

#[test]
fn facts_are_found_by_their_whole_name() {
    let text = "disk=vda requests=12 us=34\nkvm.vcpu.exits=5\nkvm.vcpu.io_exits=9\n";
    assert_eq!(fact(text, "requests"), Some(12));
    assert_eq!(exits(text).unwrap(), 5);
    assert_eq!(fact(text, "quests"), None);
    assert_eq!(fact(text, "disk"), None);
    assert_eq!(facts("ps=1 reads=2 ps=3", "ps").collect::<Vec<_>>(), [1, 3]);
}
