//! CPU time of the calling thread, and spreads of samples.

use std::mem::MaybeUninit;

/// Nanoseconds of CPU time that the calling thread has used.
pub fn thread_ns() -> f64 {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the pointer is to a timespec that the call fills; this clock exists for every thread.
    let time = unsafe {
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, time.as_mut_ptr());
        time.assume_init()
    };
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Minimum, median and third quartile.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The smallest.
    pub min: f64,
    /// The middle one.
    pub median: f64,
    /// Three quarters are not above it.
    pub p75: f64,
}

impl Spread {
    /// The spread of `samples`; all zero without any.
    pub fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |part: usize| sorted.get(sorted.len() * part / 4).or(sorted.last()).copied().unwrap_or(0.0);
        Self { min: at(0), median: at(2), p75: at(3) }
    }
}
