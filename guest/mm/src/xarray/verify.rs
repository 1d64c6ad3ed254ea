//! Checking a tree, all of it.
//!
//! Owns: the checks. Stays outside: repair; there is none.

use super::node::{BITS, Mark, Node, SLOTS};
use super::store::parent_of;
use super::tree::{Held, Tree, node_of};
use core::fmt;

/// What is in an array.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Census {
    /// Nodes.
    pub nodes: usize,
    /// Entries, each counted once.
    pub entries: usize,
    /// Those of them that are values.
    pub values: usize,
    /// Entries with each mark.
    pub marked: [usize; Mark::ALL.len()],
}

/// Which invariant does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// A node does not say where it hangs.
    Place,
    /// The counts of a node are not those of its slots.
    Counts,
    /// A node is empty.
    Empty,
    /// The top node only leads to its first slot.
    Level,
    /// A slot belongs to an entry that does not cover it, or an entry covers no power of two of slots.
    Siblings,
    /// There is a way to a node below the lowest level.
    Depth,
    /// A mark is set or missing above what has it, or set where no entry is.
    Marks,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Place => "a node does not say where it hangs",
            Self::Counts => "the counts of a node are not those of its slots",
            Self::Empty => "a node is empty",
            Self::Level => "the top node only leads to its first slot",
            Self::Siblings => "slots belong to an entry that does not cover them",
            Self::Depth => "there is a node below the lowest level",
            Self::Marks => "marks do not agree with what is below them",
        })
    }
}

/// An invariant that has to hold.
const fn expect(holds: bool, otherwise: Violation) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(otherwise) }
}

impl Tree {
    /// Checks every invariant.
    pub(super) fn verify(&self, held: &Held) -> Result<Census, Violation> {
        let (mut census, head) = (Census::default(), self.head());
        let Some(top) = node_of(head, held) else {
            expect(!head.is_internal(), Violation::Depth)?;
            for (mark, count) in Mark::ALL.into_iter().zip(&mut census.marked) {
                *count = usize::from(self.is_marked(mark));
                expect(*count == 0 || !head.is_null(), Violation::Marks)?;
            }
            census.entries = usize::from(!head.is_null());
            census.values = usize::from(head.is_value());
            return Ok(census);
        };
        expect(top.parent().is_none() && top.offset() == 0, Violation::Place)?;
        let first = top.entry(0);
        let stays = top.count() != 1 || first.is_null() || (first.as_node().is_none() && top.shift() != 0);
        expect(stays, Violation::Level)?;
        verify_node(top, held, &mut census)?;
        for mark in Mark::ALL {
            expect(self.is_marked(mark) == (top.marks(mark) != 0), Violation::Marks)?;
        }
        Ok(census)
    }
}

fn verify_node(node: &Node, held: &Held, census: &mut Census) -> Result<(), Violation> {
    census.nodes += 1;
    expect(node.count() != 0, Violation::Empty)?;
    let (mut in_use, mut values, mut marks) = (0, 0, [0_u64; Mark::ALL.len()]);
    let mut offset = 0;
    while offset < SLOTS {
        let entry = node.entry(offset);
        expect(entry.as_sibling().is_none(), Violation::Siblings)?;
        if let Some(child) = node_of(entry, held) {
            expect(node.shift() != 0, Violation::Depth)?;
            let is_here = parent_of(child, held).is_some_and(|parent| core::ptr::eq(parent, node));
            expect(is_here && child.offset() == offset, Violation::Place)?;
            expect(child.shift() + BITS == node.shift(), Violation::Place)?;
            verify_node(child, held, census)?;
            for (mark, bits) in Mark::ALL.into_iter().zip(&mut marks) {
                *bits |= u64::from(child.marks(mark) != 0) << offset;
            }
        }
        let behind = offset + 1..SLOTS;
        let width = 1 + behind.take_while(|&at| node.entry(at).as_sibling() == Some(offset)).count();
        let is_entry = !entry.is_null() && entry.as_node().is_none();
        let is_aligned = width.is_power_of_two() && offset.is_multiple_of(width);
        expect(width == 1 || (is_entry && is_aligned), Violation::Siblings)?;
        if is_entry {
            census.entries += 1;
            census.values += usize::from(entry.is_value());
            values += if entry.is_value() { width } else { 0 };
            for ((mark, bits), count) in Mark::ALL.into_iter().zip(&mut marks).zip(&mut census.marked) {
                let bit = node.marks(mark) & 1 << offset;
                *bits |= bit;
                *count += usize::from(bit != 0);
            }
        }
        in_use += if entry.is_null() { 0 } else { width };
        offset += width;
    }
    expect(in_use == node.count() && values == node.nr_values(), Violation::Counts)?;
    for (mark, bits) in Mark::ALL.into_iter().zip(marks) {
        expect(node.marks(mark) == bits, Violation::Marks)?;
    }
    Ok(())
}
