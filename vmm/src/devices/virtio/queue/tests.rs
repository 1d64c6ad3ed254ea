//! Going to sleep: whatever the driver adds at whatever moment is served, or is notified of.

use std::ops::ControlFlow;
use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::*;
use crate::memory::{HostPages, RamRange, allocate};

const SIZE: u16 = 16;
const DESCRIPTORS: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
const INDEX: u64 = 2;
/// Where the device says of which chain it wants to hear: behind the used ring.
const EVENT: u64 = USED + 4 + 8 * SIZE as u64;
/// Moments at which the driver may act in one schedule.
const MOMENTS: u32 = 10;

/// A driver that adds chains at given moments, and the ring between it and the device.
struct Driver {
    ring: Queue,
    /// A bit for each moment, the next one lowest: whether a chain is added then.
    schedule: u32,
    added: u16,
    /// Notifications that the device has got and not answered by a pass.
    kicks: u32,
}

impl Driver {
    /// A moment passes.
    fn act(&mut self, memory: &crate::memory::GuestRam) {
        let adds = self.schedule & 1 != 0;
        self.schedule >>= 1;
        if !adds {
            return;
        }
        // One descriptor will do for all chains; entry after entry of the available ring names it.
        let before = self.added;
        self.added += 1;
        memory.write_obj(self.added, GuestAddress(AVAILABLE + INDEX)).unwrap();
        let event: u16 = memory.read_obj(GuestAddress(EVENT)).unwrap();
        self.kicks += u32::from(event == before);
    }
}

impl Available for Driver {
    fn chains<'m>(
        &mut self,
        memory: &'m crate::memory::GuestRam,
    ) -> Result<AvailIter<'_, &'m crate::memory::GuestRam>, Error> {
        self.act(memory);
        self.ring.chains(memory)
    }

    fn ask(&mut self, memory: &crate::memory::GuestRam) -> Result<bool, Error> {
        self.act(memory);
        let there = self.ring.ask(memory);
        self.act(memory);
        there
    }
}

fn queue(memory: &GuestRam) -> DeviceQueue {
    let registers = QueueRegisters {
        size: SIZE.into(),
        ready: true,
        desc_table: DESCRIPTORS,
        avail_ring: AVAILABLE,
        used_ring: USED,
    };
    let context = QueueContext {
        memory: memory.clone(),
        interrupt: Arc::new(Interrupt::new(EventFd::new(EFD_NONBLOCK).unwrap())),
        kicks: Arc::new([]),
    };
    DeviceQueue::new(0, SIZE, registers, Suppression::EventIdx, &context).unwrap()
}

/// One schedule from an empty ring: the device passes over it when it is told to, as its thread does, and until the
/// driver has nothing more to add. Returns the chains added, and those served.
fn run(schedule: u32) -> (u16, u16) {
    let range = RamRange { base: 0, size: 1 << 16, node: 0 };
    let memory = Arc::new(allocate(&[range], HostPages::Small, false).unwrap());
    memory.write_obj(1u32, GuestAddress(DESCRIPTORS + 8)).unwrap();
    let DeviceQueue { ring, mut returns } = queue(&memory);
    let mut driver = Driver { ring, schedule, added: 0, kicks: 0 };
    let mut served = 0;
    loop {
        if std::mem::take(&mut driver.kicks) == 0 {
            if driver.schedule == 0 {
                return (driver.added, served);
            }
            // The device sleeps.
            driver.act(&memory);
            continue;
        }
        let backlog = take(&mut driver, &mut returns, &memory, WhenEmpty::Arm, |returns, head| {
            served += 1;
            returns.complete(head, 0)?;
            Ok(ControlFlow::Continue(()))
        });
        driver.kicks += u32::from(backlog.unwrap() == Backlog::More);
    }
}

#[test]
fn no_chain_is_forgotten_whenever_it_comes() {
    for schedule in 0..1 << MOMENTS {
        let (added, served) = run(schedule);
        assert_eq!(u32::from(added), schedule.count_ones());
        assert_eq!(served, added, "the device sleeps and was not told; chains came at {schedule:#b}");
    }
}
