//! The array as its users hold it.
//!
//! Owns: the tree and its lock, and operations that are complete in themselves: they lock, and where nodes are
//! missing they unlock, allocate and begin again. Invariants: without memory nothing has changed.

use super::supply::{NodeCache, Source, Stock};
use super::tree::{Held, Tree, low_bits};
use super::{Census, Entries, Entry, Found, Locked, Mark, Short, SplitError, Violation, XaError};
use crate::phys::FrameAllocator;
use crate::port::{Cpu, Machine};
use crate::sync::SpinLock;
use crate::sync::rcu::Section;

/// Entries that [`XArray::tag_range`] looks at without letting go of the lock (Linux `XA_CHECK_SCHED`).
const TAG_BATCH: u64 = 4096;

/// See the documentation of [`xarray`](super). Before it goes it has to be emptied with [`XArray::destroy`]: it does
/// not know where its nodes belong.
pub struct XArray {
    lock: SpinLock<Held>,
    tree: Tree,
}

impl XArray {
    /// Nothing anywhere.
    #[must_use]
    pub const fn new() -> Self {
        Self { lock: SpinLock::new(Held::NEW), tree: Tree::new() }
    }

    /// Takes the lock (Linux `xa_lock_irqsave`).
    #[inline(always)]
    pub fn lock<'a, C: Cpu>(&'a self, cpu: &'a C) -> Locked<'a, C> {
        Locked { held: self.lock.lock(cpu), tree: &self.tree }
    }

    /// Takes the lock if it is open.
    pub(super) fn try_lock<'a, C: Cpu>(&'a self, cpu: &'a C) -> Option<Locked<'a, C>> {
        self.lock.try_lock(cpu).map(|held| Locked { held, tree: &self.tree })
    }

