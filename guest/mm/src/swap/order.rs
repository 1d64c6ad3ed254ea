//! Which area slots come from next (Linux `swap_active_head`, `swap_avail_heads`).
//!
//! Owns: the areas that are on, the highest priority first. Invariants: areas of one priority take turns: whoever was used
//! goes behind the others.

use super::MAX_AREAS;

/// The priority that the first area without one of its own gets; each one after it gets one less.
const FIRST_AUTOMATIC: i32 = -2;

/// See the module documentation.
pub(super) struct Order {
    areas: [(i32, u8); MAX_AREAS],
    len: usize,
    next_automatic: i32,
}

impl Order {
    pub const fn new() -> Self {
        Self { areas: [(0, 0); MAX_AREAS], len: 0, next_automatic: FIRST_AUTOMATIC }
    }

    /// A priority for an area that was given none.
    pub fn automatic(&mut self) -> i32 {
        let priority = self.next_automatic;
        self.next_automatic -= 1;
        priority
    }

    /// Area `area` can be used from now on, after those of the same priority.
    pub fn add(&mut self, area: u8, priority: i32) {
        let at = self.list().iter().position(|&(other, _)| other < priority).unwrap_or(self.len);
        if self.len < MAX_AREAS {
            self.len += 1;
            if let Some(slot) = self.areas.get_mut(self.len - 1) {
                *slot = (priority, area);
            }
            if let Some(part) = self.areas.get_mut(at..self.len) {
                part.rotate_right(1);
            }
        }
    }

    /// It cannot be used any more.
    pub fn remove(&mut self, area: u8) {
        let Some(at) = self.list().iter().position(|&(_, id)| id == area) else { return };
        if let Some(part) = self.areas.get_mut(at..self.len) {
            part.rotate_left(1);
        }
        self.len -= 1;
    }

    fn list(&self) -> &[(i32, u8)] {
        self.areas.get(..self.len).unwrap_or(&[])
    }

    /// All of them in order.
    pub fn all(&self) -> impl Iterator<Item = u8> {
        self.list().iter().map(|&(_, area)| area)
    }

    /// Area `area` is used now: others of its priority come first next time.
    pub fn used(&mut self, area: u8) {
        let Some(at) = self.list().iter().position(|&(_, id)| id == area) else { return };
        let Some(&(priority, _)) = self.areas.get(at) else { return };
        let end = at + self.list().iter().skip(at).take_while(|&&(other, _)| other == priority).count();
        if let Some(part) = self.areas.get_mut(at..end) {
            part.rotate_left(1);
        }
    }
}
