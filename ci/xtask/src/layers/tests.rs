//! Tests of the rules on small fixtures.

use std::collections::BTreeMap;

use super::config::Edges;
use super::crates::{Dependency, Package, edges};
use super::{Source, Violation, markers, module_of, ranks, sizes, unsafety};
use crate::repo::is_test_path;
use crate::rust;

fn source(path: &str, text: &str) -> Source {
    let facts = rust::read(text, &module_of(path)).unwrap();
    Source { path: path.to_owned(), text: text.to_owned(), facts, is_test: is_test_path(path) }
}

fn lines(found: &[Violation]) -> Vec<String> {
    found.iter().map(ToString::to_string).collect()
}

fn table() -> BTreeMap<String, u32> {
    [("addr", 0), ("port", 1), ("phys", 3), ("slab", 3)].map(|(name, rank)| (name.to_owned(), rank)).into()
}

fn check_paths(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    ranks::paths(&table(), &source(path, text), &mut found);
    lines(&found)
}

#[test]
fn files_belong_to_modules() {
    assert_eq!(module_of("guest/mm/src/lib.rs"), Vec::<&str>::new());
    assert_eq!(module_of("guest/mm/src/addr.rs"), ["addr"]);
    assert_eq!(module_of("guest/mm/src/phys/mod.rs"), ["phys"]);
    assert_eq!(module_of("guest/mm/src/phys/buddy.rs"), ["phys", "buddy"]);
}

#[test]
fn downward_and_own_paths_are_right() {
    let text = "use super::zone::Zone;\nuse crate::{addr::Pfn, port::Cpu, phys::gfp};";
    assert_eq!(check_paths("guest/mm/src/phys/buddy.rs", text), Vec::<String>::new());
}

#[test]
fn upward_sideways_and_root_paths_are_wrong() {
    let text = "use crate::phys::Zone;\nuse crate::slab;\nuse crate::Mm;\nuse super::*;";
    assert_eq!(
        check_paths("guest/mm/src/port.rs", text),
        [
            "guest/mm/src/port.rs:1: port (rank 1) reaches up to phys (rank 3)",
            "guest/mm/src/port.rs:2: port (rank 1) reaches up to slab (rank 3)",
            "guest/mm/src/port.rs:3: port names crate::Mm, which is no ranked module",
            "guest/mm/src/port.rs:4: port names the crate root, which is above every module",
        ]
    );
    let sideways = check_paths("guest/mm/src/phys/zone.rs", "fn f() { debug_assert!(crate::slab::ok()) }");
    assert_eq!(sideways, ["guest/mm/src/phys/zone.rs:1: phys (rank 3) reaches up to slab (rank 3)"]);
}

#[test]
fn supers_that_leave_the_module_count() {
    let found = check_paths("guest/mm/src/port/cpu.rs", "use super::super::phys::Zone;");
    assert_eq!(found, ["guest/mm/src/port/cpu.rs:1: port (rank 1) reaches up to phys (rank 3)"]);
}

#[test]
fn the_tables_must_agree() {
    let text = "//! | rank | modules |\n//! |---|---|\n//! | 0 | [`addr`] (see [`port::Cpu`]) |\n\
                //! | 2 | [`port`], [`slab`] |\npub mod addr;\npub mod port;\npub mod slab;\npub mod vma;";
    let ranks = [("addr", 0), ("port", 1), ("phys", 3), ("slab", 2)];
    let ranks: BTreeMap<_, _> = ranks.map(|(name, rank)| (name.to_owned(), rank)).into();
    let mut found = Vec::new();
    ranks::check(&ranks, &[source("guest/mm/src/lib.rs", text)], &mut found);
    assert_eq!(
        lines(&found),
        [
            "guest/mm/src/lib.rs:4: the table gives port rank 2, which ci/layers.toml does not",
            "guest/mm/src/lib.rs:1: phys has rank 3 in ci/layers.toml and none in the table of guest/mm/src/lib.rs",
            "guest/mm/src/lib.rs:8: module vma has no rank in ci/layers.toml",
            "ci/layers.toml:1: mm has no module phys",
        ]
    );
}

