//! The console device: queue 0 brings input to the guest, queue 1 takes its output.
//!
//! Owns: input waiting for a guest buffer, and the way of output from descriptors to the sink.
//! Stays outside: the sink's moods (`output`), reading the host's input.
//! Invariants: output keeps the order of the transmit queue and is not interpreted; input keeps
//! the order of the calls to [`Console::push_input`].
//!
//! Source: VIRTIO 1.2, section 5.3, without VIRTIO_CONSOLE_F_MULTIPORT. Emergency write (5.3.6)
//! is offered, so that a guest can print before it has queues.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use virtio_bindings::virtio_ids::VIRTIO_ID_CONSOLE;
use virtio_queue::desc::split::Descriptor;
use vm_memory::{Bytes, GuestAddress};

use super::super::chain::Chain;
use super::super::device::{Activation, Backlog, VirtioDevice};
use super::super::queue::{DeviceQueue, WhenEmpty};
use super::super::{DeviceFault, GuestRam, lock};
use super::output::{Output, OutputLoss, Written};
use crate::devices::transcript::Transcript;

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
const QUEUE_SIZE: u16 = 256;

const VIRTIO_CONSOLE_F_EMERG_WRITE: u64 = 1 << 2;
/// Offset of `emerg_wr` in `struct virtio_console_config`.
const EMERG_WRITE_OFFSET: u64 = 8;
/// `struct virtio_console_config`: cols, rows, max_nr_ports, emerg_wr. None of the fields before
/// `emerg_wr` is valid without the features that are not offered.
const CONFIG: [u8; 12] = [0; 12];

/// Input bytes kept for a guest that does not take them.
const INPUT_LIMIT: usize = 1024 * 1024;

/// The longest transmit chain, in bytes. Real drivers send at most a few pages; without a limit
/// one chain could name the same RAM again and again and hold the event loop for minutes.
const CHAIN_LIMIT: u64 = 16 * 1024 * 1024;

/// Bytes copied from guest memory at a time.
const COPY: usize = 16 * 1024;

/// A virtio console.
pub struct Console {
    output: Output,
    transcript: Option<Transcript>,
    input: VecDeque<u8>,
    receive: Option<DeviceQueue>,
    transmit: Option<DeviceQueue>,
}

impl Console {
    /// A console whose output goes to `sink`, usually a duplicate of standard output.
    pub fn new(sink: File) -> Self {
        Self {
            output: Output::new(sink),
            transcript: None,
            input: VecDeque::new(),
            receive: None,
            transmit: None,
        }
    }

    /// Copies all output from now on to `transcript` too.
    pub fn set_transcript(&mut self, transcript: Transcript) {
        self.transcript = Some(transcript);
    }

    /// Starts the thread that writes output the sink does not take at once; see [`Output::start`].
    pub fn start_writer(&self, enter: impl FnOnce() -> bool + Send + 'static) -> io::Result<()> {
        self.output.start(enter)
    }

    /// Queues `bytes` as input for the guest and returns how many were accepted: fewer than all
    /// when a megabyte is waiting already. The caller offers the rest again later.
    pub fn push_input(&mut self, bytes: &[u8]) -> usize {
        let accepted = bytes.len().min(INPUT_LIMIT.saturating_sub(self.input.len()));
        self.input.extend(bytes.iter().take(accepted));
        if let Some(queue) = &self.receive {
            queue.waker().wake();
        }
        accepted
    }

    /// Tells when the sink has got all output, for others that write to it.
    pub fn written(&self) -> Written {
        self.output.written()
    }

    /// Output that did not reach the sink, if any.
    pub fn output_loss(&self) -> Option<OutputLoss> {
        self.output.loss()
    }

    /// Moves input into the guest's receive buffers.
    fn receive(&mut self) -> Result<Backlog, DeviceFault> {
        let input = &mut self.input;
        // A chain taken without input to put into it could not be put back.
        let Some(queue) = self.receive.as_mut().filter(|_| !input.is_empty()) else {
            return Ok(Backlog::Blocked);
        };
        queue.pass(WhenEmpty::Arm, |returns, chain| {
            let head = chain.head_index();
            let mut stored = 0;
            for descriptor in chain.filter(Descriptor::is_write_only) {
                stored += store(input, returns.memory(), &descriptor)?;
            }
            returns.complete(head, stored)?;
            Ok(if input.is_empty() {
                ControlFlow::Break(Backlog::Blocked)
            } else {
                ControlFlow::Continue(())
            })
        })
    }

