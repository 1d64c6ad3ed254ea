//! Settings: what every boot parameter says in the end, and what `sysctl` changes at run time.
//!
//! Owns: the walk over the command line at boot with its messages, and one value per parameter. Stays
//! outside: names, types, ranges and texts (`shared::params`), what a setting does (its reader), and
//! parameters that repeat, whose readers walk the command line themselves. Invariants: a stored value has
//! passed its parameter's check; a bad value leaves the old one in place. A setting whose mechanism does not
//! exist yet can be read and written like any other, and boot says so.
//! Source: Linux `kernel/params.c`; `mm/page-writeback.c` and `mm/util.c` for the pairs.

use crate::console;
use crate::machine::CPU;
use crate::memory::{PHYS, shrinkers, swap, vm};
use core::fmt;
use mm::addr::PAGE_SIZE;
use mm::frame::ZoneKind;
use mm::phys::ReserveConfig;
use mm::sync::SpinLock;
use shared::exit::ExitStatus;
use shared::params::{
    self, BadValue, Conflict, DefaultValue, Event, FaultAttr, Kind, OnBad, ParamSpec, SCHEMA, SYSCTL_PREFIX,
    Value,
};

/// The value of each parameter, by its place in the schema; `None` means its default.
static VALUES: SpinLock<[Option<Value<'static>>; SCHEMA.len()]> = SpinLock::new([None; SCHEMA.len()]);

/// Two ways to say the same thing: setting one clears the other, as in Linux.
const EITHER_OR: &[(&str, &str)] = &[
    ("sysctl.vm.dirty_bytes", "sysctl.vm.dirty_ratio"),
    ("sysctl.vm.dirty_background_bytes", "sysctl.vm.dirty_background_ratio"),
    ("sysctl.vm.overcommit_kbytes", "sysctl.vm.overcommit_ratio"),
];

/// Parameters that something reads. All others are checked, stored and shown, and boot says that this is all:
/// a setting that silently does nothing misleads whoever tunes by it.
const EFFECTIVE: &[&str] = &[
    "ring",
    "mem",
    "memmap",
    "zones.dma",
    "zones.dma32",
    "highmem",
    "kernelcore",
    "movablecore",
    "directmap",
    "nogbpages",
    "nohugevmalloc",
    "vmalloc",
    "numa",
    "virtio_mmio.device",
    "swap",
    "noswap",
    "sysctl.vm.page-cluster",
    "nonrot",
    "vma_ra_enabled",
    "slab_allocator",
    "slab_debug",
    "slab_min_order",
    "slab_max_order",
    "slab_min_objects",
    "slab_nomerge",
    "slab_merge",
    "slab_freelist_random",
    "slab_freelist_hardened",
    "slab.reuse",
    "run",
    "run_bytes",
    "stats.interval_ms",
    "psi.trigger",
    "params",
    "page_poison",
    "init_on_alloc",
    "init_on_free",
    "page_owner",
    "debug_pagealloc",
    "debug_atomic_sleep",
    "buddy.merge",
    "hugepagesz",
    "hugepages",
    "default_hugepagesz",
    "failslab",
    "fail_page_alloc",
    "fail_page_alloc.min-order",
    "fail_page_alloc.ignore-gfp-wait",
    "fail_make_request",
    "seed",
    "norandmaps",
    "stack_guard_gap",
    "transparent_hugepage",
    "sysctl.vm.overcommit_memory",
    "sysctl.vm.overcommit_kbytes",
    "sysctl.vm.overcommit_ratio",
    "sysctl.vm.admin_reserve_kbytes",
    "sysctl.vm.user_reserve_kbytes",
    "sysctl.vm.max_map_count",
    "sysctl.vm.mmap_min_addr",
    "fault_around_bytes",
    "read_ahead_kb",
    "sysctl.vm.dirty_ratio",
    "sysctl.vm.dirty_background_ratio",
    "sysctl.vm.dirty_bytes",
    "sysctl.vm.dirty_background_bytes",
    "sysctl.vm.dirty_expire_centisecs",
    "sysctl.vm.dirty_writeback_centisecs",
    "sysctl.vm.nr_overcommit_hugepages",
    MIN_FREE,
    SCALE_FACTOR,
    BOOST_FACTOR,
    DROP_CACHES,
    STAT_INTERVAL,
    LOWMEM_RATIO,
    HIGH_FRACTION,
];

/// Settings that decide how much each zone keeps for whom, and each CPU of a zone.
const RESERVES: &[&str] = &[MIN_FREE, SCALE_FACTOR, BOOST_FACTOR, LOWMEM_RATIO, HIGH_FRACTION];

const SCALE_FACTOR: &str = "sysctl.vm.watermark_scale_factor";
const BOOST_FACTOR: &str = "sysctl.vm.watermark_boost_factor";
const DROP_CACHES: &str = "sysctl.vm.drop_caches";
/// Seconds between looks at what CPUs keep to themselves.
pub const STAT_INTERVAL: &str = "sysctl.vm.stat_interval";
const LOWMEM_RATIO: &str = "sysctl.vm.lowmem_reserve_ratio";
const HIGH_FRACTION: &str = "sysctl.vm.percpu_pagelist_high_fraction";
const MIN_FREE: &str = "sysctl.vm.min_free_kbytes";

/// Why a setting was not changed.
pub enum Refused<'a> {
    /// No sysctl of that name.
    Unknown,
    /// The value does not fit.
    Bad(BadValue<'a>),
    /// The value fits, but not this machine: the largest that would.
    TooMuch(u64),
}

/// Stores what the command line sets, of what is good in it. `ram` is in bytes. Once, before anything is read.
pub fn load(cmdline: &'static str, ram: u64) {
    params::parse(cmdline, &mut |event| match event {
        Event::Known { spec, value, .. } => store(spec, value),
        Event::BadValue(BadValue { spec, used: Some(used), .. }) => store(spec, used.into()),
        Event::BadValue(_) | Event::Unknown { .. } | Event::TooLong { .. } => {}
    });
    params::cross_check(cmdline, ram, &mut |conflict| correct(&conflict));
}

/// Prints a line for everything on the command line that [`load`] could not take as it is.
///
/// # Errors
/// The status to end with: a refused entry, or any mistake at all with `params=strict`.
pub fn complain(cmdline: &str, ram: u64) -> Result<(), ExitStatus> {
    let (mut mistakes, mut refused) = (false, false);
    params::parse(cmdline, &mut |event| {
        mistakes |= event.is_error();
        refused |= matches!(event, Event::BadValue(bad) if bad.is_refused());
        match event {
            Event::Known { spec, .. } if EFFECTIVE.contains(&spec.name) => {}
            Event::Known { spec, .. } if spec.notice.is_empty() => {
                console::print(format_args!("mm: {}: accepted, without effect in this version\n", spec.name));
            }
            _ => console::print(format_args!("{event}\n")),
        }
    });
    params::cross_check(cmdline, ram, &mut |conflict| {
        mistakes = true;
        console::print(format_args!("{conflict}\n"));
    });
    let strict = params::get_enum(cmdline, "params") == Some("strict");
    if refused || (strict && mistakes) { Err(ExitStatus::Usage) } else { Ok(()) }
}

fn correct(conflict: &Conflict) {
    for correction in conflict.corrections.into_iter().flatten() {
        let Some(spec) = params::lookup(correction.name) else { continue };
        let value = correction.value.map(|number| match spec.kind {
            Kind::Bool | Kind::Switch => Value::Bool(number != 0),
            Kind::Size(_) | Kind::SizeOrPercent(_) => Value::Size(number),
            _ => Value::Int(number as i64),
        });
        replace(spec, value);
    }
}

/// Settles the defaults that depend on how much memory there is. Once, when the zones stand.
pub fn settle_defaults() {
    let kb = |pages: u64| pages * (PAGE_SIZE / 1024);
    let lowmem: u64 = PHYS
        .populated_zones()
        .filter(|zone| !matches!(zone.id().kind, ZoneKind::HighMem | ZoneKind::Movable))
        .map(|zone| zone.managed_pages())
        .sum();
    let reserve = kb(PHYS.total_free_pages()) / 32;
    for (name, default) in [
        (MIN_FREE, (kb(lowmem) * 16).isqrt().clamp(128, 256 << 10)),
        ("sysctl.vm.admin_reserve_kbytes", reserve.min(8 << 10)),
        ("sysctl.vm.user_reserve_kbytes", reserve.min(128 << 10)),
    ] {
        if let Some(spec) = params::lookup(name).filter(|spec| stored(spec).is_none()) {
            replace(spec, Some(Value::Int(default as i64)));
        }
    }
}

/// Gives the zones and the CPUs' lists what the settings say. When the CPUs have their lists, and after changes.
pub fn apply_reserves() {
    let mut ratio = [0; ZoneKind::COUNT];
    let spec = params::lookup(LOWMEM_RATIO);
    let default = spec.and_then(params::default_of);
    let value = spec.and_then(value_of);
    // A shorter list leaves the numbers at the end as they were at boot.
    for list in [default, value].into_iter().flatten() {
        let Value::IntList(list) = list else { continue };
        for (slot, number) in ratio.iter_mut().zip(list.values()) {
            *slot = u64::try_from(*number).unwrap_or(0);
        }
    }
    PHYS.set_reserves(&ReserveConfig {
        min_free_kbytes: number(MIN_FREE).unwrap_or(0),
        watermark_scale_factor: number(SCALE_FACTOR).unwrap_or(0),
        watermark_boost_factor: number(BOOST_FACTOR).unwrap_or(0),
        lowmem_reserve_ratio: ratio,
        high_fraction: number(HIGH_FRACTION).unwrap_or(0),
    });
}

fn place(spec: &'static ParamSpec) -> Option<usize> {
    SCHEMA.iter().position(|each| core::ptr::eq(each, spec))
}

fn stored(spec: &'static ParamSpec) -> Option<Value<'static>> {
    place(spec).and_then(|place| VALUES.lock(&CPU).get(place).copied().flatten())
}

fn replace(spec: &'static ParamSpec, value: Option<Value<'static>>) {
    let Some(place) = place(spec) else { return };
    if let Some(slot) = VALUES.lock(&CPU).get_mut(place) {
        *slot = value;
    }
}

/// Stores a value; the other half of its pair, if it has one, becomes 0.
fn store(spec: &'static ParamSpec, value: Value<'static>) {
    // A name that stands for many has no one value.
    if spec.is_indexed() {
        return;
    }
    let before = value_of(spec);
    replace(spec, Some(value));
    if before == Some(value) {
        return;
    }
    let other = EITHER_OR.iter().find_map(|(a, b)| match spec.name {
        name if name == *a => Some(b),
        name if name == *b => Some(a),
        _ => None,
    });
    if let Some(other) = other.and_then(|name| params::lookup(name)) {
        replace(other, Some(Value::Int(0)));
    }
}

/// The value in effect; `None` when the default is absent or the machine's to choose.
fn value_of(spec: &'static ParamSpec) -> Option<Value<'static>> {
    stored(spec).or_else(|| params::default_of(spec))
}

/// The setting called `name`; `None` without one, or when its default is the machine's to choose.
pub fn value(name: &str) -> Option<Value<'static>> {
    value_of(params::lookup(name)?)
}

/// The setting called `name` as a number in its unit, sizes in bytes.
pub fn number(name: &str) -> Option<u64> {
    value_of(params::lookup(name)?)?.as_u64()
}

/// The fault-injection attribute called `name`, if it was given.
pub fn fault(name: &str) -> Option<FaultAttr> {
    match value_of(params::lookup(name)?)? {
        Value::Fault(attr) => Some(attr),
        _ => None,
    }
}

/// Whether the setting called `name` is on.
pub fn is_on(name: &str) -> bool {
    params::lookup(name).and_then(value_of).is_some_and(|value| value.as_bool() == Some(true))
}

/// Every setting that `sysctl` knows, in the order of the schema.
pub fn sysctls() -> impl Iterator<Item = &'static ParamSpec> {
    SCHEMA.iter().filter(|spec| spec.sysctl_name().is_some())
}

/// Changes a setting at run time.
///
/// # Errors
/// [`Refused`]; the old value stays.
pub fn set<'a>(name: &str, text: &'a str) -> Result<&'static ParamSpec, Refused<'a>> {
    let spec = params::lookup_sysctl(name).ok_or(Refused::Unknown)?;
    let value = match params::check(spec, Some(text)).map_err(Refused::Bad)? {
        Value::Bool(on) => Value::Bool(on),
        Value::Int(number) => Value::Int(number),
        Value::Size(size) => Value::Size(size),
        Value::Word(word) => Value::Word(word),
        Value::IntList(list) => Value::IntList(list),
        // No sysctl has another type.
        _ => return Err(Refused::Unknown),
    };
    let quarter = PHYS.total_managed_pages() * (PAGE_SIZE / 1024) / 4;
    if spec.name == MIN_FREE && value.as_u64() > Some(quarter) {
        return Err(Refused::TooMuch(quarter));
    }
    store(spec, value);
    if spec.name == DROP_CACHES && value.as_u64().is_some_and(|what| what & 1 != 0) {
        vm::VM.drop_pagecache();
    }
    if spec.name == DROP_CACHES && value.as_u64().is_some_and(|what| what & 2 != 0) {
        shrinkers::drop_slab();
    }
    if RESERVES.contains(&spec.name) {
        apply_reserves();
    }
    vm::apply_settings();
    swap::apply_settings();
    Ok(spec)
}

