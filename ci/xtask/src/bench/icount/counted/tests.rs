//! Marks and the lines that say what they are.

use super::counts;

#[test]
fn a_row_is_the_mean_of_all_rounds() {
    let rounds: String = (1..=10).map(|n| format!("{}\n{}\n", n * 1000, n * 1000 + n)).collect();
    assert_eq!(counts("vda\r\ncounted=miss ops=1 rounds=10\r\n", &rounds).unwrap(), "\nmiss=5.5\n");
    let two = counts("counted=a ops=2 rounds=1\ncounted=b ops=1 rounds=1\n", "0\n5\n7\n9\n").unwrap();
    assert_eq!(two, "\na=2.5\n\nb=2.0\n");
}

#[test]
fn rounds_and_marks_agree() {
    assert!(counts("counted=a ops=1 rounds=2\n", "1\n2\n").is_err());
    assert!(counts("counted=a ops=1 rounds=1\n", "1\n2\n3\n4\n").is_err());
    assert!(counts("counted=a rounds=1\n", "1\n2\n").is_err());
}
