//! Checking a tree from the root to the last range.

use super::node::{CAPACITY, LEAST, Node};
use super::{LIMIT, MapleTree, MapleViolation};

/// What a tree consists of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Census {
    /// Nodes, leaves included.
    pub nodes: usize,
    /// Ranges.
    pub ranges: usize,
}

/// What was seen of a tree so far.
struct Walk {
    census: Census,
    /// Where the last range ends.
    end: u64,
}

impl Walk {
    /// Checks a node and what is below it. `least` is how many entries it has to have.
    fn node(&mut self, node: &Node<'_>, least: usize) -> Result<(), MapleViolation> {
        let ensure = |holds, what| {
            if holds { Ok(()) } else { Err(MapleViolation { first: node.first(0), what }) }
        };
        self.census.nodes += 1;
        ensure((least..=CAPACITY).contains(&node.len()), "a node has too few or too many entries")?;
        let unused = (node.len()..CAPACITY)
            .all(|at| node.first(at) == u64::MAX && node.bound(at) == 0 && node.is_empty_at(at));
        ensure(unused, "something is left of an entry that is gone")?;
        ensure(
            node.level() != 0 || node.before() == self.end,
            "a leaf does not know where the one before ends",
        )?;
        for at in 0..node.len() {
            let (first, bound) = (node.first(at), node.bound(at));
            if node.level() == 0 {
                ensure(first >= self.end, "ranges overlap or are out of order")?;
                ensure(first < bound && bound <= LIMIT, "a range that cannot be")?;
                ensure(node.value(at).is_some(), "a range has no value")?;
                self.end = bound;
                self.census.ranges += 1;
                continue;
            }
            let child = node.child(at).ok_or(MapleViolation { first, what: "an entry leads to no node" })?;
            ensure(child.level() + 1 == node.level(), "a leaf is not as deep as the others")?;
            ensure(child.first(0) == first, "a key is not the first page below it")?;
            ensure(child.largest_gap() == bound, "the largest gap of a node is wrong")?;
            self.node(child, LEAST)?;
        }
        Ok(())
    }
}

impl<T> MapleTree<'_, T> {
    /// Checks every invariant.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn verify(&self) -> Result<Census, MapleViolation> {
        let mut walk = Walk { census: Census::default(), end: 0 };
        if let Some(root) = self.root() {
            walk.node(root, if root.level() == 0 { 1 } else { 2 })?;
        }
        if walk.census.ranges == self.len {
            Ok(walk.census)
        } else {
            Err(MapleViolation { first: 0, what: "the count of ranges is wrong" })
        }
    }
}
