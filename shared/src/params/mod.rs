//! The boot parameters: one schema that the guest obeys, the VMM checks before boot and `vmm params` lists.
//!
//! Owns names, types, ranges, defaults and the texts of bad values. Nothing here allocates or panics. What a
//! parameter does stays with the guest. Layers, each using only those before it: numbers and tokens, the
//! description of a parameter, forms with a syntax of their own, checking, the table and its index, the walk
//! over a command line, rules between parameters.

mod bad;
mod check;
mod cross;
mod forms;
mod lookup;
mod number;
mod parse;
mod range;
mod schema;
mod spec;
mod suggest;
mod token;
mod value;

pub use bad::BadValue;
pub use check::check;
pub use cross::{Conflict, Correction, Rule, cross_check};
pub use forms::{
    ContextSpec, FaultAttr, HugePages, INT_LIST_MAX, IntList, MemmapEntry, MemmapList, MemmapType,
    NodeCounts, NumaOption, PsiTrigger, STALLS, SlabDebug, SlabFlags, SlabSelection, SwapArea, SwapDiscard,
    THP_POLICIES, ThpAnon, ThpAnonRule, VirtioMmio,
};
pub use lookup::{lookup, lookup_sysctl};
pub use number::{SizeText, memparse, parse_bool, parse_i64, parse_size, parse_u64};
pub use parse::{Event, default_of, effective, find_last, get_bool, get_enum, get_u64, occurrences, parse};
pub use schema::SCHEMA;
pub use spec::{DefaultValue, Group, Kind, OnBad, ParamSpec, Problem, Range, SYSCTL_PREFIX, SizeRange};
pub use suggest::did_you_mean;
pub use token::{Token, Tokens};
pub use value::{Substitute, Value};
