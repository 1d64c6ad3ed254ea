//! Telling the monitor when memory is short: the trigger of `psi.trigger=`, which the boot CPU's timer looks at. Without
//! one nothing ticks.
//!
//! Invariants: the timer is the only writer of its group.

use crate::arch::time;
use crate::machine::CPU;
use crate::settings;
use crate::task::pressure::{self, PSI};
use crate::timer::Timer;
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use mm::psi::{Kind, Trigger};
use mm::sync::SpinLock;
use shared::params::{PsiTrigger, Value};
use shared::stats::{PressureEvent, PressureGroup, StatsArea};

const NS_PER_US: u64 = 1000;
/// How often a window is looked at (Linux `UPDATES_PER_WINDOW`).
pub const LOOKS: u64 = 10;

/// What is looked at, and by which words it was set.
static WATCH: SpinLock<Option<(Trigger, PsiTrigger)>> = SpinLock::new(None);
static TICK: Timer = Timer::new(on_tick);

fn kind(trigger: &PsiTrigger) -> Kind {
    if trigger.stall == "full" { Kind::Full } else { Kind::Some }
}

/// Begins to look, if `psi.trigger` says so and pressure is measured. Once, on the boot CPU.
pub fn start() {
    let Some(Value::PsiTrigger(words)) = settings::value("psi.trigger").filter(|_| pressure::is_on()) else {
        return;
    };
    let (threshold, window) = (words.threshold_us * NS_PER_US, words.window_us * NS_PER_US);
    let total = PSI.total(&CPU, kind(&words));
    // Words that were checked make a trigger.
    let Ok(trigger) = Trigger::new(threshold, window, time::since_boot_ns(), total) else { return };
    *WATCH.lock(&CPU) = Some((trigger, words));
    TICK.set(window / LOOKS, 0);
}

/// Ends the looking for good. On the boot CPU.
pub fn stop() {
    TICK.cancel();
}

/// Events so far.
pub fn count() -> u64 {
    super::word(offset_of!(StatsArea, pressure.count)).map_or(0, |word| word.load(Ordering::Relaxed))
}

fn on_tick(_: usize) {
    let mut watch = WATCH.lock(&CPU);
    let Some((trigger, words)) = watch.as_mut() else { return };
    let now = time::since_boot_ns();
    if trigger.update(now, PSI.total(&CPU, kind(words))) {
        let event = PressureEvent::new(now / NS_PER_US, words);
        super::change(offset_of!(StatsArea, pressure), |put| PressureGroup::encode(count(), &event, put));
    }
    TICK.set(words.window_us * NS_PER_US / LOOKS, 0);
}