    /// One pass over the transmit queue. It ends early when the sink is slow; the output has the
    /// queue served again when there is room.
    fn transmit(&mut self) -> Result<Backlog, DeviceFault> {
        let Some(queue) = &mut self.transmit else { return Ok(Backlog::Empty) };
        let (output, transcript) = (&mut self.output, self.transcript.as_ref());
        if !output.has_room(|| queue.waker()) {
            return Ok(Backlog::Blocked);
        }
        let outcome = queue.pass(WhenEmpty::Arm, |returns, chain| {
            let head = chain.head_index();
            print(chain, returns.memory(), output, transcript)?;
            returns.complete(head, 0)?;
            let room = output.has_room(|| returns.waker());
            Ok(if room { ControlFlow::Continue(()) } else { ControlFlow::Break(Backlog::Blocked) })
        });
        self.output.flush();
        outcome
    }
}

impl VirtioDevice for Console {
    fn device_id(&self) -> u32 {
        VIRTIO_ID_CONSOLE
    }

    fn features(&self) -> u64 {
        VIRTIO_CONSOLE_F_EMERG_WRITE
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE, QUEUE_SIZE]
    }

    fn config(&self) -> &[u8] {
        &CONFIG
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        // These bytes come without a buffer that could be held back, so a guest that writes on and on while
        // nobody reads loses them: the host's memory is not its to fill.
        if let (EMERG_WRITE_OFFSET, [character, ..], false) = (offset, data, self.output.is_full()) {
            self.output.push(&[*character]);
            self.output.flush();
        }
    }

    fn activate(&mut self, activation: Activation) {
        let mut queues = activation.queues.into_iter();
        self.receive = queues.next().flatten();
        self.transmit = queues.next().flatten();
    }

    fn process_queue(&mut self, index: usize) -> Result<Backlog, DeviceFault> {
        match index {
            RECEIVE => self.receive(),
            TRANSMIT => self.transmit(),
            _ => Ok(Backlog::Empty),
        }
    }

    fn stop_queue(&mut self, index: usize) {
        match index {
            RECEIVE => self.receive = None,
            TRANSMIT => self.transmit = None,
            _ => {}
        }
    }

    fn reset(&mut self) {
        self.receive = None;
        self.transmit = None;
    }
}

/// Writes what the guest has already sent, for the end of a run when the vCPUs have stopped.
///
/// Returns within about `limit`, even when the sink is stuck. Then, or when the sink is gone, the
/// result says what was lost of the output the guest had handed over.
pub fn drain(console: &Mutex<Console>, limit: Duration) -> Option<OutputLoss> {
    let deadline = Instant::now() + limit;
    let mut console = lock(console);
    loop {
        match console.transmit() {
            Ok(Backlog::More) => {}
            Ok(Backlog::Blocked) if Instant::now() < deadline => console.output.wait_for_room(deadline),
            // Done, or out of time, or a broken ring, which has nothing more to say.
            Ok(_) | Err(_) => break,
        }
    }
    console.output.settle(deadline);
    console.output_loss()
}

/// Copies the device-readable part of `chain` to `output`, and to `transcript`.
fn print(
    chain: Chain<'_>,
    memory: &GuestRam,
    output: &mut Output,
    transcript: Option<&Transcript>,
) -> Result<(), DeviceFault> {
    let head = chain.head_index();
    let mut total = 0;
    let mut piece = [0; COPY];
    for descriptor in chain.filter(|descriptor| !descriptor.is_write_only()) {
        total += u64::from(descriptor.len());
        if total > CHAIN_LIMIT {
            return Err(DeviceFault::Chain { head, reason: "its output is longer than 16 MiB" });
        }
        let mut address = descriptor.addr();
        let mut left = descriptor.len() as usize;
        while left > 0 {
            let count = left.min(COPY);
            let part = &mut piece[..count];
            memory.read_slice(part, address).map_err(virtio_queue::Error::GuestMemory)?;
            output.push(part);
            if let Some(transcript) = transcript {
                transcript.push(part);
            }
            left -= count;
            address = GuestAddress(address.0.wrapping_add(count as u64));
        }
    }
    Ok(())
}

/// Moves input into the buffer of `descriptor`. Returns how many bytes.
fn store(input: &mut VecDeque<u8>, memory: &GuestRam, descriptor: &Descriptor) -> Result<u32, DeviceFault> {
    let count = input.len().min(descriptor.len() as usize);
    let bytes: Vec<u8> = input.drain(..count).collect();
    memory.write_slice(&bytes, descriptor.addr()).map_err(virtio_queue::Error::GuestMemory)?;
    Ok(count as u32)
}
