//! Tests of reading the guest's answer.

use super::{ROWS, departure, value, verdict};

#[test]
fn numbers_are_read_by_key() {
    let output = "ballast 0.1\r\nbuddy order0_pair=231.5 order9_pair=388\r\n";
    assert_eq!(value(output, "order0_pair").unwrap(), 231.5);
    assert_eq!(value(output, "order9_pair").unwrap(), 388.0);
}

#[test]
fn what_is_missing_or_no_number_is_named() {
    assert!(value("order0_pair=1", "order9_pair").unwrap_err().to_string().ends_with("no order9_pair="));
    assert!(value("order0_pair=-1", "order0_pair").unwrap_err().to_string().ends_with("order0_pair=-1"));
}

#[test]
fn a_count_outside_of_two_per_cent_departs_from_the_record() {
    let record = "order0_pair\t120\nframe_init\t4.1\ndisk_miss\t5000\n";
    let departure = |key, count| departure(record, ROWS.iter().find(|row| row.key == key).unwrap(), count);
    assert_eq!(departure("order0_pair", 122.3), None);
    assert!(departure("order0_pair", 122.5).is_some());
    assert!(departure("order0_pair", 117.5).is_some());
    assert_eq!(departure("frame_init", 4.2), None);
    assert_eq!(departure("disk_miss", 5400.0), None);
    assert_eq!(departure("disk_miss", 4000.0), None, "the disk answered at once");
    assert!(departure("disk_miss", 5600.0).unwrap().contains("within 10 % of 5000"));
    assert!(departure("order9_pair", 120.0).unwrap().contains("not in"));
}

#[test]
fn a_limit_is_kept_up_to_itself() {
    assert_eq!(verdict(113.0, 113.0), "ok");
    assert_eq!(verdict(113.1, 113.0), "missed");
}

#[test]
fn every_row_is_on_record_and_its_aim_is_not_above_its_limit() {
    let record = include_str!("../../../../../tests/data/icount.tsv");
    let recorded: Vec<_> = record.lines().filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(recorded, ROWS.iter().map(|row| row.key).collect::<Vec<_>>());
    assert!(ROWS.iter().all(|row| row.aim.is_none_or(|aim| aim <= row.must)));
}
