//! Bringing the statistics area up to date while the machine runs: the boot CPU's timer, for a monitor that
//! watches. Without one nothing ticks.

use crate::settings;
use crate::timer::Timer;
use core::sync::atomic::{AtomicU64, Ordering};

const INTERVAL: &str = "stats.interval_ms";
const NS_PER_MS: u64 = 1_000_000;

static INTERVAL_NS: AtomicU64 = AtomicU64::new(0);
static TICK: Timer = Timer::new(on_tick);

/// Whether a monitor watches.
pub fn is_watched() -> bool {
    INTERVAL_NS.load(Ordering::Relaxed) != 0
}

/// Begins to tick, if `stats.interval_ms` says so. Once, on the boot CPU.
pub fn start() {
    let ms = settings::number(INTERVAL).unwrap_or(0);
    if ms == 0 {
        return;
    }
    INTERVAL_NS.store(ms * NS_PER_MS, Ordering::Relaxed);
    on_tick(0);
}

/// Ends the ticking for good: what the machine does for its own end is in no numbers. On the boot CPU.
pub fn stop() {
    TICK.cancel();
}

fn on_tick(_: usize) {
    super::refresh();
    TICK.set(INTERVAL_NS.load(Ordering::Relaxed), 0);
}
