//! The virtio devices, from the guest's side.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::sync::{Arc, Mutex};
use std::thread::LocalKey;

use vmm::devices::virtio::blk::{Block, DiskImage};
use vmm::devices::virtio::console::Console;

use crate::input::Input;
use crate::rig::{RING, Rig, ring};

/// Bytes of the disk.
const DISK: u64 = 64 << 10;
/// Where a request of the usual form begins; the driver's own buffers are around it.
const HEADER: u64 = 0x4000;
/// Most operations of one run.
const OPERATIONS: usize = 64;

thread_local! {
    static DISK_RIG: RefCell<Rig> = RefCell::new(Rig::new(Arc::new(Mutex::new(disk()))));
    static CONSOLE: Arc<Mutex<Console>> = Arc::new(Mutex::new(started_console()));
    static CONSOLE_RIG: RefCell<Rig> = RefCell::new(CONSOLE.with(|console| Rig::new(console.clone())));
}

fn disk() -> Block {
    Block::new(DiskImage::temporary(DISK).expect("a temporary disk"), "fuzz").expect("a short name")
}

/// A console whose writer runs.
fn started_console() -> Console {
    let console = Console::new(sink());
    console.start_writer(|| true).expect("a thread");
    console
}

/// A place for output that takes everything.
fn sink() -> File {
    OpenOptions::new().write(true).open("/dev/null").expect("/dev/null")
}

/// Runs `attack` on a rig as good as new.
fn with(rig: &'static LocalKey<RefCell<Rig>>, attack: impl FnOnce(&mut Rig)) {
    rig.with_borrow_mut(|rig| {
        rig.reset();
        attack(rig);
    });
}

/// Register accesses of any kind, RAM writes and queue services, on a disk or a console.
pub fn transport(data: &[u8]) {
    let mut input = Input(data);
    let setup = input.u8();
    let (rig, queues) = if setup & 1 == 0 { (&DISK_RIG, 1) } else { (&CONSOLE_RIG, 2) };
    with(rig, |rig| {
        if setup & 2 != 0 {
            rig.bring_up(u64::MAX, queues);
        }
        for _ in 0..OPERATIONS {
            if input.is_empty() {
                break;
            }
            operation(rig, &mut input);
        }
        rig.run();
    });
}

fn operation(rig: &mut Rig, input: &mut Input) {
    match input.u8() % 8 {
        // A register, as drivers write it.
        0..4 => {
            let register = u32::from(input.u8()) * 4;
            rig.register(register, u32::from(input.u16()));
        }
        4 => {
            let register = u32::from(input.u8()) * 4;
            rig.register(register, input.u32());
        }
        5 => {
            let (offset, width) = (input.u64() & 0xffff, usize::from(input.u8() % 17));
            rig.access(offset, input.bytes(width));
        }
        6 => {
            let (address, count) = (u64::from(input.u16()), usize::from(input.u8()));
            rig.put(address, input.bytes(count));
        }
        _ => rig.run(),
    }
}

/// Requests of a disk.
pub fn blk(data: &[u8]) {
    let mut input = Input(data);
    with(&DISK_RIG, |rig| {
        rig.bring_up(features(&mut input), 1);
        // A header, wherever descriptors point to it.
        rig.put(HEADER, &u32::from(input.u8()).to_le_bytes());
        let sector = if input.u8() & 1 == 0 { u64::from(input.u8()) } else { input.u64() };
        rig.put(HEADER + 8, &sector.to_le_bytes());
        submit(rig, 0, &mut input);
        rig.put(HEADER + 16, input.bytes(512));
        rig.kick(0);
    });
}

/// Output and input of a console.
pub fn console(data: &[u8]) {
    let mut input = Input(data);
    with(&CONSOLE_RIG, |rig| {
        rig.bring_up(features(&mut input), 2);
        let typed = usize::from(input.u8());
        submit(rig, 0, &mut input);
        submit(rig, 1, &mut input);
        CONSOLE.with(|console| {
            let mut console = console.lock().expect("no run has panicked");
            console.push_input(input.bytes(typed));
        });
        rig.put(HEADER, input.bytes(512));
        rig.kick(0);
        rig.kick(1);
        rig.access(0x100 + 8, input.bytes(4));
    });
}

/// EVENT_IDX and INDIRECT_DESC, each or not, and the device's own features.
fn features(input: &mut Input) -> u64 {
    let choice = u64::from(input.u8());
    (choice & 3) << 28 | if choice & 4 == 0 { 0xffff } else { 0 }
}

/// Writes a descriptor table and an available ring: descriptors by a compact code, heads as they are.
fn submit(rig: &Rig, queue: u32, input: &mut Input) {
    let [table, avail, _] = ring(queue);
    for slot in 0..u64::from(input.u8() % (RING as u8 + 1)) {
        let code = input.u8();
        let address = match code & 3 {
            0 => HEADER,
            1 => HEADER + u64::from(input.u8()) * 16,
            2 => u64::from(input.u32()),
            _ => input.u64(),
        };
        let length = match code >> 2 & 3 {
            0 => 16,
            1 => u32::from(input.u8()),
            2 => u32::from(input.u8()) * 512,
            _ => input.u32(),
        };
        // NEXT, WRITE and INDIRECT are bits 0 to 2.
        let flags = u16::from(code >> 4 & 7);
        let next = if code & 0x80 == 0 { slot as u16 + 1 } else { input.u8().into() };
        let mut descriptor = address.to_le_bytes().to_vec();
        descriptor.extend(length.to_le_bytes());
        descriptor.extend(flags.to_le_bytes());
        descriptor.extend(next.to_le_bytes());
        rig.put(table + 16 * slot, &descriptor);
    }
    let heads = u16::from(input.u8() % (RING as u8 * 2));
    for n in 0..heads.min(RING) {
        rig.put(avail + 4 + 2 * u64::from(n), &u16::from(input.u8()).to_le_bytes());
    }
    rig.put(avail, &u16::from(input.u8() & 1).to_le_bytes());
    rig.put(avail + 2, &heads.to_le_bytes());
}
