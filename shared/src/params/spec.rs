//! What one boot parameter is: its name, type, range, default and the text of a bad value.
//!
//! Owns the description types and their builder. The table itself is in [`super::schema`], checking a value
//! in [`super::check`]. Invariant: a [`ParamSpec`] is constant data, so host and guest cannot disagree.

use super::number::SizeText;
use core::fmt;

/// A subsystem: how `vmm params` groups the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// Size and layout of memory.
    Layout,
    /// Page allocator and compaction.
    Page,
    /// Slab allocators.
    Slab,
    /// Huge pages, static and transparent.
    Huge,
    /// NUMA topology and balancing.
    Numa,
    /// Reclaim, page cache, writeback.
    Reclaim,
    /// Swap, compressed swap, overcommit.
    Swap,
    /// OOM, contexts, pressure.
    Oom,
    /// Debugging, hardening, fault injection.
    Debug,
    /// Virtio, reporting, the monitor, the console.
    Monitor,
}

impl Group {
    /// Heading of the group.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Layout => "Size and layout",
            Self::Page => "Page allocator and compaction",
            Self::Slab => "Slab",
            Self::Huge => "Huge pages",
            Self::Numa => "NUMA",
            Self::Reclaim => "Reclaim, page cache, writeback",
            Self::Swap => "Swap",
            Self::Oom => "OOM, contexts, pressure",
            Self::Debug => "Debug, hardening, faults",
            Self::Monitor => "Virtio, reporting, monitor",
        }
    }
}

/// An inclusive range of integers, with 0 optionally valid beside it (0 = off).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Smallest value.
    pub min: i64,
    /// Largest value.
    pub max: i64,
    /// Whether 0 is valid even below `min`.
    pub or_zero: bool,
}

impl Range {
    /// `min..=max`.
    #[must_use]
    pub const fn new(min: i64, max: i64) -> Self {
        Self { min, max, or_zero: false }
    }

    /// 0, or `min..=max`.
    #[must_use]
    pub const fn or_zero(min: i64, max: i64) -> Self {
        Self { min, max, or_zero: true }
    }
}

/// An inclusive range of byte sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeRange {
    /// Smallest size in bytes.
    pub min: u64,
    /// Largest size in bytes; `u64::MAX` means that only the machine limits it.
    pub max: u64,
    /// The size must be a multiple of this many bytes.
    pub multiple: u64,
    /// Whether 0 is valid even below `min`.
    pub or_zero: bool,
}

impl SizeRange {
    /// `min..=max` bytes.
    #[must_use]
    pub const fn new(min: u64, max: u64) -> Self {
        Self { min, max, multiple: 1, or_zero: false }
    }

    /// The same range, in steps of `bytes`. A step of 0 does not compile in a constant.
    #[must_use]
    pub const fn multiple(mut self, bytes: u64) -> Self {
        assert!(bytes > 0);
        self.multiple = bytes;
        self
    }

    /// The same range, and 0.
    #[must_use]
    pub const fn or_zero(mut self) -> Self {
        self.or_zero = true;
        self
    }
}

/// The type of a parameter: what its value may look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Presence switches it on; a value is ignored.
    Flag,
    /// Linux `kstrtobool`: 0, 1, y, n, t, f, on, off in any case; the bare name means on.
    Bool,
    /// 0 or 1, as sysctl switches are.
    Switch,
    /// Decimal or 0x integer.
    Int(Range),
    /// Bit mask, or y (every bit) and n (none).
    Mask(u32),
    /// Any unsigned 64-bit number, decimal or 0x.
    U64,
    /// Bytes with a `memparse` suffix.
    Size(SizeRange),
    /// Bytes, a power of two; other sizes inside the range are rounded down.
    Pow2(SizeRange),
    /// One of the listed sizes in bytes.
    SizeOf(&'static [u64]),
    /// Bytes, or a percentage from 1 to 99.
    SizeOrPercent(SizeRange),
    /// Bytes, optionally with a physical start address: `nn[@start]`.
    SizeAt(SizeRange),
    /// One of the listed words.
    Enum(&'static [&'static str]),
    /// An integer in the range, or one of the listed words.
    IntOr(Range, &'static [&'static str]),
    /// One to `usize` integers between blanks or commas; each in the range.
    IntList(usize, Range),
    /// `nn@ss`, `nn$ss`, `nn#ss` or `exactmap`, separated by commas.
    Memmap,
    /// `[FZPUTAO-][,name*][;...]`.
    SlabDebug,
    /// `N` or `node:N,...`.
    HugePages,
    /// `size[-size],...:policy;...`.
    ThpAnon,
    /// `on`, `off`, `noacpi`, `fake=N`, `fake=size[MG]`, `fake=NU`.
    Numa,
    /// `dev[:prio][,discard[=once|pages]]`.
    Swap,
    /// `name:key=value,...`.
    Context,
    /// `interval,probability,space,times`.
    FaultAttr,
    /// `some|full threshold window`.
    PsiTrigger,
    /// `size@base:irq[:id]`.
    VirtioMmio,
    /// `vda`..`vdz`, optionally with a partition number and a `/dev/` prefix.
    Device,
    /// Words between commas.
    Words,
    /// Text of at most so many bytes.
    Text(usize),
}

