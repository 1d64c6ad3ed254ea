//! With an honest device every chain arrives and comes back, and nobody sleeps through anything, across the wrap of
//! every index.

use std::collections::VecDeque;

use proptest::prelude::*;
use virtq::{Access, Buffer, Full, Layout, Queue, Rings};

use super::device::*;

fn buffers(token: u16, count: usize) -> Vec<Buffer> {
    let access = |n| if n + 1 == count { Access::Write } else { Access::Read };
    let addr = |n| u64::from(token) << 16 | n as u64;
    (0..count).map(|n| Buffer { addr: addr(n), len: n as u32 + 1, access: access(n) }).collect()
}

fn seen(token: u16, count: usize) -> Vec<Descriptor> {
    let flags = |access| if access == Access::Write { 2 } else { 0 };
    let list = buffers(token, count).into_iter();
    list.map(|buffer| Descriptor { addr: buffer.addr, len: buffer.len, flags: flags(buffer.access) })
        .collect()
}

/// What either side does next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The driver adds chains of so many buffers and then asks whether to kick.
    Add(usize, usize),
    /// The device takes and keeps so many chains.
    Pop(usize),
    /// The device gives back chains, the newest first when told so.
    Push(usize, bool),
    /// The device goes to sleep if there is nothing.
    Sleep,
    /// The driver takes everything and asks for an interrupt, or for none.
    Take(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1usize..4, 1usize..4).prop_map(|(chains, count)| Step::Add(chains, count)),
        (1usize..8).prop_map(Step::Pop),
        (1usize..8, any::<bool>()).prop_map(|(count, newest)| Step::Push(count, newest)),
        Just(Step::Sleep),
        any::<bool>().prop_map(Step::Take),
    ]
}

/// Both sides, and what each knows.
struct World<'m> {
    queue: Queue<'m, N>,
    device: Device<'m>,
    token: u16,
    /// Added and not seen by the device: token and length.
    added: VecDeque<(u16, usize)>,
    /// With the device: head and token.
    held: VecDeque<(u16, u16)>,
    /// Given back and not taken.
    returned: VecDeque<u16>,
    device_sleeps: bool,
    /// The driver waits for an interrupt.
    driver_waits: bool,
}

impl<'m> World<'m> {
    fn new(memory: &'m Memory, event_idx: bool) -> Self {
        Self {
            queue: memory.queue(event_idx),
            device: Device::new(memory, event_idx),
            token: 0,
            added: VecDeque::new(),
            held: VecDeque::new(),
            returned: VecDeque::new(),
            device_sleeps: false,
            driver_waits: false,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Add(chains, count) => self.add(chains, count),
            Step::Pop(count) => self.pop(count),
            Step::Push(count, newest) => self.push(count, newest),
            Step::Sleep => {
                // A device that finds work stays awake.
                self.device_sleeps = !self.device.arm();
                if !self.device_sleeps {
                    self.device.disarm();
                }
            }
            Step::Take(wait) => self.take(wait),
        }
    }

    fn add(&mut self, chains: usize, count: usize) {
        let mut any = false;
        for _ in 0..chains {
            let free = self.queue.free();
            match self.queue.add(self.token, buffers(self.token, count).into_iter()) {
                Ok(()) => {
                    assert_eq!(self.queue.free(), free - count);
                    self.added.push_back((self.token, count));
                    self.token = self.token.wrapping_add(1);
                    any = true;
                }
                Err(Full) => assert!(free < count),
            }
        }
        let kick = self.queue.wants_kick();
        if self.device_sleeps && any {
            assert!(kick, "the device sleeps and is not told");
            self.device_sleeps = false;
            self.device.disarm();
        }
    }

    fn pop(&mut self, count: usize) {
        if self.device_sleeps {
            return;
        }
        for _ in 0..count {
            let Some((head, chain)) = self.device.pop() else { return assert!(self.added.is_empty()) };
            let (token, len) = self.added.pop_front().expect("a chain that was added");
            assert_eq!(chain, seen(token, len));
            self.held.push_back((head, token));
        }
    }

    fn push(&mut self, count: usize, newest: bool) {
        let mut any = false;
        for _ in 0..count {
            let next = if newest { self.held.pop_back() } else { self.held.pop_front() };
            let Some((head, token)) = next else { break };
            self.device.push(head, token.into());
            self.returned.push_back(token);
            any = true;
        }
        let interrupt = self.device.interrupts();
        if self.driver_waits && any {
            assert!(interrupt, "the driver waits and is not told");
            self.driver_waits = false;
        }
    }

