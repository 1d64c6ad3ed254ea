//! What the user types, on its way to the guest's console.
//!
//! The terminal stays in its line mode: it echoes, lets the user correct a line and sends it whole.
//! So there is no mode to restore, however the process ends.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};

use crate::devices::virtio::console::Console;

/// A terminal sends at most this many bytes of one line.
const LINE_SIZE: usize = 4096;

/// Passes lines from the standard input to the console.
pub struct TypedInput {
    terminal: File,
    console: Arc<Mutex<Console>>,
}

impl TypedInput {
    /// Input from the terminal at the standard input for `console`. Fails when the process has no file
    /// descriptor left.
    pub fn new(console: Arc<Mutex<Console>>) -> io::Result<Self> {
        let terminal = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        Ok(Self { terminal, console })
    }
}

impl MutEventSubscriber for TypedInput {
    fn process(&mut self, _events: Events, ops: &mut EventOps) {
        let mut line = [0; LINE_SIZE];
        match self.terminal.read(&mut line) {
            Ok(length @ 1..) => {
                let typed = line.get(..length).unwrap_or_default();
                // A guest that has left a megabyte unread loses what is typed on top of it.
                self.console.lock().unwrap_or_else(PoisonError::into_inner).push_input(typed);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // End of input: there is nothing to wait for any more, and no way to undo a failure.
            Ok(_) | Err(_) => drop(ops.remove(Events::empty(&self.terminal))),
        }
    }

    fn init(&mut self, ops: &mut EventOps) {
        // A standard input that cannot be watched is one nobody can type into.
        let _ = ops.add(Events::new(&self.terminal, EventSet::IN));
    }
}
