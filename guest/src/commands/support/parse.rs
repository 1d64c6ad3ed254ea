//! Arguments of the memory commands. Every refusal is one line that says what would do.

use crate::commands::{usage, words};
use mm::addr::{NodeId, Order, Pfn, VirtAddr};
use mm::frame::{MigrateType, ZoneKind};
use mm::phys::GfpFlags;
use shared::exit::ExitStatus;
use shared::params;

type Parsed<T> = Result<T, ExitStatus>;

/// A word as key and value; the value of a plain word is `None`.
pub fn setting(word: &str) -> (&str, Option<&str>) {
    word.split_once('=').map_or((word, None), |(key, value)| (key, Some(value)))
}

/// The refusal of an argument that the command does not know.
pub fn unexpected(command: &str, word: &str) -> ExitStatus {
    usage(format_args!("{command}: unexpected argument '{word}'; see help"))
}

/// A number called `what`, decimal or 0x.
pub fn number(what: &str, text: &str) -> Parsed<u64> {
    words::number(text).ok_or_else(|| usage(format_args!("bad {what} '{text}' (a number)")))
}

/// A number called `what` that is not 0.
pub fn count(what: &str, text: &str) -> Parsed<u64> {
    match number(what, text)? {
        0 => Err(usage(format_args!("bad {what} 0 (at least 1)"))),
        n => Ok(n),
    }
}

/// A size in bytes, with a suffix K to T if wanted.
pub fn size(what: &str, text: &str) -> Parsed<u64> {
    params::parse_size(text)
        .ok_or_else(|| usage(format_args!("bad {what} '{text}' (bytes, with K, M, G or T if wanted)")))
}

/// An order.
pub fn order(text: &str) -> Parsed<Order> {
    words::number(text)
        .and_then(|n| Order::new(u32::try_from(n).ok()?))
        .ok_or_else(|| usage(format_args!("bad order {text} (0..{})", Order::MAX.get())))
}

/// A frame number.
pub fn pfn(text: &str) -> Parsed<Pfn> {
    words::number(text).and_then(Pfn::new).ok_or_else(|| usage(format_args!("bad pfn {text}")))
}

/// A virtual address that four-level tables can translate.
pub fn address(text: &str) -> Parsed<VirtAddr> {
    words::number(text)
        .and_then(VirtAddr::new)
        .filter(|va| va.is_canonical(4))
        .ok_or_else(|| usage(format_args!("bad address {text} (a canonical address, 0x...)")))
}

/// Allocation flags: Linux's names, joined by `|`.
pub fn gfp(text: &str) -> Parsed<GfpFlags> {
    let mut flags = GfpFlags::empty();
    for name in text.split('|') {
        flags |= GfpFlags::parse_name(name).ok_or_else(|| {
            usage(format_args!("bad gfp '{name}' (GFP_KERNEL, GFP_DMA, __GFP_MOVABLE, ..., joined by |)"))
        })?;
    }
    Ok(flags)
}

/// A yes or no.
pub fn yes(what: &str, text: &str) -> Parsed<bool> {
    match text {
        "Y" | "y" | "1" | "on" => Ok(true),
        "N" | "n" | "0" | "off" => Ok(false),
        _ => Err(usage(format_args!("bad {what} '{text}' (Y or N)"))),
    }
}

/// A kind of zone.
pub fn zone(text: &str) -> Parsed<ZoneKind> {
    ZoneKind::ALL
        .into_iter()
        .find(|kind| kind.name().eq_ignore_ascii_case(text))
        .ok_or_else(|| usage(format_args!("bad zone '{text}' (DMA, DMA32, Normal, HighMem, Movable)")))
}

/// A node number.
pub fn node(text: &str) -> Parsed<NodeId> {
    words::number(text)
        .and_then(|n| NodeId::new(u32::try_from(n).ok()?))
        .ok_or_else(|| usage(format_args!("bad node {text} (0..{})", NodeId::MAX_NODES - 1)))
}

/// A migrate type.
pub fn migrate_type(text: &str) -> Parsed<MigrateType> {
    MigrateType::ALL.into_iter().find(|mt| mt.name().eq_ignore_ascii_case(text)).ok_or_else(|| {
        usage(format_args!("bad type '{text}' (Unmovable, Movable, Reclaimable, HighAtomic, Isolate)"))
    })
}

/// A time in seconds, with up to nine decimals, as nanoseconds.
pub fn seconds(what: &str, text: &str) -> Parsed<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = decimals.bytes().all(|byte| byte.is_ascii_digit()) && decimals.len() <= 9;
    let scale = 10_u64.pow(9 - decimals.len().min(9) as u32);
    let parts = words::number(whole).zip(if decimals.is_empty() { Some(0) } else { decimals.parse().ok() });
    parts
        .filter(|_| digits)
        .and_then(|(whole, part)| whole.checked_mul(1_000_000_000)?.checked_add(part * scale))
        .ok_or_else(|| usage(format_args!("bad {what} '{text}' (such as 2 or 0.25)")))
}
