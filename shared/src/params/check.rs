//! Checks one value against its parameter.
//!
//! Owns ranges, words and the choice of the value that is used instead of a bad one. Forms with a syntax of
//! their own are in [`super::forms`]; rules that join several parameters in [`super::cross`].

use super::bad::BadValue;
use super::forms;
use super::number::{parse_bool, parse_size, parse_u64};
use super::range::{bounded, int_in, size_in, word_of};
use super::spec::{Kind, OnBad, ParamSpec, Problem, Range, SizeRange};
use super::value::{Substitute, Value};

/// Checks `raw` (`None` for a bare name) against `spec`.
///
/// # Errors
/// A [`BadValue`] that knows its text and, where the parameter says so, the value to use instead.
pub fn check<'a>(spec: &'static ParamSpec, raw: Option<&'a str>) -> Result<Value<'a>, BadValue<'a>> {
    let text = raw.unwrap_or("");
    let result = match spec.kind {
        Kind::Flag => Ok(Value::Flag),
        // "No equals means set", as for Linux module parameters.
        Kind::Bool if raw.is_none() => Ok(Value::Bool(true)),
        kind => check_kind(&kind, text),
    };
    result.map_err(|problem| BadValue { spec, raw: text, problem, used: substitute(spec, text, problem) })
}

/// The typed value of `text`, or what is wrong with it.
fn check_kind<'a>(kind: &Kind, text: &'a str) -> Result<Value<'a>, Problem> {
    use Problem::{Malformed, NotListed, TooLarge};
    match *kind {
        Kind::Flag => Ok(Value::Flag),
        Kind::Bool => parse_bool(text).map(Value::Bool).ok_or(Malformed),
        Kind::Switch => match text {
            "0" => Ok(Value::Bool(false)),
            "1" => Ok(Value::Bool(true)),
            _ => Err(Malformed),
        },
        Kind::Int(range) => int_in(range, text).map(Value::Int),
        Kind::Mask(max) => mask(max, text).map(Value::Int),
        Kind::U64 => parse_u64(text).map(Value::U64).ok_or(Malformed),
        Kind::Size(range) => size_in(range, text).map(Value::Size),
        Kind::Pow2(range) => match size_in(range, text)? {
            size if size.is_power_of_two() => Ok(Value::Size(size)),
            _ => Err(Problem::Misaligned),
        },
        Kind::SizeOf(sizes) => {
            let size = parse_size(text).ok_or(Malformed)?;
            if sizes.contains(&size) { Ok(Value::Size(size)) } else { Err(NotListed) }
        }
        Kind::SizeOrPercent(range) => size_or_percent(range, text),
        Kind::SizeAt(range) => size_at(range, text),
        Kind::Enum(words) => word_of(words, text).map(Value::Word).ok_or(NotListed),
        Kind::IntOr(range, words) => match word_of(words, text) {
            Some(word) => Ok(Value::Word(word)),
            None => int_in(range, text).map(Value::Int),
        },
        Kind::IntList(most, range) => forms::IntList::parse(text, most, range).map(Value::IntList),
        Kind::Memmap => forms::MemmapList::parse(text).map(Value::Memmap),
        Kind::SlabDebug => forms::SlabDebug::parse(text).map(Value::SlabDebug),
        Kind::HugePages => forms::HugePages::parse(text).map(Value::HugePages),
        Kind::ThpAnon => forms::ThpAnon::parse(text).map(Value::ThpAnon),
        Kind::Numa => forms::NumaOption::parse(text).map(Value::Numa),
        Kind::Swap => forms::SwapArea::parse(text).map(Value::Swap),
        Kind::Context => forms::ContextSpec::parse(text).map(Value::Context),
        Kind::FaultAttr => forms::FaultAttr::parse(text).map(Value::Fault),
        Kind::PsiTrigger => forms::PsiTrigger::parse(text).map(Value::PsiTrigger),
        Kind::VirtioMmio => forms::VirtioMmio::parse(text).map(Value::VirtioMmio),
        Kind::Device => forms::device_name(text).map(Value::Device),
        Kind::Words if text.split(',').any(str::is_empty) => Err(Malformed),
        Kind::Words => Ok(Value::Words(text)),
        Kind::Text(most) if text.len() > most => Err(TooLarge),
        Kind::Text(_) => Ok(Value::Text(text)),
    }
}

/// The value that stands in for a bad one; `None` means the default.
fn substitute<'a>(spec: &ParamSpec, text: &'a str, problem: Problem) -> Option<Substitute<'a>> {
    match (spec.kind, problem) {
        (Kind::SlabDebug, Problem::UnknownFlag(_)) => {
            Some(Substitute::SlabDebug(forms::SlabDebug::lenient(text)))
        }
        (kind, _) if spec.on_bad == OnBad::Nearest => nearest(&kind, text, problem),
        _ => None,
    }
}

/// The valid value nearest to a number that is out of range.
fn nearest(kind: &Kind, text: &str, problem: Problem) -> Option<Substitute<'static>> {
    match (*kind, problem) {
        (Kind::Int(range), Problem::TooSmall) => Some(Substitute::Int(range.min)),
        (Kind::Int(range), Problem::TooLarge) => Some(Substitute::Int(range.max)),
        (Kind::Size(range) | Kind::Pow2(range), Problem::TooSmall) => Some(Substitute::Size(range.min)),
        (Kind::Size(range) | Kind::Pow2(range), Problem::TooLarge) => Some(Substitute::Size(range.max)),
        (Kind::Pow2(_), Problem::Misaligned) => {
            parse_size(text)?.checked_ilog2().map(|log| Substitute::Size(1 << log))
        }
        (Kind::Size(range), Problem::Misaligned) => {
            parse_size(text).map(|s| Substitute::Size(s - s % range.multiple))
        }
        (Kind::SizeAt(range), Problem::Misaligned) => {
            let (size, start) = split_at(text)?;
            let down = |bytes: u64| bytes - bytes % range.multiple;
            Some(Substitute::SizeAt { size: down(size), start: start.map(down) })
        }
        _ => None,
    }
}

fn mask(max: u32, text: &str) -> Result<i64, Problem> {
    match parse_bool(text) {
        // 1 and 0 are masks, not truth values.
        Some(on) if !text.starts_with(['0', '1']) => Ok(if on { i64::from(max) } else { 0 }),
        _ => int_in(Range::new(0, i64::from(max)), text),
    }
}

fn size_or_percent(range: SizeRange, text: &str) -> Result<Value<'static>, Problem> {
    match text.strip_suffix('%') {
        Some(number) => {
            let percent = int_in(Range::new(1, 99), number)?;
            u8::try_from(percent).map(Value::Percent).map_err(|_| Problem::TooLarge)
        }
        None => size_in(range, text).map(Value::Size),
    }
}

fn split_at(text: &str) -> Option<(u64, Option<u64>)> {
    match text.split_once('@') {
        Some((size, start)) => Some((parse_size(size)?, Some(parse_size(start)?))),
        None => Some((parse_size(text)?, None)),
    }
}

fn size_at(range: SizeRange, text: &str) -> Result<Value<'static>, Problem> {
    let (size, start) = split_at(text).ok_or(Problem::Malformed)?;
    let size = bounded(range, size)?;
    match start {
        Some(start) if !start.is_multiple_of(range.multiple) => Err(Problem::Misaligned),
        _ => Ok(Value::SizeAt { size, start }),
    }
}
