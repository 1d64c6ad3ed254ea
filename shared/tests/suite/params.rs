//! Every boot parameter, row by row, against a table written by hand from the user documentation.

use shared::params::{DefaultValue, Kind, SCHEMA, Value, check, default_of, lookup, lookup_sysctl};
use std::collections::BTreeSet;

struct Row<'a> {
    name: &'a str,
    default: &'a str,
    good: &'a str,
    bad: &'a str,
    line: &'a str,
}

fn rows() -> Vec<Row<'static>> {
    let text = include_str!("../fixtures/params.tsv");
    let row = |line: &'static str| {
        let mut columns = line.split('\t');
        let mut next = || columns.next().expect("five columns");
        Row { name: next(), default: next(), good: next(), bad: next(), line: next() }
    };
    text.lines().filter(|line| !line.starts_with('#')).map(row).collect()
}

#[test]
fn table_and_schema_name_the_same_parameters() {
    let table: BTreeSet<_> = rows().iter().map(|row| row.name).collect();
    let schema: BTreeSet<_> = SCHEMA.iter().map(|spec| spec.name).collect();
    assert_eq!(table, schema);
    assert_eq!(SCHEMA.len(), schema.len());
}

#[test]
fn every_name_and_alias_is_found() {
    for spec in SCHEMA {
        for name in core::iter::once(&spec.name).chain(spec.aliases) {
            assert_eq!(lookup(name), Some(spec));
            assert_eq!(lookup(&name.replace('_', "-")), Some(spec), "dash and underscore are equal");
        }
        if let Some(short) = spec.sysctl_name() {
            assert_eq!(lookup_sysctl(short), Some(spec));
        }
    }
    assert_eq!(lookup_sysctl("swap"), None);
    assert_eq!(lookup("disk.12.fs").map(|s| s.name), Some("disk.N.fs"));
    assert_eq!(lookup("zram0.disksize").map(|s| s.name), Some("zramN.disksize"));
    for name in ["", "disk..fs", "disk.x.fs", "no5lv", "no6lvl", "zram0", "Mem", "N"] {
        assert_eq!(lookup(name), None, "{name}");
    }
}

#[test]
fn every_default_is_as_documented_and_accepted() {
    for row in rows() {
        let spec = lookup(row.name).expect("a row of the schema");
        assert_eq!(spec.default.text(), row.default, "{}", row.name);
        match spec.default {
            DefaultValue::Value(text) => {
                assert!(check(spec, Some(text)).is_ok(), "{}={text}", row.name);
                assert!(default_of(spec).is_some());
            }
            DefaultValue::Off if matches!(spec.kind, Kind::Flag | Kind::Bool) => {
                assert_eq!(default_of(spec), Some(Value::Bool(false)));
            }
            _ => assert_eq!(default_of(spec), None, "{}", row.name),
        }
    }
}

#[test]
fn every_good_value_is_taken() {
    for row in rows() {
        let spec = lookup(row.name).expect("a row of the schema");
        let value = check(spec, Some(row.good)).unwrap_or_else(|bad| panic!("{bad}"));
        match spec.kind {
            Kind::Flag => assert_eq!(value, Value::Flag),
            Kind::Enum(_) => assert_eq!(value.as_word(), Some(row.good)),
            Kind::Bool | Kind::Switch => {
                let on = matches!(row.good, "1" | "y" | "Y" | "on");
                assert_eq!(value, Value::Bool(on), "{}", row.name);
            }
            Kind::Text(_) | Kind::Words => assert_eq!(value.as_text(), Some(row.good)),
            Kind::Int(_) => assert_eq!(value, Value::Int(row.good.parse().expect("a plain number"))),
            _ => {}
        }
    }
}

#[test]
fn every_bad_value_prints_its_line() {
    for row in rows() {
        let spec = lookup(row.name).expect("a row of the schema");
        if spec.kind == Kind::Flag {
            assert!(row.bad.is_empty() && check(spec, None).is_ok());
            continue;
        }
        let bad = check(spec, Some(row.bad)).expect_err(row.name);
        assert_eq!(bad.to_string(), row.line);
        assert_eq!(bad.raw, row.bad);
    }
}

#[test]
fn every_parameter_is_described() {
    for spec in SCHEMA {
        assert!(!spec.help.is_empty() && !spec.help.ends_with('.'), "{}", spec.name);
        assert!(spec.help.len() <= 100 && spec.help.is_ascii(), "{}", spec.name);
        assert!(!spec.kind.type_name().is_empty() && !spec.kind.to_string().is_empty());
        assert!(!spec.group.title().is_empty());
        if spec.sysctl_name().is_some() {
            assert!(spec.linux, "{} is a Linux sysctl", spec.name);
        }
    }
    let in_order = SCHEMA.windows(2).all(|pair| pair[0].group as u8 <= pair[1].group as u8);
    assert!(in_order, "the list is sorted by group");
}
