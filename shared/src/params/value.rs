//! A checked value.
//!
//! Owns the typed result of [`super::check`]. Invariant: a `Value` exists only for text that its parameter
//! accepts, so list values can be iterated without further checks.

use super::forms::{
    ContextSpec, FaultAttr, HugePages, IntList, MemmapList, NumaOption, PsiTrigger, SlabDebug, SwapArea,
    ThpAnon, VirtioMmio,
};

/// A value that fits its parameter. Lists borrow from the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// The flag is present.
    Flag,
    /// A truth value.
    Bool(bool),
    /// An integer or a mask, in the unit of the parameter.
    Int(i64),
    /// Any 64-bit number.
    U64(u64),
    /// A size in bytes.
    Size(u64),
    /// A percentage, 1 to 99.
    Percent(u8),
    /// One of the parameter's words.
    Word(&'static str),
    /// Bytes, with an optional physical start address.
    SizeAt {
        /// Size in bytes.
        size: u64,
        /// Physical address of the first byte.
        start: Option<u64>,
    },
    /// A short list of integers.
    IntList(IntList),
    /// `memmap=`.
    Memmap(MemmapList<'a>),
    /// `slab_debug=`.
    SlabDebug(SlabDebug<'a>),
    /// `hugepages=`.
    HugePages(HugePages<'a>),
    /// `thp_anon=`.
    ThpAnon(ThpAnon<'a>),
    /// `numa=`.
    Numa(NumaOption),
    /// `swap=`.
    Swap(SwapArea<'a>),
    /// `ctx=`.
    Context(ContextSpec<'a>),
    /// `failslab=` and its like.
    Fault(FaultAttr),
    /// `psi.trigger=`.
    PsiTrigger(PsiTrigger),
    /// `virtio_mmio.device=`.
    VirtioMmio(VirtioMmio),
    /// A device name, without `/dev/`.
    Device(&'a str),
    /// Words between commas.
    Words(&'a str),
    /// Text as given.
    Text(&'a str),
}

impl<'a> Value<'a> {
    /// The value as an unsigned number: integers that are not negative, masks, sizes, truth values.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::Bool(on) => Some(u64::from(on)),
            Self::Int(value) => u64::try_from(value).ok(),
            Self::U64(value) | Self::Size(value) | Self::SizeAt { size: value, .. } => Some(value),
            _ => None,
        }
    }

    /// The value as a truth value; a present flag is true.
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Flag => Some(true),
            Self::Bool(on) => Some(on),
            _ => None,
        }
    }

    /// The chosen word of an enumeration.
    #[must_use]
    pub const fn as_word(&self) -> Option<&'static str> {
        match *self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }

    /// The value as text: device names, word lists and strings.
    #[must_use]
    pub const fn as_text(&self) -> Option<&'a str> {
        match *self {
            Self::Device(text) | Self::Words(text) | Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// The value that is used instead of a bad one, where the default is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Substitute<'a> {
    /// The nearest valid integer.
    Int(i64),
    /// The nearest valid size in bytes.
    Size(u64),
    /// The nearest valid size and start in bytes.
    SizeAt {
        /// Size in bytes.
        size: u64,
        /// Physical address of the first byte.
        start: Option<u64>,
    },
    /// The flags that are known.
    SlabDebug(SlabDebug<'a>),
}

impl<'a> From<Substitute<'a>> for Value<'a> {
    fn from(substitute: Substitute<'a>) -> Self {
        match substitute {
            Substitute::Int(value) => Self::Int(value),
            Substitute::Size(size) => Self::Size(size),
            Substitute::SizeAt { size, start } => Self::SizeAt { size, start },
            Substitute::SlabDebug(debug) => Self::SlabDebug(debug),
        }
    }
}
