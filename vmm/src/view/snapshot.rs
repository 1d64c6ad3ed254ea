//! One reading of the statistics area of a guest.
//!
//! Owns: finding the area by the kernel's ELF note, reading each group whole, the texts the guest sends at its
//! end. Invariants: reading takes a bounded time whatever the guest does; a group that never becomes quiet is
//! an error, not a wait.

use std::thread;
use std::time::Duration;

use shared::stats::{
    CommandGroup, DiskGroup, Header, MAX_TEXTS_SIZE, MAX_ZONES, MachineGroup, MeminfoGroup, PressureGroup,
    StatsError, StatsNote, TaskGroup, TextGroup, TrapGroup, VmstatGroup, ZoneGroup, check_header, copy_group,
    parse_texts,
};
use zerocopy::FromBytes;

use super::memory::GuestBytes;

/// Attempts to copy a group before a pause; a guest changes one in far less time.
const TRIES: u32 = 64;
/// Pauses before a reader gives up: the guest's CPU may have been taken away in the middle of a change.
const PAUSES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(1);

/// Numbers of the groups, in the order of `shared::stats::StatsArea`.
mod number {
    pub const MACHINE: usize = 0;
    pub const TRAPS: usize = 1;
    pub const TASKS: usize = 2;
    pub const MEMINFO: usize = 3;
    pub const VMSTAT: usize = 4;
    pub const TEXTS: usize = 5;
    pub const COMMANDS: usize = 6;
    pub const DISKS: usize = 7;
    pub const PRESSURE: usize = 8;
    pub const FIRST_ZONE: usize = 9;
}

/// Reads the statistics area of one guest.
pub struct StatsReader {
    memory: Box<dyn GuestBytes>,
    address: u64,
}

/// The numbers of a guest at one moment; each group is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Facts about the machine.
    pub machine: MachineGroup,
    /// Traps and gates.
    pub traps: TrapGroup,
    /// Tasks and time.
    pub tasks: TaskGroup,
    /// `/proc/meminfo`.
    pub meminfo: MeminfoGroup,
    /// `/proc/vmstat`.
    pub vmstat: VmstatGroup,
    /// Every zone, those without memory included.
    pub zones: Vec<ZoneGroup>,
}

/// A text that the guest sent at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentText {
    /// Its file below `/proc`; from a fixed list.
    pub name: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl StatsReader {
    /// A reader of the area that `note` names, in `memory`.
    pub fn new(memory: Box<dyn GuestBytes>, note: StatsNote) -> Self {
        Self { memory, address: note.address }
    }

    /// Reads everything that the renderers need.
    pub fn snapshot(&self) -> Result<Snapshot, StatsError> {
        self.check()?;
        let machine: MachineGroup = self.group(number::MACHINE)?;
        let zones = usize::try_from(machine.zones).unwrap_or(MAX_ZONES).min(MAX_ZONES);
        Ok(Snapshot {
            machine,
            traps: self.group(number::TRAPS)?,
            tasks: self.group(number::TASKS)?,
            meminfo: self.group(number::MEMINFO)?,
            vmstat: self.group(number::VMSTAT)?,
            zones: (0..zones).map(|zone| self.group(number::FIRST_ZONE + zone)).collect::<Result<_, _>>()?,
        })
    }

    /// The commands that have ended so far.
    pub fn commands(&self) -> Result<CommandGroup, StatsError> {
        self.check()?;
        self.group(number::COMMANDS)
    }

    /// What the guest's disks have done.
    pub fn disks(&self) -> Result<DiskGroup, StatsError> {
        self.check()?;
        self.group(number::DISKS)
    }

    /// When memory was short.
    pub fn pressure(&self) -> Result<PressureGroup, StatsError> {
        self.check()?;
        self.group(number::PRESSURE)
    }

    /// The texts that the guest sent when it ended; none before.
    pub fn texts(&self) -> Result<Vec<SentText>, StatsError> {
        self.check()?;
        let group: TextGroup = self.group(number::TEXTS)?;
        let length = usize::try_from(group.length).unwrap_or(MAX_TEXTS_SIZE).min(MAX_TEXTS_SIZE);
        let mut bytes = vec![0; length];
        self.memory.read(group.address, &mut bytes).ok_or(StatsError::Outside(group.address))?;
        let texts = parse_texts(&bytes);
        Ok(texts.map(|text| SentText { name: text.name, bytes: text.bytes.to_vec() }).collect())
    }

    fn check(&self) -> Result<(), StatsError> {
        let mut header = [0; size_of::<Header>()];
        self.copy(0, &mut header)?;
        check_header(&header)
    }

    fn copy(&self, offset: usize, bytes: &mut [u8]) -> Result<(), StatsError> {
        let outside = StatsError::Outside(self.address);
        let address = self.address.checked_add(offset as u64).ok_or(outside)?;
        self.memory.read(address, bytes).ok_or(outside)
    }

    fn group<T: FromBytes>(&self, number: usize) -> Result<T, StatsError> {
        let mut buffer = vec![0; size_of::<T>()];
        let mut pauses = 0;
        loop {
            let copied = copy_group(number, TRIES, &mut buffer, &mut |at, bytes| self.copy(at, bytes));
            match copied {
                Ok(bytes) => {
                    let short = StatsError::Short { need: size_of::<T>(), have: bytes.len() };
                    return T::read_from_bytes(bytes).map_err(|_| short);
                }
                Err(StatsError::Busy { .. }) if pauses < PAUSES => {
                    pauses += 1;
                    thread::sleep(PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests;
