//! Tests of the token reader on small sources.

use super::{Facts, Marker, read};

fn facts(text: &str) -> Facts {
    read(text, &["phys", "buddy"]).unwrap()
}

fn paths(text: &str) -> Vec<String> {
    facts(text).paths.into_iter().map(|path| path.segments.join("::")).collect()
}

#[test]
fn use_trees_give_every_leaf() {
    let text = "use crate::{addr::{Pfn, Order as O}, port::*, frame::{self}};\nuse crate::sync;";
    assert_eq!(paths(text), ["addr::Pfn", "addr::Order", "port", "frame", "sync"]);
}

#[test]
fn paths_in_code_and_macros_count() {
    let text = "fn f() { assert!(crate::pgtable::walk::<crate::addr::Vpn>(1) == self::g()); }";
    assert_eq!(paths(text), ["pgtable::walk", "addr::Vpn", "phys::buddy::g"]);
}

#[test]
fn supers_climb_from_inline_modules_too() {
    let text = "use super::zone; mod inner { use super::super::super::frame::Table; }";
    assert_eq!(paths(text), ["phys::zone", "frame::Table"]);
}

#[test]
fn the_crate_root_is_an_empty_path() {
    assert_eq!(paths("use crate::*;"), [""]);
}

#[test]
fn visibility_self_values_strings_and_comments_are_no_paths() {
    let text = r#"
        //! See [`crate::reclaim`].
        pub(crate) fn f(&self) -> u8 { let _ = "crate::fault::x"; /* crate::swap::y */ self.n }
    "#;
    assert_eq!(paths(text), Vec::<String>::new());
}

#[test]
fn lines_are_those_of_the_leaf() {
    let found = facts("use crate::{\n    addr::Pfn,\n    port::Cpu,\n};\n").paths;
    assert_eq!(found.iter().map(|path| path.line).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn test_items_add_no_facts_but_tests_and_markers() {
    let text = "
        #[cfg(test)] use crate::reclaim::{a};
        #[cfg(all(test, not(loom)))] mod tests { fn g() { unsafe { crate::fault::h() } } #[ignore] #[test] fn t() {} }
        #[cfg(not(test))] fn real() { crate::addr::zero() }
    ";
    let found = facts(text);
    assert_eq!(found.paths.len(), 1, "{:?}", found.paths);
    assert_eq!(found.functions.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["real"]);
    assert_eq!(found.unsafes, Vec::<usize>::new());
    assert_eq!(found.tests, ["t"]);
    assert_eq!(found.markers, [Marker { line: 3, what: "#[ignore]" }]);
}

#[test]
fn tests_inside_macros_are_found() {
    let text = "proptest! { #![proptest_config(c())] #[test] fn merges(n in 0..9u8) { } } fn helper() {}";
    assert_eq!(facts(text).tests, ["merges"]);
}

#[test]
fn functions_are_measured_from_fn_to_brace() {
    let text = "/// Doc.\n#[inline]\npub const fn f<const N: usize>(a: Bits<{ N }>)\n-> Bits<{ N }, { N }>\nwhere\n    u8: Copy,\n{\n    a\n}\n";
    let found = facts(text).functions;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].line, found[0].length, found[0].name.as_str()), (3, 7, "f"));
}

#[test]
fn declarations_without_a_body_are_no_functions() {
    assert_eq!(facts("trait T { fn f(&self); } type F = fn(u8) -> u8;").functions, []);
}

#[test]
fn nested_functions_are_measured_on_their_own() {
    let names: Vec<_> = facts("fn outer() { fn inner() {} }").functions.into_iter().map(|f| f.name).collect();
    assert_eq!(names, ["outer", "inner"]);
}

#[test]
fn unsafe_words_are_counted_one_by_one() {
    let text = "unsafe impl Send for X {}\n// unsafe\nfn f() { unsafe { g() }; unsafe { h() } }\n#[unsafe(no_mangle)] fn k() {}";
    assert_eq!(facts(text).unsafes, [1, 3, 3, 4]);
}

#[test]
fn markers_are_found_in_code_only() {
    let text = "#![allow(dead_code)]\nfn f() { todo!() }\nfn g() { unimplemented!(\"x\") }\nfn todo() { todo(); \"todo!()\"; }";
    let what: Vec<_> = facts(text).markers.into_iter().map(|marker| (marker.line, marker.what)).collect();
    assert_eq!(what, [(1, "allow(dead_code)"), (2, "todo!"), (3, "unimplemented!")]);
}

#[test]
fn declared_modules_have_lines() {
    assert_eq!(facts("pub mod addr;\n#[cfg(test)]\nmod tests;\nmod port;").modules.len(), 2);
}

#[test]
fn what_is_no_rust_is_an_error_with_a_line() {
    assert_eq!(read("fn f() {\n  \"open\n", &[]).unwrap_err().0, 2);
}
