//! What strict refuses, and what the list contains.

use super::*;

const RAM: u64 = 512 << 20;

#[test]
fn good_lines_pass_and_bad_ones_are_named() {
    assert_eq!(mistakes("ring=3 sysctl.vm.swappiness=10 run=\"cat /proc/meminfo\"", RAM), [""; 0]);
    let unknown = mistakes("swapines=10", RAM);
    assert_eq!(unknown.len(), 1, "{unknown:?}");
    assert!(unknown[0].contains("\"swapines=10\"") && unknown[0].contains("Did you mean"), "{unknown:?}");
    let bad = mistakes("sysctl.vm.swappiness=201 nosuch", RAM);
    assert_eq!(bad.len(), 2, "{bad:?}");
    let conflict = mistakes("mem=1G", RAM);
    assert_eq!(conflict.len(), 1, "{conflict:?}");
    assert!(
        conflict[0].contains("more than RAM") && conflict[0].contains("--params lenient"),
        "{conflict:?}"
    );
}

#[test]
fn both_lists_have_every_parameter() {
    let parsed: Value = serde_json::from_str(&json()).unwrap();
    assert_eq!(parsed.as_array().unwrap().len(), SCHEMA.len());
    let text = text();
    for (spec, object) in SCHEMA.iter().zip(parsed.as_array().unwrap()) {
        assert_eq!(object["name"], spec.name);
        assert!(text.contains(&format!("  {}", spec.name)), "{}", spec.name);
        assert!(!spec.help.is_empty() && text.contains(spec.help));
    }
}
