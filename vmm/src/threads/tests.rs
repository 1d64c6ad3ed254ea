use super::{Beside, allowed, this_thread};
use std::sync::mpsc::channel;
use std::thread::Builder;

#[test]
fn a_thread_beside_may_run_where_its_maker_may() {
    let report = || (allowed(this_thread()), std::thread::current().name().map(str::to_owned));
    let (thread, receive) = Beside::start(Builder::new().name("beside".to_owned()), report).unwrap();
    let (cpus, name) = receive.recv().unwrap();
    thread.go_on(|| ()).join().unwrap();
    // SAFETY: only reads the two sets.
    assert!(unsafe { libc::CPU_EQUAL(&cpus.unwrap(), &allowed(this_thread()).unwrap()) });
    assert_eq!(name.as_deref(), Some("beside"));
}

#[test]
fn both_parts_are_done_by_one_thread_in_their_order() {
    let (send, receive) = channel();
    let id = || std::thread::current().id();
    let (thread, first) = Beside::start(Builder::new(), id).unwrap();
    let second = thread.go_on(move || send.send(id()).unwrap());
    assert_eq!(first.recv().unwrap(), receive.recv().unwrap());
    second.join().unwrap();
    // Without its second part it ends, and says so by hanging up.
    let (send, receive) = channel::<()>();
    let (thread, first) = Beside::start(Builder::new(), move || send).unwrap();
    drop(thread);
    drop(first.recv().unwrap());
    assert!(receive.recv().is_err());
}

#[test]
fn a_thread_begins_though_its_maker_never_waits() {
    let maker = || {
        // SAFETY: takes nothing.
        let here = || unsafe { libc::sched_getcpu() };
        let before = here();
        let (_thread, receive) = Beside::start(Builder::new(), here).unwrap();
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
