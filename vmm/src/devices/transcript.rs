//! A copy of what the guest printed, for the report.
//!
//! Owns: the bytes, up to a limit. Stays outside: what they mean (`report`). Invariants: the bytes stand in the
//! order in which the guest's devices took them; beyond the limit they are only counted.

use std::sync::{Arc, Mutex, PoisonError};

/// Bytes that are kept.
const LIMIT: usize = 16 << 20;

/// The copy; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Transcript(Arc<Mutex<Kept>>);

/// What there is of the output.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// The beginning of the output.
    pub bytes: Vec<u8>,
    /// Whether there was more.
    pub truncated: bool,
}

impl Transcript {
    /// Adds output.
    pub fn push(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = LIMIT.saturating_sub(kept.bytes.len());
        kept.truncated |= bytes.len() > room;
        kept.bytes.extend(bytes.iter().take(room));
    }

    /// What was added so far.
    pub fn kept(&self) -> Kept {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