#[test]
fn tests_of_a_module_may_name_anything() {
    let mut found = Vec::new();
    let files = [source("guest/mm/src/port/tests.rs", "use crate::phys::Zone;")];
    ranks::check(&table(), &files, &mut found);
    assert_eq!(found, []);
}

fn dependency(name: &str, kind: Option<&str>, local: bool) -> Dependency {
    let source = (!local).then(|| "registry+https://github.com/rust-lang/crates.io-index".to_owned());
    Dependency { name: name.to_owned(), kind: kind.map(str::to_owned), source }
}

#[test]
fn packages_keep_their_directions() {
    let allowed = [(
        "mm".to_owned(),
        Edges {
            local: vec![],
            local_dev: vec!["sim".to_owned()],
            external: Some(vec!["bitflags".to_owned()]),
        },
    )];
    let dependencies = vec![
        dependency("bitflags", None, false),
        dependency("proptest", Some("dev"), false),
        dependency("sim", Some("dev"), true),
        dependency("sim", None, true),
        dependency("shared", None, true),
        dependency("spin", None, false),
    ];
    let package = Package { name: "mm".to_owned(), manifest_path: String::new(), dependencies };
    let mut found = Vec::new();
    edges(&package, "guest/mm/Cargo.toml", "[dependencies]\nspin = \"1\"", &allowed.into(), &mut found);
    assert_eq!(
        lines(&found),
        [
            "guest/mm/Cargo.toml:1: mm must not depend on sim (ci/layers.toml)",
            "guest/mm/Cargo.toml:1: mm must not depend on shared (ci/layers.toml)",
            "guest/mm/Cargo.toml:2: mm must not depend on spin (ci/layers.toml)",
        ]
    );
}

#[test]
fn long_files_and_functions_are_found_outside_tests() {
    let function = format!("fn long() {{\n{}}}\n", "    g();\n".repeat(79));
    let file = "// line\n".repeat(501);
    let files = [
        source("vmm/src/a.rs", &function),
        source("vmm/src/b.rs", &file),
        source("vmm/src/a/tests.rs", &function),
        source("tests/src/b.rs", &file),
        source("vmm/src/c.rs", &function.replacen("    g();\n", "", 1)),
    ];
    let mut found = Vec::new();
    sizes::check(&files, &mut found);
    assert_eq!(
        lines(&found),
        [
            "vmm/src/a.rs:1: function long of 81 lines, at most 80",
            "vmm/src/b.rs:501: file of 501 lines, at most 500; split it by responsibility",
        ]
    );
}

#[test]
fn announcements_are_found_as_words() {
    let mut found = Vec::new();
    let text = format!("ok\n// {}: later\nMASTO{}N\n", concat!("TO", "DO"), concat!("TO", "DO"));
    markers::words("a.s", &text, &mut found);
    assert_eq!(lines(&found), [format!("a.s:2: {}", concat!("TO", "DO"))]);
}

#[test]
fn unsafe_code_stays_in_its_budget() {
    let budget = [("table.rs", 1), ("gone.rs", 2), ("fine.rs", 1)];
    let budget = budget.map(|(file, count)| (file.to_owned(), count)).into();
    let files = [
        source("guest/mm/src/table.rs", "fn f() { unsafe { g() } }\nfn h() { unsafe { g() } }"),
        source("guest/mm/src/new.rs", "unsafe impl Send for X {}"),
        source("guest/mm/src/fine.rs", "unsafe fn f() {}"),
        source("guest/mm/src/tests.rs", "unsafe fn f() {}"),
        source("guest/src/main.rs", "unsafe fn f() {}"),
    ];
    let mut found = Vec::new();
    unsafety::check(&[("guest/mm/src".to_owned(), budget)].into(), &files, &mut found);
    assert_eq!(
        lines(&found),
        [
            "guest/mm/src/new.rs:1: 1 times unsafe is over the budget of 0 in ci/budgets.toml",
            "guest/mm/src/table.rs:2: 2 times unsafe is over the budget of 1 in ci/budgets.toml",
            "ci/budgets.toml:1: guest/mm/src/gone.rs holds no unsafe code; remove its budget",
        ]
    );
}
