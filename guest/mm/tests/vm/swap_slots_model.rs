//! A model of who gets which slot of one swap area, with one CPU (Linux `mm/swapfile.c` since 6.14): clusters of 512 slots;
//! the CPU goes through its cluster once, then takes one that is free, else one that has free slots.

use std::collections::VecDeque;

const CLUSTER: u64 = 512;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Current,
    Free,
    Part,
    Full,
}

/// See the module documentation.
pub struct Slots {
    taken: Vec<bool>,
    places: Vec<Place>,
    free: VecDeque<usize>,
    part: VecDeque<usize>,
    /// The cluster that the CPU goes through, and where it is.
    current: Option<(usize, u64)>,
    pub left: u64,
    pub total: u64,
}

impl Slots {
    /// An area of `slots` slots, the first of which is its header; 0 for none.
    pub fn new(slots: u64) -> Self {
        let clusters = slots.div_ceil(CLUSTER) as usize;
        let good = slots.saturating_sub(1);
        let mut new = Self {
            taken: (0..slots).map(|slot| slot == 0).collect(),
            places: vec![Place::Current; clusters],
            free: VecDeque::new(),
            part: VecDeque::new(),
            current: None,
            left: good,
            total: good,
        };
        (0..clusters).for_each(|cluster| new.put_down(cluster));
        new
    }

    /// Slots of a cluster that cannot be had; those behind the end of the area among them.
    fn used(&self, cluster: usize) -> u64 {
        let first = cluster as u64 * CLUSTER;
        (first..first + CLUSTER).filter(|&slot| self.taken.get(slot as usize) != Some(&false)).count() as u64
    }

    fn put_down(&mut self, cluster: usize) {
        self.places[cluster] = match self.used(cluster) {
            0 => Place::Free,
            CLUSTER => Place::Full,
            _ => Place::Part,
        };
        match self.places[cluster] {
            Place::Free => self.free.push_back(cluster),
            Place::Part => self.part.push_back(cluster),
            _ => {}
        }
    }

    pub fn take(&mut self) -> Option<u64> {
        loop {
            if let Some((cluster, from)) = self.current {
                let end = (cluster as u64 + 1) * CLUSTER;
                let next = (from..end).find(|&slot| self.taken.get(slot as usize) == Some(&false));
                if let Some(slot) = next {
                    self.taken[slot as usize] = true;
                    self.left -= 1;
                    self.current = Some((cluster, slot + 1));
                    return Some(slot);
                }
                self.put_down(cluster);
            }
            let next = self.free.pop_front().or_else(|| self.part.pop_front());
            self.current = next.map(|cluster| (cluster, cluster as u64 * CLUSTER));
            let (cluster, _) = self.current?;
            self.places[cluster] = Place::Current;
        }
    }

    pub fn give(&mut self, slot: u64) {
        let cluster = (slot / CLUSTER) as usize;
        self.taken[slot as usize] = false;
        self.left += 1;
        let is_empty = self.used(cluster) == 0;
        match self.places[cluster] {
            Place::Full => self.put_down(cluster),
            Place::Part if is_empty => {
                self.part.retain(|other| *other != cluster);
                self.put_down(cluster);
            }
            _ => {}
        }
    }

    /// More than half of the slots are taken: pages that are in memory give theirs up.
    pub fn is_half_full(&self) -> bool {
        self.left * 2 < self.total
    }
}
