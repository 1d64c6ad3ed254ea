//! Clusters: 512 slots in a row, each given out by one CPU at a time, so that what is swapped out together lies together
//! (Linux `struct swap_cluster_info`).
//!
//! Invariants: a cluster is on the list that its state says; one that a CPU gives out is on none.

/// Slots of a cluster (Linux `SWAPFILE_CLUSTER`).
pub(super) const SLOTS: u64 = 512;

/// No cluster.
const NONE: u32 = u32::MAX;

/// Where a cluster is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Place {
    /// A CPU gives its slots out, or they are being given back to the disk.
    #[default]
    Current,
    /// All slots are free.
    Free,
    /// The same, and the disk is to be told first (Linux `discard_clusters`).
    Freed,
    /// Some slots are free.
    Part,
    /// None is.
    Full,
}

/// One cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cluster {
    /// Slots that are taken, or bad.
    pub used: u16,
    pub place: Place,
    next: u32,
    prev: u32,
}

impl Cluster {
    pub const NEW: Self = Self { used: 0, place: Place::Current, next: NONE, prev: NONE };
}

/// Clusters in order of coming.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    first: u32,
    last: u32,
    place: Place,
}

impl List {
    pub const fn new(place: Place) -> Self {
        Self { first: NONE, last: NONE, place }
    }

    /// The first; none of an empty list.
    pub fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    /// Puts cluster `at`, which is on no list, at the end.
    pub fn push(&mut self, clusters: &mut [Cluster], at: u32) {
        let last = self.last;
        if let Some(cluster) = clusters.get_mut(at as usize) {
            (cluster.prev, cluster.next, cluster.place) = (last, NONE, self.place);
        }
        match clusters.get_mut(last as usize) {
            Some(before) => before.next = at,
            None => self.first = at,
        }
        self.last = at;
    }

    /// Takes cluster `at`, which is on this list, off it.
    pub fn remove(&mut self, clusters: &mut [Cluster], at: u32) {
        let Some(cluster) = clusters.get_mut(at as usize) else { return };
        let (prev, next) = (cluster.prev, cluster.next);
        (cluster.prev, cluster.next, cluster.place) = (NONE, NONE, Place::Current);
        match clusters.get_mut(prev as usize) {
            Some(before) => before.next = next,
            None => self.first = next,
        }
        match clusters.get_mut(next as usize) {
            Some(behind) => behind.prev = prev,
            None => self.last = prev,
        }
    }

    /// Takes the first off.
    pub fn pop(&mut self, clusters: &mut [Cluster]) -> Option<u32> {
        let first = self.first()?;
        self.remove(clusters, first);
        Some(first)
    }
}
