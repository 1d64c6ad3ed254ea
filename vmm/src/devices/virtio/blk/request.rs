//! What a descriptor chain on a block queue asks for, and what it is told in the end.
//!
//! Owns: the request format, without any assumption about how the driver cut it into descriptors,
//! and the status byte. Stays outside: doing the request (`device`, `flight`).
//! Invariants: the header is read once, so a driver that changes it afterwards changes nothing.
//! Every chain ends in one of three ways: a [`Request`], a [`Completion`] with an error status,
//! or a [`DeviceFault`] when there is no status byte to write to.
//!
//! Source: VIRTIO 1.2, sections 5.2.6 and 2.7.4.2 (message framing).

use std::sync::atomic::Ordering;

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH,
    VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES,
    VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
};
use virtio_queue::desc::split::Descriptor;
use vm_memory::{Bytes, GuestAddress, GuestMemory, Permissions};

use super::super::chain::Chain;
use super::super::returns::Returns;
use super::super::{DeviceFault, GuestRam};
use super::buffers::{GuestBuffers, Segment};

/// Bytes of `struct virtio_blk_req` before the data: type, reserved, sector.
const HEADER_SIZE: usize = 16;
/// Bytes of `struct virtio_blk_discard_write_zeroes`.
const EXTENT_SIZE: usize = 16;
/// Bytes of the words in which most of a header is read.
const WORD: usize = 8;
/// Descriptors of one chain, so that a driver cannot have the host remember without bound.
const MAX_DESCRIPTORS: usize = 8192;

/// A range of sectors, not checked against the capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First sector.
    pub sector: u64,
    /// Sectors.
    pub sectors: u32,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Fill the buffers from the disk.
    Read {
        /// First sector, not checked against the capacity.
        sector: u64,
    },
    /// Write the buffers to the disk.
    Write {
        /// First sector, not checked against the capacity.
        sector: u64,
    },
    /// Make completed writes stable.
    Flush,
    /// Forget what is in the sectors.
    Discard(Extent),
    /// Set the sectors to zero.
    WriteZeroes {
        /// Which.
        extent: Extent,
        /// They may be given back to the file system.
        unmap: bool,
    },
    /// Tell the disk's name.
    GetId,
    /// A type this device does not know.
    Unknown,
}

/// A request, detached from the ring.
pub struct Request {
    /// What to do.
    pub operation: Operation,
    /// Where the data is; empty for operations without data.
    pub data: GuestBuffers,
    reply: Reply,
}

/// The status byte of section 5.2.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Ok,
    /// Not done, or done in part.
    IoError,
    /// The device does not know the request type.
    Unsupported,
}

/// Where the outcome of a request goes.
#[derive(Clone, Copy, Debug)]
struct Reply {
    head: u16,
    /// Address of the status byte, checked to be in guest RAM.
    status: GuestAddress,
    /// Device-writable bytes before the status byte.
    room: u32,
}

/// A request with its outcome, ready to be given back to the driver.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    reply: Reply,
    status: Status,
    filled: u32,
}

/// Why a chain is not a request.
pub enum Rejected {
    /// The driver is told by a status byte.
    Answer(Completion),
    /// The driver cannot be told; the device stops.
    Fault(DeviceFault),
}

/// Reads requests. Keeps the memory of those that are over, so that a busy disk allocates nothing.
#[derive(Default)]
pub struct Parser {
    segments: Segments,
    spare: Vec<GuestBuffers>,
}

impl Parser {
    /// Reads the request that `chain` holds.
    pub fn parse(&mut self, chain: Chain<'_>, memory: &GuestRam) -> Result<Request, Rejected> {
        let head = chain.head_index();
        let Self { segments, spare } = self;
        segments.collect(chain).map_err(|reason| fault(head, reason))?;
        let reply = segments.take_reply(head, memory).map_err(|reason| fault(head, reason))?;
        let refuse = || Rejected::Answer(reply.complete(Status::IoError, 0));
        if segments.disordered {
            return Err(refuse());
        }
        let header: [u8; HEADER_SIZE] = segments.take_front(memory).ok_or_else(refuse)?;
        let [k0, k1, k2, k3, _, _, _, _, sector @ ..] = header;
        let sector = u64::from_le_bytes(sector);
        let kind = u32::from_le_bytes([k0, k1, k2, k3]);
        let (operation, access) = match kind {
            VIRTIO_BLK_T_IN => (Operation::Read { sector }, Permissions::Write),
            VIRTIO_BLK_T_OUT => (Operation::Write { sector }, Permissions::Read),
            VIRTIO_BLK_T_GET_ID => (Operation::GetId, Permissions::Write),
            VIRTIO_BLK_T_FLUSH => (Operation::Flush, Permissions::No),
            VIRTIO_BLK_T_DISCARD | VIRTIO_BLK_T_WRITE_ZEROES => {
                // One extent is all that the configuration space allows.
                let extent = segments.take_front(memory).filter(|_| segments.readable_bytes() == 0);
                (ranged(kind, extent.ok_or_else(refuse)?), Permissions::No)
            }
            _ => (Operation::Unknown, Permissions::No),
        };
        let list = match access {
            Permissions::Write => segments.writable.as_slice(),
            Permissions::Read => segments.readable.as_slice(),
            _ => &[],
        };
        let mut data = spare.pop().unwrap_or_else(|| GuestBuffers::none(memory));
        data.fill(memory, list.iter().copied(), access).ok_or_else(refuse)?;
        Ok(Request { operation, data, reply })
    }

    /// Takes back a request that is over.
    pub fn recycle(&mut self, request: Request) {
        if request.data.is_small() {
            self.spare.push(request.data);
        }
    }
}