    fn take(&mut self, wait: bool) {
        while let Some(used) = self.queue.take().expect("an honest device") {
            assert_eq!(Some(used.token), self.returned.pop_front());
            assert_eq!(used.len, u32::from(used.token));
        }
        assert_eq!(self.returned, []);
        assert!(!self.queue.has_used());
        self.driver_waits = wait;
        if wait {
            assert!(!self.queue.request_interrupt());
        } else {
            self.queue.suppress_interrupts();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_nobody_sleeps_on(
        steps in prop::collection::vec(step(), 1..400),
        event_idx in any::<bool>(),
        start in prop_oneof![Just(0u32), 65500u32..65536],
    ) {
        let memory = Memory::new();
        let mut world = World::new(&memory, event_idx);
        for _ in 0..start {
            for step in [Step::Add(1, 1), Step::Pop(1), Step::Push(1, false), Step::Take(false)] {
                world.step(step);
            }
        }
        for step in steps {
            world.step(step);
        }
        world.device_sleeps = false;
        world.pop(N);
        world.push(N, false);
        world.take(true);
        prop_assert_eq!(world.queue.free(), N);
    }
}

#[test]
fn one_kick_and_one_interrupt_for_a_batch() {
    let memory = Memory::new();
    let mut queue = memory.queue(true);
    let mut device = Device::new(&memory, true);
    for round in 0..20_000 {
        assert!(!device.arm());
        for token in 0..N as u16 {
            queue.add(token, buffers(token, 1).into_iter()).unwrap();
        }
        assert!(queue.wants_kick(), "round {round}");
        assert!(!queue.wants_kick(), "nothing new");
        assert!(!queue.request_interrupt());
        let heads: Vec<_> = std::iter::from_fn(|| device.pop()).map(|(head, _)| head).collect();
        assert_eq!(heads.len(), N);
        device.push(heads[0], 0);
        assert!(device.interrupts());
        heads[1..].iter().for_each(|&head| device.push(head, 0));
        assert!(!device.interrupts(), "asked for one only");
        assert!(queue.request_interrupt(), "there is something already");
        assert_eq!(std::iter::from_fn(|| queue.take().unwrap()).count(), N);
        // The device was not armed since: it is awake and sees what is added by itself.
        queue.add(0, buffers(0, 1).into_iter()).unwrap();
        assert!(!queue.wants_kick());
        queue.suppress_interrupts();
        let (head, _) = device.pop().unwrap();
        device.push(head, 0);
        assert!(!device.interrupts());
        assert!(queue.take().unwrap().is_some());
    }
}

#[test]
fn no_interrupt_comes_for_what_was_taken_before_the_device_asked() {
    for event_idx in [false, true] {
        let memory = Memory::new();
        let (mut queue, mut device) = (memory.queue(event_idx), Device::new(&memory, event_idx));
        queue.suppress_interrupts();
        // Once around the counters of the rings, with every number of chains that may be left.
        for round in 0..(1 << 16) / N as u32 + N as u32 {
            for token in 0..N as u16 {
                queue.add(token, buffers(token, 1).into_iter()).unwrap();
            }
            while let Some((head, _)) = device.pop() {
                device.push(head, 0);
            }
            for _ in 0..round as usize % N {
                assert!(queue.take().unwrap().is_some());
            }
            queue.suppress_interrupts();
            assert!(!device.interrupts(), "event_idx={event_idx} round {round}");
            while queue.take().unwrap().is_some() {}
        }
    }
}

#[test]
fn a_full_queue_refuses_and_stays_whole() {
    let memory = Memory::new();
    let mut queue = memory.queue(false);
    assert_eq!(queue.add(0, buffers(0, 0).into_iter()), Err(Full));
    assert_eq!(queue.add(0, buffers(0, N + 1).into_iter()), Err(Full));
    queue.add(1, buffers(1, N - 1).into_iter()).unwrap();
    assert_eq!(queue.add(2, buffers(2, 2).into_iter()), Err(Full));
    queue.add_indirect(3, 0x1234, 5).unwrap();
    assert_eq!(queue.free(), 0);
    let mut device = Device::new(&memory, false);
    assert_eq!(device.pop().unwrap().1, seen(1, N - 1));
    assert_eq!(device.pop().unwrap().1, [Descriptor { addr: 0x1234, len: 80, flags: 4 }]);
    assert!(device.pop().is_none());
}

#[test]
fn layouts_are_aligned_and_disjoint() {
    for size in [1, 2, 8, 256, 1 << 15] {
        let layout = Layout::of(size);
        assert!(layout.available >= 8 * Layout::descriptor_words(size) && layout.available.is_multiple_of(2));
        assert!(
            layout.used >= layout.available + 2 * Layout::available_words(size)
                && layout.used.is_multiple_of(4)
        );
        assert_eq!(layout.bytes, layout.used + 2 * Layout::used_words(size));
    }
    let memory = Memory::new();
    let small =
        Rings { descriptors: &memory.descriptors[1..], available: &memory.available, used: &memory.used };
    assert!(Queue::<N>::new(small, true).is_none());
}