    pub(super) const fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Whether nothing stands anywhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tree.head().is_null()
    }

    /// Whether some entry has the mark (Linux `xa_marked`).
    #[must_use]
    pub fn is_marked(&self, mark: Mark) -> bool {
        self.tree.is_marked(mark)
    }

    /// The entry at `index`.
    #[inline(always)]
    pub fn load<S: Section>(&self, section: &S, index: u64) -> Entry {
        self.tree.load(section, index)
    }

    /// The order of the entry at `index`; 0 if there is none.
    pub fn order_at<S: Section>(&self, section: &S, index: u64) -> u32 {
        let cover = self.tree.cover(section, index);
        if cover.entry.is_null() { 0 } else { (cover.last - cover.first).count_ones() }
    }

    /// Whether the entry at `index` has the mark.
    pub fn has_mark<S: Section>(&self, section: &S, index: u64, mark: Mark) -> bool {
        self.tree.has_mark(section, index, mark)
    }

    /// The first entry that stands for an index in `first..=last`, and has the mark if one is asked for.
    #[inline]
    pub fn find<S: Section>(&self, section: &S, first: u64, last: u64, mark: Option<Mark>) -> Option<Found> {
        self.tree.find(section, first, last, mark)
    }

    /// The entries that stand for an index in `first..=last`, each with the first of these, below the last index that there
    /// can be.
    #[inline(always)]
    pub fn entries<'s, S: Section>(&'s self, section: &'s S, first: u64, last: u64) -> Entries<'s, S> {
        Entries::new(&self.tree, section, first, last.min(u64::MAX - 1))
    }

    /// The first index in `first..=last` at which nothing stands.
    pub fn next_hole<S: Section>(&self, section: &S, first: u64, last: u64) -> Option<u64> {
        self.tree.next_gap(section, first, last, Entry::is_null)
    }

    /// The first index in `first..=last` at which no pointer stands: nothing or a value (Linux
    /// `page_cache_next_miss`).
    pub fn next_miss<S: Section>(&self, section: &S, first: u64, last: u64) -> Option<u64> {
        self.tree.next_gap(section, first, last, |entry| !entry.is_pointer())
    }

    /// The last index in `first..=last` at which no pointer stands (Linux `page_cache_prev_miss`).
    pub fn prev_miss<S: Section>(&self, section: &S, first: u64, last: u64) -> Option<u64> {
        self.tree.prev_gap(section, first, last, |entry| !entry.is_pointer())
    }

    /// Does something under the lock, again with more nodes when it falls short.
    #[inline(always)]
    fn change<'s, 'p, M: Machine, F: FrameAllocator<'p>, R>(
        &self,
        source: &Source<'_, 's, 'p, M, F>,
        mut attempt: impl FnMut(&mut Locked<'_, M::Cpu>, &mut Stock<'_, 's, 'p, M>) -> Result<R, Short>,
    ) -> Result<R, XaError> {
        let mut stock = source.cache.stock();
        loop {
            let result = attempt(&mut self.lock(source.cache.machine().cpu()), &mut stock);
            match result {
                Ok(result) => return Ok(result),
                Err(short) => source.fill(&mut stock, short)?,
            }
        }
    }

    /// Makes `entry` stand at `index` and gives what stood there. Where an entry stands for more than one index, all
    /// of it is replaced. Nothing, stored, erases.
    ///
    /// # Errors
    /// [`XaError::NoMemory`].
    #[inline(always)]
    pub fn store<'p, M: Machine, F: FrameAllocator<'p>>(
        &self,
        source: &Source<'_, '_, 'p, M, F>,
        index: u64,
        entry: Entry,
    ) -> Result<Entry, XaError> {
        self.change(source, |array, stock| array.store(index, entry, stock))
    }

    /// As [`Locked::store_order`].
    ///
    /// # Errors
    /// [`XaError::NoMemory`].
    pub fn store_order<'p, M: Machine, F: FrameAllocator<'p>>(
        &self,
        source: &Source<'_, '_, 'p, M, F>,
        index: u64,
        order: u32,
        entry: Entry,
    ) -> Result<Entry, XaError> {
        self.change(source, |array, stock| array.store_order(index, order, entry, stock))
    }

    /// Makes `entry` stand at every index in `first..=last`, as few entries as possible, each as in
    /// [`Locked::store_order`]. Nothing, stored, erases.
    ///
    /// # Errors
    /// [`XaError::NoMemory`].
    pub fn store_range<'p, M: Machine, F: FrameAllocator<'p>>(
        &self,
        source: &Source<'_, '_, 'p, M, F>,
        first: u64,
        last: u64,
        entry: Entry,
    ) -> Result<(), XaError> {
        self.change(source, |array, stock| {
            if entry.is_null() {
                array.erase_range(first, last, stock);
                return Ok(());
            }
            // What one part adds another need not, so this is enough for all.
            let needed = Parts(first, last).map(|(index, order)| array.missing(index, order)).sum();
            if stock.nodes.spare.len() < needed {
                return Err(Short(needed));
            }
            Parts(first, last)
                .try_for_each(|(index, order)| array.store_order(index, order, entry, stock).map(|_| ()))
        })
    }

    /// Makes `new` stand at `index` if `old` stands there. Gives what stood there (Linux `xa_cmpxchg`).
    ///
    /// # Errors
    /// [`XaError::NoMemory`].
    pub fn cmpxchg<'p, M: Machine, F: FrameAllocator<'p>>(
        &self,
        source: &Source<'_, '_, 'p, M, F>,
        index: u64,
        old: Entry,
        new: Entry,
    ) -> Result<Entry, XaError> {
        self.change(source, |array, stock| match array.load(index) {
            found if found == old => array.store(index, new, stock),
            found => Ok(found),
        })
    }

    /// Makes `entry` stand at `index`, where nothing stands (Linux `xa_insert`).
    ///
    /// # Errors
    /// [`XaError::Busy`], [`XaError::NoMemory`].
    pub fn insert<'p, M: Machine, F: FrameAllocator<'p>>(
        &self,
        source: &Source<'_, '_, 'p, M, F>,
        index: u64,
        entry: Entry,
    ) -> Result<(), XaError> {
        let old = self.cmpxchg(source, index, Entry::NULL, entry)?;
        if old.is_null() { Ok(()) } else { Err(XaError::Busy) }
    }

    /// As [`Locked::erase`].
    #[inline]
    pub fn erase<M: Machine>(&self, nodes: &NodeCache<'_, '_, M>, index: u64) -> Entry {
        let mut stock = nodes.stock();
        self.lock(nodes.machine().cpu()).erase(index, &mut stock)
    }

    /// Gives the entry at `index`, if there is one, a mark.
    pub fn set_mark<C: Cpu>(&self, cpu: &C, index: u64, mark: Mark) {
        self.lock(cpu).set_mark(index, mark);
    }

    /// Takes a mark away from the entry at `index`.
    pub fn clear_mark<C: Cpu>(&self, cpu: &C, index: u64, mark: Mark) {
        self.lock(cpu).clear_mark(index, mark);
    }

    /// Gives every entry in `first..=last` that has the mark `from` the mark `to`; how many. The lock is let go of
    /// now and then.
    pub fn tag_range<C: Cpu>(&self, cpu: &C, first: u64, last: u64, from: Mark, to: Mark) -> u64 {
        let (mut total, mut next) = (0, Some(first));
        while let Some(index) = next {
            let done;
            (done, next) = self.lock(cpu).tag_range(index, last, from, to, TAG_BATCH);
            total += done;
        }
        total
    }

    /// As [`Locked::split`].
    ///
    /// # Errors
    /// [`XaError::NoMemory`], [`XaError::TooLarge`].
    pub fn split<'p, M: Machine, F: FrameAllocator<'p>>(
        &self,
        source: &Source<'_, '_, 'p, M, F>,
        index: u64,
        order: u32,
    ) -> Result<(), XaError> {
        self.change(source, |array, stock| match array.split(index, order, stock) {
            Ok(()) => Ok(Ok(())),
            Err(SplitError::Short(short)) => Err(short),
            Err(SplitError::TooLarge) => Ok(Err(XaError::TooLarge)),
        })?
    }

    /// Erases all (Linux `xa_destroy`).
    pub fn destroy<M: Machine>(&self, nodes: &NodeCache<'_, '_, M>) {
        let mut stock = nodes.stock();
        self.lock(nodes.machine().cpu()).clear(&mut stock);
    }

    /// Checks all invariants and counts.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn verify<C: Cpu>(&self, cpu: &C) -> Result<Census, Violation> {
        self.lock(cpu).verify()
    }
}

impl Default for XArray {
    fn default() -> Self {
        Self::new()
    }
}

/// The range from the first index to the second in aligned parts of two to the power of an order.
struct Parts(u64, u64);

impl Iterator for Parts {
    type Item = (u64, u32);

    fn next(&mut self) -> Option<Self::Item> {
        let Self(first, last) = *self;
        if first > last {
            return None;
        }
        let mut order = first.trailing_zeros().min(u64::BITS - 1);
        while last - first < low_bits(order) {
            order -= 1;
        }
        // After the last index there is none: an empty range.
        *self = (first | low_bits(order)).checked_add(1).map_or(Self(1, 0), |next| Self(next, last));
        Some((first, order))
    }
}
