//! Maskable interrupts: soft masking, replay and the table of handlers.
//!
//! The CPU's own interrupt flag stays on while Rust runs, in both rings, because it cannot be changed
//! cheaply at CPL3. A critical section raises a per-CPU depth instead; the entry stub looks at it, and an
//! interrupt that finds it raised is recorded, acknowledged and replayed when the depth falls to 0.
//! Devices are edge-triggered and drained by their handlers, so acknowledging first loses nothing.
//! Source: lazy masking as in Linux/powerpc `soft-irq`; DESIGN §3.

use super::percpu;
pub use super::percpu::LINES;
use super::trap::TrapFrame;
use core::sync::atomic::{AtomicPtr, Ordering};

/// What the lines carry.
pub mod line {
    /// The local APIC timer.
    pub const TIMER: usize = 0;
    /// Another CPU queued a task here.
    pub const IPI: usize = 1;
    /// Another CPU asks for a TLB flush.
    pub const FLUSH: usize = 2;
    /// Messages of the trap stress.
    pub const STRESS: usize = 3;
    /// Another CPU asks this one to do something.
    pub const CALL: usize = 4;
    /// The first line of devices, given out in order of discovery.
    pub const FIRST_DEVICE: usize = 5;
}

/// A handler; runs with the soft mask raised.
pub type Handler = fn(line: usize);

static HANDLERS: [AtomicPtr<()>; LINES] = [const { AtomicPtr::new(core::ptr::null_mut()) }; LINES];

/// What runs when the handlers have, with the state of the code that was interrupted; the soft mask is raised.
pub type Epilogue = fn(&TrapFrame);

static LAST: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Installs what runs at the end of every interrupt.
pub fn set_epilogue(epilogue: Epilogue) {
    LAST.store(epilogue as *mut (), Ordering::Release);
}

/// Installs the handler of `line`; false if there is no such line.
pub fn set_handler(line: usize, handler: Handler) -> bool {
    HANDLERS.get(line).map(|slot| slot.store(handler as *mut (), Ordering::Release)).is_some()
}

fn to_handler(raw: *mut ()) -> Option<Handler> {
    // SAFETY: the table holds null or a `Handler`, from the functions above only.
    (!raw.is_null()).then(|| unsafe { core::mem::transmute::<*mut (), Handler>(raw) })
}

/// Whether anybody handles `line`.
pub fn has_handler(line: usize) -> bool {
    HANDLERS.get(line).is_some_and(|slot| !slot.load(Ordering::Acquire).is_null())
}

/// Called by `trap.s` for an accepted interrupt, and for recorded ones as the mask falls.
#[unsafe(no_mangle)]
extern "C" fn interrupt_dispatch(frame: &mut TrapFrame) {
    run_pending();
    let last = LAST.load(Ordering::Acquire);
    if !last.is_null() {
        // SAFETY: the word holds null or an `Epilogue`, from `set_epilogue` only.
        unsafe { core::mem::transmute::<*mut (), Epilogue>(last)(frame) }
    }
}

fn run_pending() {
    loop {
        let mut bits = percpu::take_pending();
        if bits == 0 {
            return;
        }
        while bits != 0 {
            let line = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            percpu::count_interrupt(line);
            let raw = HANDLERS.get(line).map_or(core::ptr::null_mut(), |slot| slot.load(Ordering::Acquire));
            if let Some(handler) = to_handler(raw) {
                handler(line);
            }
        }
    }
}

/// Masks interrupts on this CPU; nests.
#[inline]
pub fn disable() {
    percpu::mask();
}

/// Masks interrupts unless they are masked; whether it did.
#[inline(always)]
pub fn try_disable() -> bool {
    percpu::try_mask()
}

/// Undoes one [`disable`]; the outermost runs what came meanwhile.
#[inline(always)]
pub fn enable() {
    percpu::unmask_then(replay);
}

#[cold]
fn replay() {
    percpu::mask();
    loop {
        run_pending();
        if !percpu::unmask() {
            return;
        }
        percpu::mask();
    }
}
