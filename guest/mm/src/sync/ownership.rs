//! The shared word of a slab of objects: who may touch its free list, and what others have freed meanwhile.
//!
//! Owns: the packed word and its protocol, and every memory ordering of it. Stays outside: the objects themselves;
//! their links are written by the caller. Invariants:
//! - `Full`: all objects are in use and nobody owns the slab. Whoever frees one first becomes the owner.
//! - `Owned`: one CPU alone, with interrupts masked, changes the local free list with plain accesses. Others push
//!   onto the chain in this word.
//! - `Node`: the slab is on the partial list of its node; the lock of the node owns it, and everybody pushes.
//!
//! Only the owner leaves `Owned` and only the holder of the lock leaves `Node`, so a CPU that reads itself as the
//! owner needs no atomic access at all. Source: the states are those of Linux's frozen slabs (`mm/slub.c`); the
//! separate chain for other CPUs is that of Leijen, Zorn, de Moura, "Mimalloc: free list sharding in action" (2019).
//!
//! | bits | meaning |
//! |---|---|
//! | 0..16 | how many objects are on the chain |
//! | 16..40 | the first object of the chain, in words from the start of the slab, plus 1; 0 for none |
//! | 40..42 | place |
//! | 48..64 | the owner's CPU number |

use super::atomic::{AtomicU64, Ordering};

const COUNT_MASK: u64 = 0xffff;
const HEAD_SHIFT: u32 = 16;
const HEAD_MASK: u64 = 0xff_ffff << HEAD_SHIFT;
const CHAIN_MASK: u64 = COUNT_MASK | HEAD_MASK;
const PLACE_SHIFT: u32 = 40;
const CPU_SHIFT: u32 = 48;

/// Who owns a slab.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// Nobody: no object is free.
    Full,
    /// A CPU.
    Owned(u32),
    /// The lock of its node.
    Node,
}

impl Place {
    #[inline(always)]
    const fn bits(self) -> u64 {
        match self {
            Self::Full => 0,
            Self::Owned(cpu) => 1 << PLACE_SHIFT | (cpu as u64) << CPU_SHIFT,
            Self::Node => 2 << PLACE_SHIFT,
        }
    }
}

impl Place {
    /// The place as a number that is quick to compare.
    pub(crate) const fn tag(self) -> u32 {
        (self.bits() >> PLACE_SHIFT) as u32
    }

    /// The CPU that owns what has this tag.
    pub(crate) const fn cpu_of(tag: u32) -> u32 {
        tag >> (CPU_SHIFT - PLACE_SHIFT)
    }
}

/// Objects that other CPUs have freed, linked as on a free list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Chain {
    /// The first object, in words from the start of the slab; meaningless without objects.
    pub(crate) first: u32,
    /// How many there are.
    pub(crate) count: u32,
}

/// A value of the word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Word(u64);

impl Word {
    /// Whether a CPU owns the slab, by [`Place::tag`] of that.
    #[inline(always)]
    pub(crate) const fn has_tag(self, tag: u32) -> bool {
        (self.0 >> PLACE_SHIFT) as u32 == tag
    }

    #[inline(always)]
    pub(crate) const fn is(self, place: Place) -> bool {
        self.0 >> PLACE_SHIFT == place.bits() >> PLACE_SHIFT
    }

    pub(crate) const fn place(self) -> Place {
        match self.0 >> PLACE_SHIFT & 3 {
            1 => Place::Owned((self.0 >> CPU_SHIFT) as u32),
            2 => Place::Node,
            _ => Place::Full,
        }
    }

    pub(crate) const fn chain(self) -> Chain {
        let head = (self.0 & HEAD_MASK) >> HEAD_SHIFT;
        Chain { first: head.wrapping_sub(1) as u32, count: (self.0 & COUNT_MASK) as u32 }
    }

    const fn moved(self, place: Place) -> Self {
        Self(self.0 & CHAIN_MASK | place.bits())
    }

    const fn without_chain(self) -> Self {
        Self(self.0 & !CHAIN_MASK)
    }

    const fn pushed(self, object: u32) -> Self {
        let head = (object as u64 + 1) << HEAD_SHIFT & HEAD_MASK;
        Self(self.0 & !CHAIN_MASK | head | (self.0 + 1) & COUNT_MASK)
    }
}

/// What became of an object that this CPU freed without owning the slab.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Freed {
    /// The slab was full and is this CPU's now; the object is on no list yet.
    Claimed,
    /// The object is on the chain of the slab, whose word became this.
    Pushed(Word),
    /// The caller would not link the object to the chain that is there.
    Refused,
}

/// The operations on a word that others use at the same time.
#[derive(Clone, Copy)]
pub(crate) struct RemoteWord<'a>(pub(crate) &'a AtomicU64);

impl RemoteWord<'_> {
    /// The word now.
    #[inline(always)]
    pub(crate) fn load(self) -> Word {
        // Acquire: who sees a place sees what the slab was when it came there.
        Word(self.0.load(Ordering::Acquire))
    }

    /// Sets the word of a slab that nobody else knows.
    pub(crate) fn init(self, place: Place) {
        self.0.store(place.bits(), Ordering::Release);
    }

    fn replace(self, from: Word, to: Word) -> Result<(), Word> {
        // AcqRel: links and free lists written before are seen by who finds the new word, and the other way round.
        match self.0.compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(found) => Err(Word(found)),
        }
    }

    /// Frees `object` (in words from the start of the slab) on `cpu`, which does not own the slab. `link` writes the
    /// object's link to the chain before it, or refuses to.
    #[inline]
    pub(crate) fn free(self, cpu: u32, object: u32, mut link: impl FnMut(Chain) -> bool) -> Freed {
        let mut word = self.load();
        loop {
            let (next, freed) = if word.is(Place::Full) {
                (word.moved(Place::Owned(cpu)), Freed::Claimed)
            } else {
                if !link(word.chain()) {
                    return Freed::Refused;
                }
                let next = word.pushed(object);
                (next, Freed::Pushed(next))
            };
            match self.replace(word, next) {
                Ok(()) => return freed,
                Err(found) => word = found,
            }
        }
    }

    /// Takes the chain off. For the owner, or under the lock of the node.
    pub(crate) fn take_chain(self) -> Chain {
        let mut word = self.load();
        while word.chain().count != 0 {
            match self.replace(word, word.without_chain()) {
                Ok(()) => break,
                Err(found) => word = found,
            }
        }
        word.chain()
    }

    /// Gives up a slab of which this CPU knows no free object; what others have freed meanwhile prevents it.
    pub(crate) fn retire(self, cpu: u32) -> bool {
        let owned = Word(Place::Owned(cpu).bits());
        self.replace(owned, Word(Place::Full.bits())).is_ok()
    }

    /// Hands the slab over, chain included. For the owner, or under the lock of the node.
    pub(crate) fn hand_to(self, place: Place) {
        let mut word = self.load();
        while let Err(found) = self.replace(word, word.moved(place)) {
            word = found;
        }
    }
}
