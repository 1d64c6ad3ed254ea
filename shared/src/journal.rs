//! What `file journal` does to its file: a list of operations that follows from a seed, so that whoever knows the seed knows what
//! the file holds after each of them.
//!
//! Owns: the list. Stays outside: doing it (the guest), and what may be left of it after the power has gone (`tests`).
//! Invariants: a word that operation `n` writes is `n`, and zero where the file was cut; sizes and places are whole words.

/// Words that the file has at most: so few pages that there are never too many pieces of it.
pub const WORDS: u64 = 12 * 512;
/// Bytes of a word.
pub const WORD: u64 = 8;
/// Words of a sector.
const SECTOR: u64 = 64;

/// One operation; places and lengths are in words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// Through the cache.
    Write(u64, u64),
    /// Around it: whole sectors.
    Direct(u64, u64),
    /// One word, through a mapping.
    Store(u64),
    /// To so many words.
    Truncate(u64),
    /// Clean pages go.
    Drop,
    /// All of it is read, and must be what was written.
    Read,
    /// It is stable.
    Sync,
}

/// A good mixer (the finalizer of SplitMix64).
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Operation `n`, from 1 on, on a file that has `size` words then.
#[must_use]
pub const fn op(seed: u64, n: u64, size: u64) -> Op {
    let chance = mix(seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let (at, count) = ((chance >> 8) % WORDS, (chance >> 32) % 2560 + 1);
    let count = if count < WORDS - at { count } else { WORDS - at };
    if n.is_multiple_of(16) {
        return Op::Sync;
    }
    match chance % 16 {
        6 | 7 => {
            let (at, count) = (at / SECTOR * SECTOR, count / 8 / SECTOR * SECTOR + SECTOR);
            Op::Direct(at, if count < WORDS - at { count } else { WORDS - at })
        }
        8 | 9 if size != 0 => Op::Store(at % size),
        10 => Op::Truncate(at),
        11 => Op::Drop,
        12 => Op::Read,
        13..=15 => Op::Sync,
        _ => Op::Write(at, count),
    }
}

impl Op {
    /// The words that it writes, as first and end; none for most.
    #[must_use]
    pub const fn written(self) -> (u64, u64) {
        match self {
            Self::Write(at, count) | Self::Direct(at, count) => (at, at + count),
            Self::Store(at) => (at, at + 1),
            _ => (0, 0),
        }
    }

    /// The size after it of a file of `size` words.
    #[must_use]
    pub const fn size_after(self, size: u64) -> u64 {
        match self {
            Self::Truncate(to) => to,
            _ => {
                let (_, end) = self.written();
                if end > size { end } else { size }
            }
        }
    }
}
