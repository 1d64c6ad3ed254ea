//! Whole command lines: words, events, last-one-wins, suggestions.

use proptest::prelude::*;
use shared::params::{
    Event, Tokens, Value, did_you_mean, effective, find_last, get_bool, get_enum, get_u64, occurrences, parse,
};

fn words(cmdline: &str) -> Vec<(&str, Option<&str>)> {
    Tokens::new(cmdline).map(|t| (t.name, t.value)).collect()
}

fn lines(cmdline: &str) -> Vec<String> {
    let mut lines = Vec::new();
    parse(cmdline, &mut |event| lines.push(event.to_string()));
    lines
}

#[test]
fn blanks_separate_and_quotes_group() {
    assert_eq!(words(""), []);
    assert_eq!(words(" \t\n "), []);
    assert_eq!(words("quiet  mem=64M\tx="), [("quiet", None), ("mem", Some("64M")), ("x", Some(""))]);
    assert_eq!(words("run=\"a b; c=d\" quiet"), [("run", Some("a b; c=d")), ("quiet", None)]);
    assert_eq!(words("\"run=a b\" quiet"), [("run", Some("a b")), ("quiet", None)]);
    assert_eq!(words("run=a\" b\" x"), [("run", Some("a\" b\"")), ("x", None)]);
    assert_eq!(words("run=\"never closed x"), [("run", Some("never closed x"))]);
    assert_eq!(words("a=b=c \"\" =v"), [("a", Some("b=c")), ("", None), ("", Some("v"))]);
    assert_eq!(words("a -- b"), [("a", None)], "what follows -- is not ours");
    assert_eq!(words("--a"), [("--a", None)]);
}

#[test]
fn good_words_are_silent_and_typed() {
    let mut values = Vec::new();
    parse("mem=64M quiet slub_debug=FZ zram3.disksize=1M", &mut |event| match event {
        Event::Known { spec, value, .. } => values.push((spec.name, value.as_u64())),
        other => panic!("{other}"),
    });
    assert_eq!(
        values,
        [("mem", Some(64 << 20)), ("quiet", None), ("slab_debug", None), ("zramN.disksize", Some(1 << 20))]
    );
    assert_eq!(lines("mem=64M"), [""]);
}

#[test]
fn notices_bad_values_and_unknown_names_print_one_line_each() {
    assert_eq!(lines("hashdist=1"), ["mm: hashdist: not applicable"]);
    assert_eq!(
        lines("sysctl.vm.swappiness=201"),
        ["mm: sysctl.vm.swappiness: bad value \"201\" (EINVAL, 0..200), using 60"]
    );
    assert_eq!(
        lines("frobnicate=7"),
        ["Unknown kernel command line parameters \"frobnicate=7\", will be passed to user space."]
    );
    assert_eq!(
        lines("swpa=vdb"),
        [
            "Unknown kernel command line parameters \"swpa=vdb\", will be passed to user space. Did you mean \"swap\"?"
        ]
    );
    assert_eq!(lines("mem"), ["mm: mem: bad value \"\" (16M..RAM), using all RAM"]);
}

#[test]
fn the_users_part_is_limited_the_monitors_words_are_not_counted() {
    let run = format!("run=\"{}\"", "x".repeat(1490));
    let user = format!("{run} {}", "quiet ".repeat(90));
    assert_eq!(user.trim_end().len(), 2036);
    let devices = " virtio_mmio.device=4K@0xd0000000:5".repeat(8);
    assert!(lines(&format!("{user}{devices}")).iter().all(String::is_empty));
    let longer = format!("{user} initcall_debug{devices}");
    let first = lines(&longer).remove(0);
    assert!(first.starts_with("guest parameters are 2052 bytes long, the limit is 2048"), "{first}");
    let mut errors = 0;
    parse(&longer, &mut |event| errors += usize::from(event.is_error()));
    assert_eq!(errors, 1, "the words are still reported");
}

#[test]
fn the_last_valid_word_wins() {
    let line = "sysctl.vm.swappiness=10 quiet sysctl.vm.swappiness=20 sysctl.vm.swappiness=900 psi=off";
    assert_eq!(find_last(line, "sysctl.vm.swappiness").and_then(|t| t.value), Some("900"));
    assert_eq!(get_u64(line, "sysctl.vm.swappiness"), Some(20));
    assert_eq!(get_bool(line, "quiet"), Some(true));
    assert_eq!(get_bool(line, "psi"), Some(false));
    assert_eq!(get_enum("reclaim=clock reclaim=x", "reclaim"), Some("clock"));
    assert_eq!(get_u64("memtest=5 memtest=99", "memtest"), Some(17), "a clamped value is in effect");
    assert_eq!(get_u64("zones.dma=3M", "zones.dma"), Some(16 << 20));
    assert_eq!(find_last(line, "mem"), None);
}

