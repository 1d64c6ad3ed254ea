//! What every allocator is measured at.
//!
//! Owns: the loops. They are generic, so that each allocator's code is compiled into them as into a user's.
//! Invariant: every loop gives back what it took.

use std::any::Any;
use std::hint::black_box;
use std::sync::{Arc, Barrier, Mutex};

use crate::time::thread_ns;

/// How long a sample of pairs takes, in nanoseconds.
const SAMPLE_NS: f64 = 2e6;
/// Operations that say how many fit a sample.
const PROBE: usize = 256;
/// Blocks held at once by [`Kind::Lifo`].
const DEPTH: usize = 32;

/// What a loop does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Takes one and gives it back.
    Pair,
    /// The same while one block is held, so that splits and merges need not go all the way.
    Beside,
    /// Takes 32 and gives them back, last first.
    Lifo,
    /// Takes many, then gives them back in random order.
    Batch,
    /// Takes many and gives back, in random order, those of the other thread.
    Exchange,
}

/// One row of measurements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Work {
    /// What is done.
    pub kind: Kind,
    /// Bytes of an object, order of a block.
    pub size: u32,
    /// How many a batch has.
    pub count: usize,
    /// How many threads do it at the same time.
    pub threads: usize,
}

impl Work {
    /// The operations that it times.
    pub fn metrics(self) -> &'static [&'static str] {
        match self.kind {
            Kind::Pair => &["pair"],
            Kind::Beside => &["pair_beside"],
            Kind::Lifo => &["lifo32"],
            Kind::Batch => &["alloc", "free_random"],
            Kind::Exchange => &["free_other_cpu"],
        }
    }

    /// Its operations in one word.
    pub fn name(self) -> String {
        self.metrics().join("+")
    }
}

/// One thread's place in a measurement.
pub struct Seat {
    /// Its number.
    pub index: usize,
    /// Where all threads meet.
    pub barrier: Arc<Barrier>,
    /// Batches on their way to another thread.
    pub swap: Arc<Mutex<Vec<Parcel>>>,
}

/// A batch, and the number of the thread that took it.
pub type Parcel = (usize, Box<dyn Any + Send>);

/// An allocator of pages or objects.
pub trait Allocator: Send + Sync + 'static {
    /// What names a block.
    type Item: Copy + Send + 'static;

    /// Its name in the table.
    fn name(&self) -> &'static str;

    /// Takes a block of a size.
    fn take(&self, size: u32) -> Option<Self::Item>;

    /// Gives a block back.
    ///
    /// # Safety
    /// It came from [`Allocator::take`] of this allocator with this size and was not given back since.
    unsafe fn give(&self, item: Self::Item, size: u32);
}

/// An allocator behind a pointer.
pub trait Subject: Send + Sync {
    /// Its name in the table.
    fn name(&self) -> &'static str;

    /// Nanoseconds of each operation of `work`, once.
    fn sample(&self, work: Work, seat: &Seat) -> Vec<f64>;
}

impl<A: Allocator> Subject for A {
    fn name(&self) -> &'static str {
        Allocator::name(self)
    }

    fn sample(&self, work: Work, seat: &Seat) -> Vec<f64> {
        seat.barrier.wait();
        match work.kind {
            Kind::Pair => vec![timed(|ops| pairs(self, work.size, ops))],
            Kind::Beside => vec![beside(self, work.size)],
            Kind::Lifo => vec![timed(|ops| lifo(self, work.size, ops))],
            Kind::Batch => batch(self, work, seat),
            Kind::Exchange => exchange(self, work, seat),
        }
    }
}

/// Nanoseconds of one operation, from as many as fill a sample.
fn timed(run: impl Fn(usize)) -> f64 {
    let once = |ops: usize| {
        let start = thread_ns();
        run(ops);
        (thread_ns() - start) / ops as f64
    };
    let ops = (SAMPLE_NS / once(PROBE).max(0.5)) as usize;
    once(ops.max(PROBE))
}

fn take<A: Allocator>(from: &A, size: u32) -> A::Item {
    match from.take(size) {
        Some(item) => item,
        None => panic!("{} has no memory left", from.name()),
    }
}

fn pairs<A: Allocator>(from: &A, size: u32, ops: usize) {
    for _ in 0..ops {
        let item = black_box(take(from, size));
        // SAFETY: taken just now.
        unsafe { from.give(item, size) };
    }
}

fn beside<A: Allocator>(from: &A, size: u32) -> f64 {
    let held = take(from, size);
    let ns = timed(|ops| pairs(from, size, ops));
    // SAFETY: taken above.
    unsafe { from.give(held, size) };
    ns
}

fn lifo<A: Allocator>(from: &A, size: u32, ops: usize) {
    for _ in 0..ops.div_ceil(DEPTH) {
        let items: [A::Item; DEPTH] = std::array::from_fn(|_| black_box(take(from, size)));
        for item in items.into_iter().rev() {
            // SAFETY: taken just now, each given back once.
            unsafe { from.give(item, size) };
        }
    }
}

/// Takes `count` and the time of it.
fn take_all<A: Allocator>(from: &A, work: Work, items: &mut Vec<A::Item>) -> f64 {
    let start = thread_ns();
    for _ in 0..work.count {
        items.push(take(from, work.size));
    }
    (thread_ns() - start) / work.count as f64
}

/// Gives all back and the time of it.
///
/// # Safety
/// They were taken from `to` with the size of `work`, and nobody else gives them back.
unsafe fn give_all<A: Allocator>(to: &A, work: Work, items: Vec<A::Item>) -> f64 {
    let start = thread_ns();
    for item in items {
        // SAFETY: promised by the caller.
        unsafe { to.give(item, work.size) };
    }
    (thread_ns() - start) / work.count as f64
}

fn batch<A: Allocator>(on: &A, work: Work, seat: &Seat) -> Vec<f64> {
    let mut items = Vec::with_capacity(work.count);
    let alloc = take_all(on, work, &mut items);
    shuffle(&mut items, seat.index as u64 + 1);
    seat.barrier.wait();
    // SAFETY: taken above.
    let free = unsafe { give_all(on, work, items) };
    vec![alloc, free]
}

fn exchange<A: Allocator>(on: &A, work: Work, seat: &Seat) -> Vec<f64> {
    let mut items = Vec::with_capacity(work.count);
    take_all(on, work, &mut items);
    shuffle(&mut items, seat.index as u64 + 1);
    let lock = || seat.swap.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    lock().push((seat.index, Box::new(items)));
    seat.barrier.wait();
    let other = {
        let mut swap = lock();
        let at = swap.iter().position(|(from, _)| *from != seat.index);
        at.and_then(|at| swap.remove(at).1.downcast::<Vec<A::Item>>().ok())
    };
    let Some(items) = other else { panic!("no batch of the other thread") };
    // SAFETY: the other thread took them and has handed them over.
    vec![unsafe { give_all(on, work, *items) }]
}

/// Fisher and Yates with a fixed seed (splitmix64).
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed;
    for n in (1..items.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        items.swap(n, ((z ^ (z >> 31)) % (n as u64 + 1)) as usize);
    }
}
