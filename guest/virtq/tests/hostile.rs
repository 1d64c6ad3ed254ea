//! Whatever a device writes into the rings, the queue gives back each chain once or says that the device is broken.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use proptest::prelude::*;
use virtq::{Access, Broken, Buffer};

use super::device::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_ring_contents(
        rounds in prop::collection::vec(
            (prop::collection::vec((0usize..64, prop_oneof![4 => 0u16..12, 1 => any::<u16>()]), 0..12), 0usize..4),
            1..40,
        ),
        event_idx in any::<bool>(),
    ) {
        let memory = Memory::new();
        let mut queue = memory.queue(event_idx);
        let mut token = 0;
        let mut out = HashSet::new();
        for (writes, chains) in rounds {
            for count in 1..=chains {
                let buffer = Buffer { addr: 0, len: 1, access: Access::Read };
                if queue.add(token, vec![buffer; count].into_iter()).is_ok() {
                    out.insert(token);
                    token += 1;
                }
            }
            for (at, value) in writes {
                if let Some(word) = memory.used.get(at) {
                    word.store(value, Ordering::SeqCst);
                }
                // The device has no business in the available ring, and what it does there must not matter here.
                if let Some(word) = memory.available.get(at) {
                    word.store(value, Ordering::SeqCst);
                }
            }
            let _ = (queue.wants_kick(), queue.request_interrupt());
            queue.suppress_interrupts();
            for _ in 0..2 * N {
                match queue.take() {
                    Ok(Some(used)) => prop_assert!(out.remove(&used.token), "given back twice"),
                    Ok(None) | Err(Broken) => break,
                }
            }
            prop_assert!(queue.free() <= N && queue.free() + out.len() <= N);
        }
    }
}

#[test]
fn chains_that_the_device_never_had_are_refused() {
    let memory = Memory::new();
    let mut queue = memory.queue(true);
    let buffer = Buffer { addr: 0, len: 1, access: Access::Read };
    queue.add(7, vec![buffer; 2].into_iter()).unwrap();
    memory.used[1].store(1, Ordering::SeqCst);
    for id in [1u16, 5, N as u16, u16::MAX] {
        memory.used[2].store(id, Ordering::SeqCst);
        assert_eq!(queue.take(), Err(Broken), "{id}");
    }
    memory.used[2].store(0, Ordering::SeqCst);
    memory.used[3].store(1, Ordering::SeqCst);
    assert_eq!(queue.take(), Err(Broken), "an identity of more than 16 bits");
    memory.used[3].store(0, Ordering::SeqCst);
    memory.used[1].store(N as u16 + 1, Ordering::SeqCst);
    assert_eq!(queue.take(), Err(Broken), "more than the queue holds");
    memory.used[1].store(2, Ordering::SeqCst);
    assert_eq!(queue.take().map(|used| used.map(|used| used.token)), Ok(Some(7)));
    assert_eq!(queue.take(), Err(Broken), "the same chain again");
}
