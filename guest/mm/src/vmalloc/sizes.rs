//! Lists of free segments by size.
//!
//! Owns: the links `next`, `prev` of free segments. Sizes below 64 pages have a list each, above that 32 lists
//! share a power of two; a word of bits says which lists have anything, so a segment that is surely large enough is
//! found without a search. Source: Masmano et al., "TLSF: a New Dynamic Memory Allocator for Real-Time Systems"
//! (ECRTS 2004).

use super::segment::{Link, Pool, Ref};

/// log2 of the lists for each power of two.
const FINE: u32 = 5;
/// Sizes below this have a list each.
const EXACT: u64 = 2 << FINE;
/// Lists: enough for sizes below 2^34 pages.
const LISTS: usize = 1024;
const WORDS: usize = LISTS / 64;

/// See the module documentation.
pub(super) struct Sizes {
    heads: [Link; LISTS],
    counts: [u32; LISTS],
    filled: [u64; WORDS],
}

/// The list of segments of `pages` pages.
#[inline]
const fn list_of(pages: u64) -> usize {
    if pages < EXACT {
        return pages as usize;
    }
    let top = pages.ilog2();
    let fine = (pages >> (top - FINE)) & ((1 << FINE) - 1);
    let list = ((top - FINE) as u64) << FINE | fine;
    (list + (1 << FINE)) as usize
}

/// The first list on which every segment has at least `pages` pages.
#[inline]
const fn safe_list(pages: u64) -> usize {
    if pages < EXACT {
        return list_of(pages);
    }
    let step = 1 << (pages.ilog2() - FINE);
    list_of(pages + step - 1)
}

const _: () = assert!(list_of(EXACT - 1) + 1 == list_of(EXACT) && list_of((1 << 34) - 1) < LISTS);

impl Sizes {
    pub const fn new() -> Self {
        Self { heads: [None; LISTS], counts: [0; LISTS], filled: [0; WORDS] }
    }

    /// How many segments share the list of this size.
    pub fn count(&self, pages: u64) -> u32 {
        self.counts.get(list_of(pages)).copied().unwrap_or(0)
    }

    /// Puts a segment on the list of its size.
    pub fn insert(&mut self, pool: &mut Pool, new: Ref) {
        let list = list_of(pool.get(new).pages);
        let (Some(head), Some(count)) = (self.heads.get_mut(list), self.counts.get_mut(list)) else { return };
        let old = head.replace(new);
        *count += 1;
        if let Some(old) = old {
            pool.get_mut(old).prev = Some(new);
        }
        let segment = pool.get_mut(new);
        (segment.next, segment.prev) = (old, None);
        if let Some(word) = self.filled.get_mut(list / 64) {
            *word |= 1 << (list % 64);
        }
    }

    /// Takes a segment off the list of its size.
    pub fn remove(&mut self, pool: &mut Pool, gone: Ref) {
        let &segment = pool.get(gone);
        let list = list_of(segment.pages);
        if let Some(next) = segment.next {
            pool.get_mut(next).prev = segment.prev;
        }
        let (Some(head), Some(count)) = (self.heads.get_mut(list), self.counts.get_mut(list)) else { return };
        *count -= 1;
        match segment.prev {
            Some(prev) => pool.get_mut(prev).next = segment.next,
            None => {
                *head = segment.next;
                if let (None, Some(word)) = (segment.next, self.filled.get_mut(list / 64)) {
                    *word &= !(1 << (list % 64));
                }
            }
        }
    }

    /// A segment of at least `pages` pages, still on its list.
    #[inline]
    pub fn find(&self, pool: &Pool, pages: u64) -> Link {
        self.first_from(safe_list(pages)).or_else(|| self.search(pool, pages))
    }

    /// The first segment of the first list from `list` on that has any.
    #[inline]
    fn first_from(&self, list: usize) -> Link {
        let mut above = u64::MAX << (list % 64);
        for (n, word) in self.filled.iter().enumerate().skip(list / 64) {
            let bits = word & above;
            if bits != 0 {
                return *self.heads.get(n * 64 + bits.trailing_zeros() as usize)?;
            }
            above = u64::MAX;
        }
        None
    }

    /// One that is large enough among those that may be: only when address space runs out.
    #[cold]
    fn search(&self, pool: &Pool, pages: u64) -> Link {
        let mut at = *self.heads.get(list_of(pages))?;
        while let Some(segment) = at {
            let here = pool.get(segment);
            if here.pages >= pages {
                return at;
            }
            at = here.next;
        }
        None
    }
}