impl Request {
    /// The request is over: `filled` bytes of its device-writable data were written, from the
    /// first one on.
    pub fn complete(&self, status: Status, filled: u32) -> Completion {
        self.reply.complete(status, filled)
    }
}

/// The operation of a discard or write-zeroes request with these bytes of data.
fn ranged(kind: u32, extent: [u8; EXTENT_SIZE]) -> Operation {
    let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, flags @ ..] = extent;
    let extent = Extent {
        sector: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
        sectors: u32::from_le_bytes([n0, n1, n2, n3]),
    };
    match (kind, u32::from_le_bytes(flags)) {
        (VIRTIO_BLK_T_DISCARD, 0) => Operation::Discard(extent),
        (VIRTIO_BLK_T_WRITE_ZEROES, flags) if flags & !VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP == 0 => {
            Operation::WriteZeroes { extent, unmap: flags != 0 }
        }
        // Section 5.2.6.2: flags that the device does not know are unsupported, not errors.
        _ => Operation::Unknown,
    }
}

impl Reply {
    fn complete(self, status: Status, filled: u32) -> Completion {
        Completion { reply: self, status, filled: filled.min(self.room) }
    }
}

impl Completion {
    /// Writes the status byte and gives the chain back to the driver.
    pub fn deliver(self, returns: &mut Returns) -> Result<(), DeviceFault> {
        let Reply { head, status, room } = self.reply;
        let code = match self.status {
            Status::Ok => VIRTIO_BLK_S_OK,
            Status::IoError => VIRTIO_BLK_S_IOERR,
            Status::Unsupported => VIRTIO_BLK_S_UNSUPP,
        };
        let stored = returns.memory().store(code as u8, status, Ordering::Relaxed);
        stored.map_err(virtio_queue::Error::GuestMemory)?;
        // The used length promises that many bytes from the first writable one on, so the status
        // byte only counts when there is no gap before it (section 2.7.8.2).
        let written = if self.filled == room { room.saturating_add(1) } else { self.filled };
        returns.complete(head, written)
    }
}

/// The non-empty descriptors of a chain, by direction.
#[derive(Default)]
struct Segments {
    readable: Vec<Segment>,
    writable: Vec<Segment>,
    /// A device-readable descriptor came after a device-writable one.
    disordered: bool,
}

impl Segments {
    /// Holds the descriptors of `chain` from now on.
    fn collect(&mut self, chain: Chain<'_>) -> Result<(), &'static str> {
        self.readable.clear();
        self.writable.clear();
        self.disordered = false;
        let mut last: Option<Descriptor> = None;
        for (index, descriptor) in chain.enumerate() {
            if index == MAX_DESCRIPTORS {
                return Err("it has more than 8192 descriptors");
            }
            last = Some(descriptor);
            let segment = Segment { address: descriptor.addr(), len: descriptor.len() };
            let writable = descriptor.is_write_only();
            self.disordered |= !writable && !self.writable.is_empty();
            match (segment.len, writable) {
                (0, _) => {}
                (_, true) => self.writable.push(segment),
                (_, false) => self.readable.push(segment),
            }
        }
        // The iterator just ends where a chain is broken; then the last descriptor wants a next.
        match last {
            None => Err("its first descriptor cannot be read"),
            Some(last) if last.has_next() => Err("the chain loops or leaves the descriptor table"),
            Some(_) => Ok(()),
        }
    }

    /// Takes the status byte off the end of the writable part.
    fn take_reply(&mut self, head: u16, memory: &GuestRam) -> Result<Reply, &'static str> {
        let last = self.writable.last_mut().ok_or("it has no room for the status byte")?;
        last.len -= 1;
        let status = last.address.0.checked_add(last.len.into()).map(GuestAddress);
        let status = status
            .filter(|&address| memory.check_range(address, 1, Permissions::Write))
            .ok_or("its status byte is not in guest memory")?;
        // The sum cannot overflow: virtio-queue ends a chain at 4 GiB.
        let room = self.writable.iter().map(|segment| segment.len).sum();
        Ok(Reply { head, status, room })
    }

    /// Bytes that are left in the readable part.
    fn readable_bytes(&self) -> u64 {
        self.readable.iter().map(|segment| u64::from(segment.len)).sum()
    }

    /// Takes `N` bytes off the front of the readable part.
    fn take_front<const N: usize>(&mut self, memory: &GuestRam) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        if let Some(first) = self.readable.first_mut().filter(|first| first.holds_words(N)) {
            // The usual case, without a general copy.
            for (at, word) in (first.address.0..).step_by(WORD).zip(bytes.chunks_exact_mut(WORD)) {
                let value: u64 = memory.load(GuestAddress(at), Ordering::Relaxed).ok()?;
                word.copy_from_slice(&value.to_ne_bytes());
            }
            first.address.0 = first.address.0.checked_add(N as u64)?;
            first.len -= N as u32;
            return Some(bytes);
        }
        let mut rest = bytes.as_mut_slice();
        for segment in &mut self.readable {
            // At most `N`.
            let take = rest.len().min(usize::try_from(segment.len).ok()?);
            let (now, later) = std::mem::take(&mut rest).split_at_mut_checked(take)?;
            memory.read_slice(now, segment.address).ok()?;
            rest = later;
            segment.address.0 = segment.address.0.checked_add(take as u64)?;
            segment.len -= take as u32;
        }
        rest.is_empty().then_some(bytes)
    }
}

fn fault(head: u16, reason: &'static str) -> Rejected {
    Rejected::Fault(DeviceFault::Chain { head, reason })
}