impl Kind {
    /// Short type name for the parameter list.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Bool | Self::Switch => "bool",
            Self::Int(_) => "int",
            Self::Mask(_) => "bitmask",
            Self::U64 => "u64",
            Self::Size(_) | Self::Pow2(_) | Self::SizeOf(_) | Self::SizeAt(_) => "size",
            Self::SizeOrPercent(_) => "size/percent",
            Self::Enum(_) => "enum",
            Self::IntOr(..) => "int/enum",
            Self::IntList(..) | Self::HugePages => "int list",
            Self::Memmap => "range list",
            Self::SlabDebug => "flags",
            Self::ThpAnon
            | Self::Swap
            | Self::Context
            | Self::PsiTrigger
            | Self::VirtioMmio
            | Self::Words => "list",
            Self::Numa => "enum",
            Self::FaultAttr => "fault",
            Self::Device => "dev",
            Self::Text(_) => "string",
        }
    }
}

/// Renders what values a kind accepts: the text inside the parentheses of a bad-value line.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("no value"),
            Self::Bool => f.write_str("bad bool: 0,1,y,n,on,off"),
            Self::Switch => f.write_str("0,1"),
            Self::Int(range) => write!(f, "{range}"),
            Self::Mask(max) => write!(f, "0..{max},y,n"),
            Self::U64 => f.write_str("0..18446744073709551615, decimal or 0x"),
            Self::Size(range) => write!(f, "{range}"),
            Self::Pow2(range) => write!(f, "{range}, power of two"),
            Self::SizeOf(sizes) => {
                for (i, size) in sizes.iter().enumerate() {
                    write!(f, "{}{}", if i == 0 { "" } else { "," }, SizeText(*size))?;
                }
                Ok(())
            }
            Self::SizeOrPercent(range) => write!(f, "{range}, or 1%..99%"),
            Self::SizeAt(range) => write!(f, "nn[@start], nn {range}"),
            Self::Enum(words) => write_words(f, words),
            Self::IntOr(range, words) => {
                write!(f, "{range},")?;
                write_words(f, words)
            }
            Self::IntList(most, range) => write!(f, "1 to {most} numbers, each {range}"),
            Self::Memmap => f.write_str("nn[@$#]ss, page aligned, or exactmap"),
            Self::SlabDebug => f.write_str("[FZPUTAO-][,name*][;...]"),
            Self::HugePages => f.write_str("N or node:N,..."),
            Self::ThpAnon => f.write_str("size[-size][,...]:always|madvise|never|inherit[;...], sizes 16K..2M"),
            Self::Numa => f.write_str("on,off,noacpi,fake=N,fake=size[MG],fake=NU"),
            Self::Swap => f.write_str("dev[:prio][,discard[=once|pages]], prio -1..32767"),
            Self::Context => f.write_str(
                "name:mem=,min=,low=,high=,max=,nice=-20..19,oom_score_adj=-1000..1000,node=,thp=always|madvise|never",
            ),
            Self::FaultAttr => f.write_str("interval,probability 0..100,space,times >= -1"),
            Self::PsiTrigger => f.write_str("some|full and two numbers, threshold up to window, window 500000..10000000"),
            Self::VirtioMmio => f.write_str("size@base:irq[:id]"),
            Self::Device => f.write_str("vda..vdz[part]"),
            Self::Words => f.write_str("word,..."),
            Self::Text(most) => write!(f, "at most {most} bytes"),
        }
    }
}

fn write_words(f: &mut fmt::Formatter<'_>, words: &[&str]) -> fmt::Result {
    for (i, word) in words.iter().enumerate() {
        write!(f, "{}{word}", if i == 0 { "" } else { "," })?;
    }
    Ok(())
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zero = if self.or_zero { "0 or " } else { "" };
        if self.max == i64::from(i32::MAX) || self.max == i64::MAX {
            write!(f, "{zero}>= {}", self.min)
        } else {
            write!(f, "{zero}{}..{}", self.min, self.max)
        }
    }
}

