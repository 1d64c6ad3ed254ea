//! What the user types, on its way to the guest.
//!
//! The terminal stays in its line mode: it echoes, lets the user correct a line and sends it whole.
//! So there is no mode to restore, however the process ends. The end of input (Ctrl-D on an empty line) reaches the
//! guest as the character that stands for it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};

/// A terminal sends at most this many bytes of one line.
const LINE_SIZE: usize = 4096;
/// What the guest's prompt takes as the end of input: EOT, as Ctrl-D sends it.
const END_OF_INPUT: u8 = 4;

/// Passes lines from the standard input on.
pub struct TypedInput<F> {
    terminal: File,
    forward: F,
}

impl<F: FnMut(&[u8])> TypedInput<F> {
    /// Input from the terminal at the standard input, each line given to `forward`. Fails when the
    /// process has no file descriptor left.
    pub fn new(forward: F) -> io::Result<Self> {
        let terminal = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        Ok(Self { terminal, forward })
    }
}

impl<F: FnMut(&[u8])> MutEventSubscriber for TypedInput<F> {
    fn process(&mut self, _events: Events, ops: &mut EventOps) {
        let mut line = [0; LINE_SIZE];
        match self.terminal.read(&mut line) {
            Ok(length @ 1..) => (self.forward)(line.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // There is nothing to wait for any more, and no way to undo a failure.
            Ok(_) | Err(_) => {
                (self.forward)(&[END_OF_INPUT]);
                drop(ops.remove(Events::empty(&self.terminal)));
            }
        }
    }

    fn init(&mut self, ops: &mut EventOps) {
        // A standard input that cannot be watched is one nobody can type into.
        let _ = ops.add(Events::new(&self.terminal, EventSet::IN));
    }
}