#[test]
fn defaults_are_in_effect_without_a_word() {
    assert_eq!(get_u64("", "sysctl.vm.swappiness"), Some(60));
    assert_eq!(get_u64("", "damon_reclaim.quota_sz"), Some(128 << 20));
    assert_eq!(get_bool("", "quiet"), Some(false));
    assert_eq!(get_bool("", "slab_merge"), Some(true));
    assert_eq!(get_bool("", "page_owner"), Some(false));
    assert_eq!(get_bool("page_owner", "page_owner"), Some(true));
    assert_eq!(get_enum("", "layout"), Some("native"));
    assert_eq!(get_u64("", "mem"), None, "computed at boot");
    assert_eq!(get_u64("", "swap"), None);
    assert_eq!(get_u64("", "no_such_name"), None);
    assert_eq!(effective("", "slab_debug"), None);
}

#[test]
fn aliases_count_and_indexes_are_kept_apart() {
    let line = "slub_debug=F slab_debug=Z disk.0.fs=vda disk.1.fs=vdb swap=vdb swap=vdc:5";
    assert_eq!(find_last(line, "slub_debug").and_then(|t| t.value), Some("Z"));
    assert_eq!(find_last(line, "disk.0.fs").and_then(|t| t.value), Some("vda"));
    assert_eq!(effective(line, "disk.1.fs"), Some(Value::Device("vdb")));
    assert_eq!(effective(line, "disk.7.fs"), Some(Value::Device("vda")));
    let swaps: Vec<_> = occurrences(line, "swap").filter_map(|t| t.value).collect();
    assert_eq!(swaps, ["vdb", "vdc:5"]);
    assert_eq!(get_u64("sysctl.vm.page_cluster=5", "sysctl.vm.page-cluster"), Some(5));
}

#[test]
fn suggestions_are_close_or_absent() {
    for (typed, meant) in [
        ("swpa", "swap"),
        ("hugepage", "hugepages"),
        ("transparent_hugepages", "transparent_hugepage"),
        ("sysctl.vm.swapiness", "sysctl.vm.swappiness"),
        ("swappiness", "sysctl.vm.swappiness"),
        ("vm.swappiness", "sysctl.vm.swappiness"),
        ("swapiness", "sysctl.vm.swappiness"),
        ("vm.swapiness", "sysctl.vm.swappiness"),
        ("pages_to_scan", "khugepaged.pages_to_scan"),
        ("mme", "mem"),
        ("slub_debgu", "slub_debug"),
    ] {
        assert_eq!(did_you_mean(typed), Some(meant), "{typed}");
    }
    for typed in ["", "x", "frobnicate", "systemd.unit", &"a".repeat(500)] {
        assert_eq!(did_you_mean(typed), None, "{typed}");
    }
}

proptest! {
    /// Any text at all is walked without a panic, and every word lies inside it.
    #[test]
    fn any_command_line_is_walked(line in "\\PC{0,200}") {
        let mut count = 0;
        parse(&line, &mut |event| {
            let _ = event.to_string();
            count += 1;
        });
        prop_assert_eq!(count, Tokens::new(&line).count());
        for token in Tokens::new(&line) {
            prop_assert!(line.contains(token.text));
            prop_assert!(!token.text.is_empty());
        }
    }

    /// Words put together come apart again.
    #[test]
    fn words_survive_joining(values in prop::collection::vec(("[a-z]{1,8}", "[a-z =;]{0,12}"), 0..8)) {
        let line: Vec<_> = values.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let read: Vec<_> = Tokens::new(&line.join("  "))
            .map(|t| (t.name.to_owned(), t.value.expect("a value").to_owned()))
            .collect();
        prop_assert_eq!(read, values);
    }

    /// One edit in a name of some length is found again.
    #[test]
    fn one_edit_is_recovered(index in 0usize..1000, at in 0usize..100) {
        let spec = &shared::params::SCHEMA[index % shared::params::SCHEMA.len()];
        let mut typed = spec.name.to_owned();
        typed.remove(at % typed.len());
        if shared::params::lookup(&typed).is_none() && typed.len() >= 5 {
            let found = did_you_mean(&typed).expect("a suggestion");
            prop_assert!(found.len().abs_diff(typed.len()) <= 3 || found.ends_with(&typed));
        }
    }

    /// Any value for any parameter gives a value or a line, never a panic.
    #[test]
    fn any_value_is_checked(index in 0usize..1000, raw in "[0-9a-zA-Z:;,=@$#%+. -]{0,24}|\\PC{0,8}") {
        let spec = &shared::params::SCHEMA[index % shared::params::SCHEMA.len()];
        match shared::params::check(spec, Some(&raw)) {
            Ok(value) => { let _ = value.as_u64(); }
            Err(bad) => prop_assert!(!bad.to_string().is_empty() && bad.to_string().find(['{', '}']).is_none_or(|_| raw.contains(['{', '}'])), "{}", bad),
        }
    }
}
