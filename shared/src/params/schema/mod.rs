//! The table of every boot parameter.
//!
//! Owns [`SCHEMA`]: the groups in the order of the user documentation, each in a file of its own. Looking a
//! name up is [`super::lookup`]. Invariant, checked by the index: no name occurs twice.

mod debug;
mod huge;
mod layout;
mod monitor;
mod numa;
mod oom;
mod page;
mod reclaim;
mod slab;
mod swap;

use super::spec::{DefaultValue, Group, Kind, ParamSpec, Range};

/// The groups and their parameters.
const GROUPS: &[(Group, &[ParamSpec])] = &[
    (Group::Layout, layout::PARAMS),
    (Group::Page, page::PARAMS),
    (Group::Slab, slab::PARAMS),
    (Group::Huge, huge::PARAMS),
    (Group::Numa, numa::PARAMS),
    (Group::Reclaim, reclaim::PARAMS),
    (Group::Swap, swap::PARAMS),
    (Group::Oom, oom::PARAMS),
    (Group::Debug, debug::PARAMS),
    (Group::Monitor, monitor::PARAMS),
];

const fn count() -> usize {
    let mut total = 0;
    let mut group = 0;
    while group < GROUPS.len() {
        total += GROUPS[group].1.len();
        group += 1;
    }
    total
}

const fn join() -> [ParamSpec; count()] {
    let mut all = [layout::PARAMS[0]; count()];
    let mut at = 0;
    let mut group = 0;
    while group < GROUPS.len() {
        let (name, params) = GROUPS[group];
        let mut i = 0;
        while i < params.len() {
            all[at] = params[i].in_group(name);
            at += 1;
            i += 1;
        }
        group += 1;
    }
    all
}

static TABLE: [ParamSpec; count()] = join();

/// Every boot parameter, by group, in the order of the user documentation.
pub static SCHEMA: &[ParamSpec] = &TABLE;

// Shorthands of the group files.

const NONE: DefaultValue = DefaultValue::None;
const OFF: DefaultValue = DefaultValue::Off;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
/// Largest value of a Linux `int` sysctl: in effect no upper limit.
const ANY: i64 = i32::MAX as i64;

const fn is(text: &'static str) -> DefaultValue {
    DefaultValue::Value(text)
}

const fn computed(text: &'static str) -> DefaultValue {
    DefaultValue::Computed(text)
}

const fn int(min: i64, max: i64) -> Kind {
    Kind::Int(Range::new(min, max))
}

/// A sysctl: Linux has it, and a bad value is EINVAL.
const fn sysctl(name: &'static str, kind: Kind, default: DefaultValue, help: &'static str) -> ParamSpec {
    ParamSpec::linux(name, kind, default, help).on_bad(super::spec::OnBad::Einval)
}
