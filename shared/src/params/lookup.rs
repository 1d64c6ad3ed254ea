//! From a name to its parameter.
//!
//! Owns the sorted index over names and aliases, built when the crate compiles. Invariant: no name occurs
//! twice. As in Linux, `-` and `_` are equal in names.

use super::schema::SCHEMA;
use super::spec::{INDEX_MARK, ParamSpec, SYSCTL_PREFIX};
use core::cmp::Ordering;

/// One name and the position of its parameter in [`SCHEMA`].
#[derive(Clone, Copy)]
struct Key {
    name: &'static str,
    spec: u16,
}

const fn names() -> usize {
    let mut total = 0;
    let mut i = 0;
    while i < SCHEMA.len() {
        total += 1 + SCHEMA[i].aliases.len();
        i += 1;
    }
    total
}

const fn fold(byte: u8) -> u8 {
    if byte == b'-' { b'_' } else { byte }
}

/// Compares two names byte by byte; negative, 0 or positive.
const fn compare(a: &str, b: &str) -> i32 {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut i = 0;
    while i < a.len() && i < b.len() {
        let difference = fold(a[i]) as i32 - fold(b[i]) as i32;
        if difference != 0 {
            return difference;
        }
        i += 1;
    }
    a.len() as i32 - b.len() as i32
}

/// Puts `key` at its place among the first `len` keys of `index`.
const fn insert(index: &mut [Key; names()], len: usize, key: Key) {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = (low + high) / 2;
        let order = compare(index[middle].name, key.name);
        assert!(order != 0, "a parameter name occurs twice");
        if order < 0 {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let mut i = len;
    while i > low {
        index[i] = index[i - 1];
        i -= 1;
    }
    index[low] = key;
}

const fn build() -> [Key; names()] {
    let mut index = [Key { name: "", spec: 0 }; names()];
    let mut len = 0;
    let mut i = 0;
    while i < SCHEMA.len() {
        let key = Key { name: SCHEMA[i].name, spec: i as u16 };
        insert(&mut index, len, key);
        len += 1;
        let mut alias = 0;
        while alias < SCHEMA[i].aliases.len() {
            insert(&mut index, len, Key { name: SCHEMA[i].aliases[alias], ..key });
            len += 1;
            alias += 1;
        }
        i += 1;
    }
    index
}

static INDEX: [Key; names()] = build();

/// The parameter called `name`, by its name, an alias, or an indexed name with a number in it.
#[must_use]
pub fn lookup(name: &str) -> Option<&'static ParamSpec> {
    exact(name.bytes()).or_else(|| indexed(name))
}

/// The parameter that `sysctl` knows as `name` (without the `sysctl.` of the boot parameter).
#[must_use]
pub fn lookup_sysctl(name: &str) -> Option<&'static ParamSpec> {
    exact(SYSCTL_PREFIX.bytes().chain(name.bytes()))
}

/// Whether two names are spelled alike, `-` and `_` being equal.
#[must_use]
pub(super) fn same_name(a: &str, b: &str) -> bool {
    a.bytes().map(fold).eq(b.bytes().map(fold))
}

/// Every name and alias, sorted.
pub(super) fn all_names() -> impl Iterator<Item = &'static str> {
    INDEX.iter().map(|key| key.name)
}

fn exact(name: impl Iterator<Item = u8> + Clone) -> Option<&'static ParamSpec> {
    let order = |key: &Key| -> Ordering { key.name.bytes().map(fold).cmp(name.clone().map(fold)) };
    let at = INDEX.binary_search_by(order).ok()?;
    SCHEMA.get(usize::from(INDEX.get(at)?.spec))
}

/// Finds an indexed name: digits stand where the schema has its mark.
fn indexed(name: &str) -> Option<&'static ParamSpec> {
    let start = name.find(|c: char| c.is_ascii_digit())?;
    let (head, tail) = name.split_at_checked(start)?;
    let tail = tail.trim_start_matches(|c: char| c.is_ascii_digit());
    exact(head.bytes().chain(core::iter::once(INDEX_MARK as u8)).chain(tail.bytes()))
        .filter(|spec| spec.is_indexed())
}