impl fmt::Display for SizeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zero = if self.or_zero { "0 or " } else { "" };
        if self.max == u64::MAX {
            write!(f, "{zero}{}..RAM", SizeText(self.min))?;
        } else {
            write!(f, "{zero}{}..{}", SizeText(self.min), SizeText(self.max))?;
        }
        if self.multiple > 1 {
            write!(f, ", multiple of {}", SizeText(self.multiple))?;
        }
        Ok(())
    }
}

/// The value of a parameter that is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// Absent: nothing is set, or the list is empty.
    None,
    /// Off.
    Off,
    /// A value that the parameter's own kind accepts.
    Value(&'static str),
    /// Computed from the machine at boot; the text says how.
    Computed(&'static str),
}

impl DefaultValue {
    /// The text of the default, as the parameter list and the bad-value line show it.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Off => "off",
            Self::Value(text) | Self::Computed(text) => text,
        }
    }
}

/// What is wrong with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It does not have the form that the kind asks for.
    Malformed,
    /// Below the smallest value.
    TooSmall,
    /// Above the largest value, or longer than the longest text.
    TooLarge,
    /// Not a multiple of the required step, or not a power of two.
    Misaligned,
    /// A word or size that is not in the list.
    NotListed,
    /// One unknown letter in a set of flags; the others are kept.
    UnknownFlag(char),
}

/// What a bad value leads to, and the text that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBad {
    /// The generic line; the default is used.
    UseDefault,
    /// The generic line with EINVAL, the error a run-time write gets; the default is used.
    Einval,
    /// The generic line; the nearest valid value is used.
    Nearest,
    /// A text of its own (usually Linux's); the default is used. `{v}` is the value, `{c}` a bad letter.
    Text(&'static str),
    /// Such a text for one problem only; the generic line for every other.
    TextFor(Problem, &'static str),
    /// The whole entry is refused and the run ends with status 2.
    Refuse,
}

/// One boot parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParamSpec {
    /// Name as documented. A capital `N` stands for a number (`disk.N.fs`).
    pub name: &'static str,
    /// Other names that mean the same.
    pub aliases: &'static [&'static str],
    /// Type and range.
    pub kind: Kind,
    /// Value when it is not given.
    pub default: DefaultValue,
    /// Unit of a plain number; empty when it has none.
    pub unit: &'static str,
    /// One line on what it does.
    pub help: &'static str,
    /// Where the parameter list shows it.
    pub group: Group,
    /// Whether Linux has a boot parameter or sysctl of this name.
    pub linux: bool,
    /// Whether every occurrence counts, in order; otherwise the last one wins.
    pub repeats: bool,
    /// What a bad value leads to.
    pub on_bad: OnBad,
    /// Said when the parameter is given although it has no effect here; empty otherwise.
    pub notice: &'static str,
}

impl ParamSpec {
    /// A parameter that Linux also has. `group` is filled in by the table.
    #[must_use]
    pub const fn linux(name: &'static str, kind: Kind, default: DefaultValue, help: &'static str) -> Self {
        Self {
            name,
            aliases: &[],
            kind,
            default,
            unit: "",
            help,
            group: Group::Layout,
            linux: true,
            repeats: false,
            on_bad: OnBad::UseDefault,
            notice: "",
        }
    }

    /// A parameter that Linux does not have under this name.
    #[must_use]
    pub const fn new(name: &'static str, kind: Kind, default: DefaultValue, help: &'static str) -> Self {
        let mut spec = Self::linux(name, kind, default, help);
        spec.linux = false;
        spec
    }

    /// With other names.
    #[must_use]
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// With a unit.
    #[must_use]
    pub const fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    /// With a reaction to bad values.
    #[must_use]
    pub const fn on_bad(mut self, on_bad: OnBad) -> Self {
        self.on_bad = on_bad;
        self
    }

    /// Every occurrence counts.
    #[must_use]
    pub const fn repeats(mut self) -> Self {
        self.repeats = true;
        self
    }

    /// With a notice.
    #[must_use]
    pub const fn notice(mut self, notice: &'static str) -> Self {
        self.notice = notice;
        self
    }

    /// In a group.
    #[must_use]
    pub const fn in_group(mut self, group: Group) -> Self {
        self.group = group;
        self
    }

    /// Whether the value can be changed at run time: the name under which `sysctl` knows it.
    #[must_use]
    pub fn sysctl_name(&self) -> Option<&'static str> {
        self.name.strip_prefix(SYSCTL_PREFIX)
    }

    /// Whether the name stands for a family of names, one per number.
    #[must_use]
    pub fn is_indexed(&self) -> bool {
        self.name.contains(INDEX_MARK)
    }
}

/// Prefix of the parameters that `sysctl` can write at run time.
pub const SYSCTL_PREFIX: &str = "sysctl.";

/// The letter that stands for a number in an indexed name.
pub const INDEX_MARK: char = 'N';