/// What `sysctl` shows for a setting: nothing for one that can only be written.
pub struct Shown(pub &'static ParamSpec);

impl Shown {
    /// Whether there is anything to read.
    pub fn is_readable(&self) -> bool {
        self.0.default != DefaultValue::None
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match value_of(self.0) {
            Some(Value::Word(word)) => f.write_str(word),
            Some(Value::IntList(list)) => {
                // A shorter list leaves the numbers at the end as they were at boot.
                let default = params::default_of(self.0);
                let rest = match &default {
                    Some(Value::IntList(default)) => default.values(),
                    _ => &[],
                };
                let numbers = list.values().iter().chain(rest.iter().skip(list.values().len()));
                for (n, number) in numbers.enumerate() {
                    write!(f, "{}{number}", if n == 0 { "" } else { "\t" })?;
                }
                Ok(())
            }
            Some(value) => write!(f, "{}", value.as_u64().unwrap_or(0)),
            None => f.write_str(self.0.default.text()),
        }
    }
}

/// The line for a refused change, without a line end.
pub struct Complaint<'a>(pub &'a str, pub Refused<'a>);

impl fmt::Display for Complaint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name, refused) = self;
        match refused {
            Refused::Unknown => {
                write!(f, "sysctl: no setting called '{name}'")?;
                let close = params::did_you_mean(name).and_then(|known| known.strip_prefix(SYSCTL_PREFIX));
                match close {
                    Some(known) => write!(f, ", did you mean '{known}'?"),
                    None => f.write_str(", see `sysctl -a`"),
                }
            }
            Refused::Bad(bad) if matches!(bad.spec.on_bad, OnBad::TextFor(problem, _) if problem == bad.problem) =>
            {
                write!(f, "EINVAL: {bad}")
            }
            Refused::Bad(bad) => write!(
                f,
                "{name}: bad value \"{}\" (EINVAL, {}), keeping {}",
                bad.raw,
                bad.spec.kind,
                Shown(bad.spec)
            ),
            Refused::TooMuch(most) => {
                write!(f, "{name}: bad value (EINVAL, at most {most}, a quarter of RAM), keeping the old one")
            }
        }
    }
}
