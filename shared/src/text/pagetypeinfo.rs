//! `/proc/pagetypeinfo`. Source: Linux `mm/vmstat.c` (`pagetypeinfo_show`).

use super::ORDERS;
use core::fmt;

/// Largest count that is printed exactly: Linux stops counting a list there and prints `>100000`.
const COUNT_LIMIT: u64 = 100_000;

/// Free blocks and pageblocks of one zone, by migrate type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneTypes<'a> {
    /// Node number.
    pub node: u32,
    /// Zone name, such as `DMA32`.
    pub zone: &'a str,
    /// Free blocks of each order, one row per migrate type.
    pub free: &'a [[u64; ORDERS]],
    /// Pageblocks of each migrate type.
    pub blocks: &'a [u64],
}

/// What all zones share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageTypes<'a> {
    /// Order of a pageblock: 9 on x86-64.
    pub pageblock_order: u32,
    /// Names of the migrate types, in the order of the rows of every zone.
    pub types: &'a [&'a str],
}

impl PageTypes<'_> {
    /// Writes the text up to the free counts of the first zone.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_head(&self, w: &mut dyn fmt::Write) -> fmt::Result {
        let pages = 1u64 << self.pageblock_order;
        write!(w, "Page block order: {}\nPages per block:  {pages}\n\n", self.pageblock_order)?;
        write!(w, "{:<43} ", "Free pages count per migrate type at order")?;
        for order in 0..ORDERS {
            write!(w, "{order:>6} ")?;
        }
        w.write_char('\n')
    }

    /// Writes the free counts of one zone. All zones come before [`Self::write_middle`].
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_free(&self, w: &mut dyn fmt::Write, zone: &ZoneTypes<'_>) -> fmt::Result {
        for (name, free) in self.types.iter().zip(zone.free) {
            write!(w, "Node {:>4}, zone {:>8}, type {name:>12} ", zone.node, zone.zone)?;
            for count in free {
                let mark = if *count >= COUNT_LIMIT { ">" } else { "" };
                write!(w, "{mark}{:>6} ", count.min(&COUNT_LIMIT))?;
            }
            w.write_char('\n')?;
        }
        Ok(())
    }

    /// Writes the heading between free counts and pageblocks.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_middle(&self, w: &mut dyn fmt::Write) -> fmt::Result {
        write!(w, "\n{:<23}", "Number of blocks type ")?;
        for name in self.types {
            write!(w, "{name:>12} ")?;
        }
        w.write_char('\n')
    }

    /// Writes the pageblocks of one zone.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_blocks(&self, w: &mut dyn fmt::Write, zone: &ZoneTypes<'_>) -> fmt::Result {
        write!(w, "Node {}, zone {:>8} ", zone.node, zone.zone)?;
        for count in zone.blocks {
            write!(w, "{count:>12} ")?;
        }
        w.write_char('\n')
    }
}
