//! The block device: features, queues, and the way of a request from a ring and back to it.
//!
//! Owns: the queues and the order take → begin → complete. Stays outside: the request format (`request`), what is
//! done with it (`core`), which thread does this (`worker`).
//! Invariants: after `reset` or `stop_queue` no operation of the host uses a buffer of the queues that are gone.
//!
//! Source: VIRTIO 1.2, sections 5.2.3 to 5.2.6.

use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Instant;

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_MQ, VIRTIO_BLK_F_RO,
    VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_F_WRITE_ZEROES,
};
use virtio_bindings::virtio_ids::VIRTIO_ID_BLOCK;

use super::super::DeviceFault;
use super::super::chain::Chain;
use super::super::device::{Activation, Backlog, Completed, VirtioDevice};
use super::super::queue::{DeviceQueue, WhenEmpty};
use super::super::returns::Returns;
use super::buffers::Durability;
use super::core::Core;
use super::counters::BlkCounters;
use super::engine::{self, EngineKind};
use super::faults::{FaultPlan, Injector};
use super::flight::{Flights, MAX_OPERATIONS};
use super::geometry::{CONFIG_BYTES, ID_BYTES, MAX_QUEUES, QUEUE_SIZE, config_space};
use super::image::{Access, DiskImage};
use super::request::{Completion, Parser, Rejected};
use super::stream::Stream;
use crate::sandbox::ThreadFilter;

/// Bytes that one pass hands to the host before it answers what is finished: what the host has in its page cache it copies
/// at once, and a driver that hears of it early uses the time of the next copy.
const SLICE: u64 = 64 << 10;
/// The same around the page cache, where nothing is copied: the host makes one request of reads in a row that come together.
const DIRECT_SLICE: u64 = 1 << 20;

/// Why a disk cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The name of a disk is longer than the 20 bytes a guest can be told.
    #[error("disk id `{0}` is longer than 20 bytes; give a shorter one with `id=`")]
    IdTooLong(String),
    /// The way of doing I/O that was asked for is not to be had.
    #[error("this host cannot do the disk I/O that was asked for: {0}; leave out io=")]
    Engine(io::Error),
}

/// How a disk is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockOptions {
    /// What it calls itself, at most 20 bytes.
    pub id: String,
    /// Its queues: 1 to 8; other numbers are brought into that range.
    pub queues: u16,
    /// What moves its bytes.
    pub engine: EngineKind,
    /// What it does wrong.
    pub faults: FaultPlan,
}

/// A virtio disk.
pub struct Block {
    config: [u8; CONFIG_BYTES],
    sizes: Vec<u16>,
    queues: Vec<Option<DeviceQueue>>,
    /// The queues that had to wait for something to end.
    starved: Vec<bool>,
    /// Scratch of [`Block::answer`].
    answers: Vec<(usize, Completion)>,
    core: Core,
}

impl Block {
    /// A plain disk on `image` with one queue that calls itself `id`.
    pub fn new(image: DiskImage, id: &str) -> Result<Self, BlockError> {
        Self::with_options(image, BlockOptions { id: id.to_owned(), ..BlockOptions::default() })
    }

    /// A disk on `image`.
    pub fn with_options(image: DiskImage, options: BlockOptions) -> Result<Self, BlockError> {
        let BlockOptions { id, queues, engine: kind, faults } = options;
        let mut padded = [0; ID_BYTES];
        padded
            .get_mut(..id.len())
            .ok_or_else(|| BlockError::IdTooLong(id.clone()))?
            .copy_from_slice(id.as_bytes());
        let queues = queues.clamp(1, MAX_QUEUES);
        // What may be refused is tried now if it was asked for by name; the rest can wait until the machine runs.
        let engine = match kind {
            EngineKind::Auto | EngineKind::Threads => None,
            EngineKind::Uring => Some(engine::open(kind, MAX_OPERATIONS, None).map_err(BlockError::Engine)?),
        };
        let core = Core {
            id: padded,
            counters: Arc::default(),
            durability: Durability::Cached,
            kind,
            helpers: None,
            engine,
            injector: Injector::new(faults),
            parser: Parser::default(),
            flights: Flights::default(),
            streams: (0..queues).map(|_| Stream::new(&image)).collect(),
            unstable: false,
            under_way: 0,
            retry: false,
            delayed: BinaryHeap::new(),
            finished: VecDeque::new(),
            done: Vec::new(),
            image,
        };
        Ok(Self {
            config: config_space(core.image.size(), queues),
            sizes: vec![QUEUE_SIZE; queues.into()],
            queues: Vec::new(),
            starved: vec![false; queues.into()],
            answers: Vec::new(),
            core,
        })
    }

    /// What the disk has done so far, readable while the machine runs.
    pub fn counters(&self) -> Arc<BlkCounters> {
        self.core.counters.clone()
    }

    /// One pass over a queue, then one look at what is finished already.
    fn serve(&mut self, index: usize, when_empty: WhenEmpty) -> Result<Backlog, DeviceFault> {
        let Self { queues, core, starved, .. } = self;
        let Some(queue) = queues.get_mut(index).and_then(Option::as_mut) else { return Ok(Backlog::Empty) };
        let Some(starved) = starved.get_mut(index) else { return Ok(Backlog::Empty) };
        if core.is_full(index) {
            *starved = true;
            return Ok(Backlog::Blocked);
        }
        let left = if core.image.is_direct() { DIRECT_SLICE } else { SLICE };
        let mut slice = Slice { queue: index, now: Instant::now(), left };
        let backlog = queue.pass(when_empty, |returns, chain| slice.take(core, returns, chain));
        core.submit();
        let backlog = backlog?;
        *starved |= backlog == Backlog::Blocked;
        self.complete()?;
        Ok(backlog)
    }

