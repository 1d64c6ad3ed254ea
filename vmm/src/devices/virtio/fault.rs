//! Why a virtio device stopped.
//!
//! Owns: the reasons for `DEVICE_NEEDS_RESET`. Stays outside: errors of single requests, which
//! are answered in the request's status byte and leave the device running.
//!
//! Source: VIRTIO 1.2, section 2.1.2 (DEVICE_NEEDS_RESET).

/// A driver error, or rarely a host error, after which the device serves nothing until reset.
#[derive(Debug, thiserror::Error)]
pub enum DeviceFault {
    /// The driver enabled a queue with a size or an alignment the specification forbids.
    #[error("queue {queue} is not usable: {source}")]
    QueueSetup {
        /// Index of the queue.
        queue: usize,
        /// What is wrong with it.
        source: virtio_queue::Error,
    },
    /// The driver enabled a queue whose size is no 16-bit number.
    #[error("queue {queue} has {size} entries; sizes are powers of two up to the device's maximum")]
    QueueSize {
        /// Index of the queue.
        queue: usize,
        /// The size the driver wrote.
        size: u32,
    },
    /// Part of a ring lies outside guest RAM.
    #[error("the rings of queue {queue} are not all in guest memory")]
    QueueAddress {
        /// Index of the queue.
        queue: usize,
    },
    /// The driver broke a ring while it was in use.
    #[error("broken ring: {0}")]
    Ring(#[from] virtio_queue::Error),
    /// A descriptor chain makes no sense, and there is no status byte to say so.
    #[error("bad request at descriptor {head}: {reason}")]
    Chain {
        /// Index of the chain's first descriptor.
        head: u16,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The host has nothing to do disk I/O with.
    #[error("the host cannot do disk I/O: {0}")]
    Engine(std::io::Error),
    /// The host could not watch the device's queues.
    #[error("cannot watch queue {queue}: {reason}")]
    EventLoop {
        /// Index of the queue.
        queue: usize,
        /// The event loop's own words.
        reason: String,
    },
}
