//! Device names, `swap=` and `virtio_mmio.device=`. Source: Linux `drivers/virtio/virtio_mmio.c` for the
//! last; the options of `swap=` are those of fstab.

use crate::params::number::{memparse, parse_u64};
use crate::params::range::int_in;
use crate::params::spec::{Problem, Range};

/// Largest partition number of a device name.
const PARTITION_MAX: u64 = 128;

/// Checks `vda`..`vdz`, an optional partition number and an optional `/dev/`; returns the bare name.
pub(in crate::params) fn device_name(text: &str) -> Result<&str, Problem> {
    let name = text.strip_prefix("/dev/").unwrap_or(text);
    let rest = name.strip_prefix("vd").ok_or(Problem::NotListed)?;
    let part = rest.strip_prefix(|c: char| c.is_ascii_lowercase()).ok_or(Problem::NotListed)?;
    if part.is_empty() {
        return Ok(name);
    }
    match parse_u64(part) {
        Some(1..=PARTITION_MAX) if !part.starts_with('0') => Ok(name),
        _ => Err(Problem::NotListed),
    }
}

/// What a disk is told that is swapped to: the words of `swapon --discard`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwapDiscard {
    /// All of the area, once, when it is switched on.
    pub once: bool,
    /// Clusters of slots when nothing is in them any more.
    pub pages: bool,
}

impl SwapDiscard {
    /// `discard`, `discard=once` or `discard=pages`.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "discard" => Some(Self { once: true, pages: true }),
            "discard=once" => Some(Self { once: true, pages: false }),
            "discard=pages" => Some(Self { once: false, pages: true }),
            _ => None,
        }
    }
}

/// A checked `swap=` value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwapArea<'a> {
    /// Device (`vdb`, `zram0`) or, with a leading `/`, a file. Whether it exists is known at run time.
    pub device: &'a str,
    /// Priority, -1 to 32767; `None` lets the kernel choose, falling with each area.
    pub priority: Option<i32>,
    /// What its disk is told.
    pub discard: SwapDiscard,
}

impl<'a> SwapArea<'a> {
    pub(in crate::params) fn parse(text: &'a str) -> Result<Self, Problem> {
        let (area, discard) = match text.split_once(',') {
            None => (text, SwapDiscard::default()),
            Some((area, word)) => (area, SwapDiscard::parse(word).ok_or(Problem::NotListed)?),
        };
        let (device, priority) = match area.split_once(':') {
            None => (area, None),
            Some((device, priority)) => {
                let priority = int_in(Range::new(-1, 32767), priority)?;
                (device, Some(i32::try_from(priority).map_err(|_| Problem::TooLarge)?))
            }
        };
        let device = device.strip_prefix("/dev/").unwrap_or(device);
        if device.is_empty() || device.contains(|c: char| c.is_ascii_whitespace()) {
            return Err(Problem::Malformed);
        }
        Ok(Self { device, priority, discard })
    }
}

/// A checked `virtio_mmio.device=` value: `size@base:irq[:id]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtioMmio {
    /// Size of the register window in bytes.
    pub size: u64,
    /// Physical address of the window.
    pub base: u64,
    /// Global system interrupt.
    pub irq: u32,
    /// Platform device number, when given.
    pub id: Option<u32>,
}

impl VirtioMmio {
    pub(in crate::params) fn parse(text: &str) -> Result<Self, Problem> {
        Self::fields(text).ok_or(Problem::Malformed)
    }

    fn fields(text: &str) -> Option<Self> {
        let (size, rest) = memparse(text)?;
        let (base, rest) = memparse(rest.strip_prefix('@')?)?;
        let numbers = rest.strip_prefix(':')?;
        let (irq, id) = match numbers.split_once(':') {
            Some((irq, id)) => (irq, Some(u32::try_from(parse_u64(id)?).ok()?)),
            None => (numbers, None),
        };
        base.checked_add(size)?;
        let irq = u32::try_from(parse_u64(irq)?).ok()?;
        if size == 0 { None } else { Some(Self { size, base, irq, id }) }
    }
}
