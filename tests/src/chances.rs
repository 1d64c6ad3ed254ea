//! Numbers by chance that follow from a seed, so that a run can be repeated: xorshift64.

/// What comes next.
pub struct Chances(u64);

impl Chances {
    /// Those of `seed`.
    pub fn new(seed: u64) -> Self {
        // Of zero nothing else would come.
        Self(seed | 1)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next().unwrap_or_default() % end
    }
}

impl Iterator for Chances {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Some(self.0)
    }
}
