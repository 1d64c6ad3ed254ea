//! Walks a command line and reports every word.
//!
//! Owns the events, last-one-wins look-ups and their defaults. What to do about a bad value is the
//! consumer's: the guest prints it and goes on, the VMM refuses before boot.

use super::bad::BadValue;
use super::check::check;
use super::lookup::{lookup, same_name};
use super::spec::{DefaultValue, Kind, ParamSpec};
use super::suggest::did_you_mean;
use super::token::{Token, Tokens};
use super::value::Value;
use crate::layout::GUEST_PARAMETERS_SIZE;
use core::fmt;

/// What one word of the command line turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A parameter with a value that fits.
    Known {
        /// The parameter.
        spec: &'static ParamSpec,
        /// The word as written; its name may be an alias or carry a number.
        token: Token<'a>,
        /// The checked value.
        value: Value<'a>,
    },
    /// A parameter with a value that does not fit.
    BadValue(BadValue<'a>),
    /// No parameter of that name.
    Unknown {
        /// The word as written.
        token: Token<'a>,
        /// The closest known name.
        suggestion: Option<&'static str>,
    },
    /// The user's part of the command line is too long. Comes first; the words follow all the same.
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
}

impl Event<'_> {
    /// Whether strict parameters refuse the run because of this.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        !matches!(self, Self::Known { .. })
    }
}

/// The line to print, without a line end: the error, or the notice of a parameter without effect. Empty for
/// a parameter that is fine.
impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known { spec, .. } if spec.notice.is_empty() => Ok(()),
            Self::Known { spec, .. } => write!(f, "mm: {}: {}", spec.name, spec.notice),
            Self::BadValue(bad) => bad.fmt(f),
            Self::Unknown { token, suggestion } => {
                let text = token.text;
                write!(
                    f,
                    "Unknown kernel command line parameters \"{text}\", will be passed to user space."
                )?;
                match suggestion {
                    Some(name) => write!(f, " Did you mean \"{name}\"?"),
                    None => Ok(()),
                }
            }
            Self::TooLong { length } => write!(
                f,
                "guest parameters are {length} bytes long, the limit is {GUEST_PARAMETERS_SIZE}: shorten --append or --run"
            ),
        }
    }
}

/// Reports every word of `cmdline` to `sink`, in order, after a [`Event::TooLong`] if there is one.
pub fn parse<'a>(cmdline: &'a str, sink: &mut dyn FnMut(Event<'a>)) {
    let length = user_length(cmdline);
    if length > GUEST_PARAMETERS_SIZE as usize {
        sink(Event::TooLong { length });
    }
    for token in Tokens::new(cmdline) {
        sink(event(token));
    }
}

fn event(token: Token<'_>) -> Event<'_> {
    match lookup(token.name) {
        None => Event::Unknown { token, suggestion: did_you_mean(token.name) },
        Some(spec) => match check(spec, token.value) {
            Ok(value) => Event::Known { spec, token, value },
            Err(bad) => Event::BadValue(bad),
        },
    }
}

/// Bytes of `cmdline` less the words that the monitor adds and the blank after each.
fn user_length(cmdline: &str) -> usize {
    let added = Tokens::new(cmdline).filter(|t| t.name == "virtio_mmio.device").map(|t| t.text.len() + 1);
    cmdline.trim().len().saturating_sub(added.sum())
}

/// The last word that sets `name` (an alias counts, another number in an indexed name does not).
#[must_use]
pub fn find_last<'a>(cmdline: &'a str, name: &str) -> Option<Token<'a>> {
    occurrences(cmdline, name).last()
}

/// Every word that sets `name`, in order: for parameters that repeat.
pub fn occurrences<'a>(cmdline: &'a str, name: &str) -> impl Iterator<Item = Token<'a>> {
    let wanted = lookup(name).filter(|spec| !spec.is_indexed());
    Tokens::new(cmdline).filter(move |token| {
        same_name(token.name, name)
            || wanted.is_some_and(|spec| lookup(token.name).is_some_and(|s| core::ptr::eq(s, spec)))
    })
}

/// The value in effect: the last one that is valid or has a substitute, else the default. `None` when the
/// name is unknown or its default is absent or computed at boot.
#[must_use]
pub fn effective<'a>(cmdline: &'a str, name: &str) -> Option<Value<'a>> {
    let spec = lookup(name)?;
    let given = occurrences(cmdline, name).filter_map(|token| match check(spec, token.value) {
        Ok(value) => Some(value),
        Err(bad) => bad.used.map(Value::from),
    });
    given.last().or_else(|| default_of(spec))
}

/// The default of `spec` as a value; `None` when it is absent or computed at boot.
#[must_use]
pub fn default_of(spec: &'static ParamSpec) -> Option<Value<'static>> {
    match (spec.default, spec.kind) {
        (DefaultValue::Off, Kind::Flag | Kind::Bool) => Some(Value::Bool(false)),
        (DefaultValue::Value(text), _) => check(spec, Some(text)).ok(),
        _ => None,
    }
}

/// [`effective`] as an unsigned number.
#[must_use]
pub fn get_u64(cmdline: &str, name: &str) -> Option<u64> {
    effective(cmdline, name)?.as_u64()
}

/// [`effective`] as a truth value; a flag that is absent is false unless it is on by default.
#[must_use]
pub fn get_bool(cmdline: &str, name: &str) -> Option<bool> {
    effective(cmdline, name)?.as_bool()
}

/// [`effective`] as one of the words of an enumeration.
#[must_use]
pub fn get_enum(cmdline: &str, name: &str) -> Option<&'static str> {
    effective(cmdline, name)?.as_word()
}
