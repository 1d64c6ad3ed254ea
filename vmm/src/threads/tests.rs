use super::{allowed, spawn_beside, this_thread};
use std::sync::mpsc::channel;
use std::thread::Builder;

#[test]
fn a_thread_beside_may_run_where_its_maker_may() {
    let (send, receive) = channel();
    let report = move || {
        send.send((allowed(this_thread()), std::thread::current().name().map(str::to_owned))).unwrap()
    };
    let thread = spawn_beside(Builder::new().name("beside".to_owned()), report).unwrap();
    let (cpus, name) = receive.recv().unwrap();
    thread.join().unwrap();
    // SAFETY: only reads the two sets.
    assert!(unsafe { libc::CPU_EQUAL(&cpus.unwrap(), &allowed(this_thread()).unwrap()) });
    assert_eq!(name.as_deref(), Some("beside"));
}

#[test]
fn a_thread_begins_though_its_maker_never_waits() {
    let maker = || {
        let (send, receive) = channel();
        // SAFETY: takes nothing.
        let here = || unsafe { libc::sched_getcpu() };
        let before = here();
        let _thread = spawn_beside(Builder::new(), move || send.send(here()).unwrap()).unwrap();
        let begun = loop {
            if let Ok(cpu) = receive.try_recv() {
                break cpu;
            }
            std::hint::spin_loop();
        };
        (before, begun, here())
    };
    let single = std::thread::available_parallelism().unwrap().get() == 1;
    // The maker itself may be moved meanwhile; not every time.
    assert!(
        single
            || (0..50)
                .any(|_| matches!(maker(), (before, begun, after) if before == after && begun != before))
    );
}
