//! What libFuzzer tells at the end, and that every target has a corpus.

use super::*;

#[test]
fn statistics_are_found_by_name() {
    let told = "INFO: seed\nDone 12 runs in 1 second(s)\nstat::number_of_executed_units: 12\nstat::new_units_added:          3\n";
    assert_eq!(statistic(told, "number_of_executed_units"), Some("12"));
    assert_eq!(statistic(told, "new_units_added"), Some("3"));
    assert_eq!(statistic(told, "peak_rss_mb"), None);
}

#[test]
fn every_target_has_a_corpus() {
    let repo = Repo::find().unwrap();
    let source = repo.read("fuzz/targets/src/lib.rs").unwrap();
    let targets = targets(&repo).unwrap();
    assert_eq!(source.matches("Target { name: \"").count(), targets.len());
    for name in targets {
        assert!(source.contains(&format!("Target {{ name: \"{name}\"")), "{name}");
    }
}