    /// Answers what is finished at `now`.
    fn answer(&mut self, now: Instant) -> Result<bool, DeviceFault> {
        let Self { queues, core, answers, .. } = self;
        core.answers(now, answers);
        if answers.is_empty() {
            return Ok(false);
        }
        for (index, completion) in answers.drain(..) {
            if let Some(queue) = queues.get_mut(index).and_then(Option::as_mut) {
                completion.deliver(queue.returns())?;
            }
        }
        for queue in queues.iter_mut().flatten() {
            queue.returns().announce()?;
        }
        Ok(true)
    }

    /// Has all queues served soon.
    fn wake(&self) {
        self.queues.iter().flatten().for_each(|queue| queue.waker().wake());
    }
}

/// What one pass over a queue takes.
struct Slice {
    /// Index of the queue.
    queue: usize,
    /// When the pass began, which is when its requests came.
    now: Instant,
    /// Bytes that it may still hand to the host.
    left: u64,
}

impl Slice {
    /// Begins the request that `chain` holds, and ends the pass when the slice is used up.
    fn take(
        &mut self,
        core: &mut Core,
        returns: &mut Returns,
        chain: Chain<'_>,
    ) -> Result<ControlFlow<Backlog>, DeviceFault> {
        let answer = match core.parser.parse(chain, returns.memory()) {
            Ok(request) => {
                self.left = self.left.saturating_sub(request.data.bytes());
                core.begin(self.queue, request, self.now)?
            }
            Err(Rejected::Answer(completion)) => {
                core.counters.error();
                Some(completion)
            }
            Err(Rejected::Fault(fault)) => return Err(fault),
        };
        if let Some(completion) = answer {
            completion.deliver(returns)?;
        }
        Ok(match self.left {
            _ if core.is_full(self.queue) => ControlFlow::Break(Backlog::Blocked),
            0 => ControlFlow::Break(Backlog::More),
            _ => ControlFlow::Continue(()),
        })
    }
}

impl VirtioDevice for Block {
    fn device_id(&self) -> u32 {
        VIRTIO_ID_BLOCK
    }

    fn features(&self) -> u64 {
        let mut features = 1 << VIRTIO_BLK_F_FLUSH
            | 1 << VIRTIO_BLK_F_SIZE_MAX
            | 1 << VIRTIO_BLK_F_SEG_MAX
            | 1 << VIRTIO_BLK_F_BLK_SIZE;
        if self.core.image.access() == Access::ReadOnly {
            features |= 1 << VIRTIO_BLK_F_RO;
        }
        if self.core.image.punches() {
            features |= 1 << VIRTIO_BLK_F_DISCARD | 1 << VIRTIO_BLK_F_WRITE_ZEROES;
        }
        if self.sizes.len() > 1 {
            features |= 1 << VIRTIO_BLK_F_MQ;
        }
        features
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.sizes
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    /// The disk has no writable field: VIRTIO_BLK_F_CONFIG_WCE is not offered.
    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    fn activate(&mut self, activation: Activation) {
        // A driver that cannot flush must find every completed write stable (section 5.2.6.2).
        self.core.durability = match activation.features & 1 << VIRTIO_BLK_F_FLUSH {
            0 => Durability::Through,
            _ => Durability::Cached,
        };
        self.queues = activation.queues;
    }

    fn process_queue(&mut self, index: usize) -> Result<Backlog, DeviceFault> {
        self.serve(index, WhenEmpty::Arm)
    }

    fn poll_queue(&mut self, index: usize) -> Result<Backlog, DeviceFault> {
        let pending = match self.queues.get(index).and_then(Option::as_ref) {
            Some(queue) => queue.is_pending()?,
            None => false,
        };
        if pending { self.serve(index, WhenEmpty::Leave) } else { Ok(Backlog::Empty) }
    }

    fn complete(&mut self) -> Result<Completed, DeviceFault> {
        let reaped = self.core.reap()?;
        self.core.submit();
        let now = Instant::now();
        self.core.release(now);
        let answered = self.answer(now)?;
        for (index, starved) in self.starved.iter_mut().enumerate() {
            if *starved && !self.core.is_full(index) {
                *starved = false;
                self.queues.get(index).and_then(Option::as_ref).inspect(|queue| queue.waker().wake());
            }
        }
        Ok(Completed { progress: reaped || answered, busy: self.core.is_busy(), due: self.core.due(now) })
    }

    fn prepare(&mut self, helpers: ThreadFilter) -> Option<RawFd> {
        self.core.prepare(helpers)
    }

    fn stop_queue(&mut self, index: usize) {
        if let Some(queue) = self.queues.get_mut(index) {
            *queue = None;
        }
        self.core.quiesce();
        // What the other queues had is finished now, and no event will tell.
        self.wake();
    }

    fn reset(&mut self) {
        self.queues.clear();
        self.starved.fill(false);
        self.core.forget();
    }
}

#[cfg(test)]
mod tests;
