//! The tree of segments by address: a treap.
//!
//! Owns: the links `left`, `right` and the priorities. Invariants: addresses grow from left to right, priorities fall
//! from the root; priorities are a hash of the address, so the expected depth is logarithmic whatever the order of
//! changes. Source: Seidel and Aragon, "Randomized Search Trees" (Algorithmica 16, 1996).

use super::segment::{Link, Pool, Ref};

/// See the module documentation.
pub(super) struct Index {
    root: Link,
}

/// A link that can be changed.
#[derive(Clone, Copy)]
enum Place {
    Root,
    Left(Ref),
    Right(Ref),
}

/// Scatters addresses (the finalizer of MurmurHash3).
fn priority(start: u64) -> u32 {
    let x = (start ^ (start >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    ((x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53) >> 32) as u32
}

impl Index {
    pub const fn new() -> Self {
        Self { root: None }
    }

    /// The segment with the highest start that is not above `page`.
    #[inline]
    pub fn find(&self, pool: &Pool, page: u64) -> Link {
        let (mut at, mut found) = (self.root, None);
        while let Some(segment) = at {
            let here = pool.get(segment);
            if here.start <= page {
                found = at;
                at = here.right;
            } else {
                at = here.left;
            }
        }
        found
    }

    fn get(&self, pool: &Pool, place: Place) -> Link {
        match place {
            Place::Root => self.root,
            Place::Left(parent) => pool.get(parent).left,
            Place::Right(parent) => pool.get(parent).right,
        }
    }

    fn set(&mut self, pool: &mut Pool, place: Place, to: Link) {
        match place {
            Place::Root => self.root = to,
            Place::Left(parent) => pool.get_mut(parent).left = to,
            Place::Right(parent) => pool.get_mut(parent).right = to,
        }
    }

    /// Adds a segment that starts where no other does.
    pub fn insert(&mut self, pool: &mut Pool, new: Ref) {
        let start = pool.get(new).start;
        let rank = priority(start);
        pool.get_mut(new).priority = rank;
        let mut place = Place::Root;
        let mut below = self.get(pool, place);
        while let Some(at) = below {
            let here = pool.get(at);
            if here.priority < rank {
                break;
            }
            place = if here.start < start { Place::Right(at) } else { Place::Left(at) };
            below = self.get(pool, place);
        }
        self.set(pool, place, Some(new));
        // What was here is divided: what lies before the new segment, and what lies after it.
        let (mut before, mut after) = (Place::Left(new), Place::Right(new));
        while let Some(at) = below {
            if pool.get(at).start < start {
                self.set(pool, before, below);
                before = Place::Right(at);
                below = pool.get(at).right;
            } else {
                self.set(pool, after, below);
                after = Place::Left(at);
                below = pool.get(at).left;
            }
        }
        self.set(pool, before, None);
        self.set(pool, after, None);
    }

    /// Takes a segment out; nothing happens if it is not in.
    pub fn remove(&mut self, pool: &mut Pool, gone: Ref) {
        let start = pool.get(gone).start;
        let mut place = Place::Root;
        loop {
            match self.get(pool, place) {
                None => return,
                Some(at) if at == gone => break,
                Some(at) if pool.get(at).start < start => place = Place::Right(at),
                Some(at) => place = Place::Left(at),
            }
        }
        let (mut low, mut high) = (pool.get(gone).left, pool.get(gone).right);
        while let (Some(a), Some(b)) = (low, high) {
            if pool.get(a).priority > pool.get(b).priority {
                self.set(pool, place, low);
                place = Place::Right(a);
                low = pool.get(a).right;
            } else {
                self.set(pool, place, high);
                place = Place::Left(b);
                high = pool.get(b).left;
            }
        }
        self.set(pool, place, low.or(high));
    }
}
