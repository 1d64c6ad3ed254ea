//! `hostile`: a guest that attacks its monitor, through everything the monitor shows it.
//!
//! Owns: the workers, one a CPU, the canaries and the end. Stays outside: the attacks (`registers`, `rings`, `ports`).
//!
//! Devices are pointed at an arena of this command and at addresses where no RAM is, so a monitor that keeps to what
//! it is told cannot harm this kernel; blocks around the arena show whether it does. Drivers lose their devices, so
//! interrupts stay masked from the start and the machine ends with the command: status 0 when all canaries are whole,
//! 4 when not. Invariant: what the devices may write (the upper half of the arena) is never what they read rings from
//! (the lower half): otherwise they would be told random addresses, the kernel's among them.

mod ports;
mod registers;
mod rings;
mod target;

use super::support::{Block, Damage, Random, parse};
use super::{Args, Command, Outcome, fail, usage};
use crate::arch::{cpu, percpu, port, smp, time};
use crate::boot_info;
use crate::drivers;
use crate::task;
use crate::{console, serial};
use core::sync::atomic::{AtomicU64, Ordering};
use mm::addr::Order;
use mm::phys::GfpFlags;
use shared::exit::ExitStatus;
use shared::layout::DEBUG_EXIT_PORT;
use target::{Arena, Target};

/// The family.
pub const HOSTILE: &[Command] = &[Command {
    name: "hostile",
    usage: "registers|rings|ports|all [seconds=N] [seed=S]",
    summary: "attacks the monitor through its devices, then ends the machine",
    run: hostile,
}];

const DEFAULT_SECONDS: u64 = 2;
const MAX_SECONDS: u64 = 3600;
/// Devices a machine can have.
const MAX_TARGETS: usize = 8;
/// Blocks around the arena that nobody else uses, and their size.
const CANARIES: usize = 32;
const CANARY_ORDER: u32 = 2;
const CANARY_TAG: u64 = 0x6361_6e61_7279;

/// An attack: a few accesses each time; returns how many.
type Attack = fn(&Battle, &mut Random) -> u64;

const ATTACKS: [(&str, Attack); 3] =
    [("registers", registers::attack), ("rings", rings::attack), ("ports", ports::attack)];

/// What the workers share.
struct Battle {
    targets: [Option<Target>; MAX_TARGETS],
    arena: Arena,
    attacks: &'static [(&'static str, Attack)],
    seed: u64,
    /// When to stop, in TSC ticks.
    deadline: u64,
    accesses: AtomicU64,
    workers_done: AtomicU64,
}

impl Battle {
    /// One of the devices.
    fn target(&self, random: &mut Random) -> Option<&Target> {
        let count = self.targets.iter().flatten().count() as u64;
        self.targets.iter().flatten().nth(random.below(count.max(1)) as usize)
    }

    fn fight(&self) {
        percpu::mask();
        let mut random = Random::new(self.seed ^ u64::from(percpu::cpu()) << 32);
        let mut accesses = 0;
        while cpu::rdtsc() < self.deadline {
            for (_, attack) in self.attacks {
                accesses += attack(self, &mut random);
            }
        }
        self.accesses.fetch_add(accesses, Ordering::AcqRel);
        self.workers_done.fetch_add(1, Ordering::AcqRel);
    }
}

fn hostile(args: &mut Args<'_>) -> Outcome {
    let way = args.next_word().unwrap_or_default();
    let attacks = match ATTACKS.iter().position(|(name, _)| *name == way) {
        Some(at) => ATTACKS.get(at..=at).unwrap_or_default(),
        None if way == "all" => &ATTACKS,
        None => return Err(usage(format_args!("hostile: expected registers, rings, ports or all"))),
    };
    let (mut seconds, mut seed) = (DEFAULT_SECONDS, 1);
    while let Some(word) = args.next_word() {
        match parse::setting(word) {
            ("seconds", Some(text)) => seconds = parse::count("seconds", text)?,
            ("seed", Some(text)) => seed = parse::number("seed", text)?,
            _ => return Err(parse::unexpected("hostile", word)),
        }
    }
    if seconds > MAX_SECONDS {
        return Err(usage(format_args!("hostile: bad time (1 to {MAX_SECONDS} s)")));
    }
    let no_memory = || fail(ExitStatus::OutOfMemory, format_args!("hostile: no memory for its arena"));
    // The arena between them, as far as the allocator puts them side by side.
    let (before, arena, after) = (Canaries::plant(), Arena::alloc(&mut Random::new(seed)), Canaries::plant());
    let (Some(before), Some(arena), Some(after)) = (before, arena, after) else { return Err(no_memory()) };
    let mut battle = Battle {
        targets: [const { None }; MAX_TARGETS],
        arena,
        attacks,
        seed,
        deadline: 0,
        accesses: AtomicU64::new(0),
        workers_done: AtomicU64::new(0),
    };
    for (slot, window) in battle.targets.iter_mut().zip(drivers::windows(boot_info::cmdline())) {
        *slot = Target::open(&window);
    }
    let devices = battle.targets.iter().flatten().count();
    if devices == 0 {
        return Err(fail(ExitStatus::CheckFailed, format_args!("hostile: there is no device to attack")));
    }
    console::print(format_args!("hostile: {way} devices={devices} cpus={} seed={seed}\n", smp::online()));
    console::flush();
    battle.deadline = cpu::rdtsc() + time::ns_to_tsc(seconds.saturating_mul(1_000_000_000));
    fight_on_all_cpus(&battle);
    // A console that still has rings to read would write garbage into the lines below.
    battle.targets.iter().flatten().for_each(rings::reset);
    let broken = before.damage().or_else(|| after.damage());
    let accesses = battle.accesses.load(Ordering::Acquire);
    // The console's device is not to be relied on any more.
    let status = match broken {
        None => ExitStatus::Ok,
        Some(damage) => {
            serial::print(format_args!("BUG: hostile: somebody wrote to pfn {:#x}\n", damage.pfn.get()));
            ExitStatus::Corruption
        }
    };
    serial::print(format_args!("hostile: accesses={accesses} canaries={}\n", 2 * CANARIES));
    port::write_u32(DEBUG_EXIT_PORT, status.code());
    cpu::stop()
}

/// Marked blocks that nobody should write to.
struct Canaries([Option<Block>; CANARIES]);

impl Canaries {
    fn plant() -> Option<Self> {
        let order = Order::new(CANARY_ORDER)?;
        let mut blocks = [const { None }; CANARIES];
        for slot in &mut blocks {
            let block = Block::alloc(GfpFlags::GFP_KERNEL, order).ok()?;
            block.mark(CANARY_TAG);
            *slot = Some(block);
        }
        Some(Self(blocks))
    }

    /// The first frame that is not as it was.
    fn damage(&self) -> Option<Damage> {
        self.0.iter().flatten().find_map(|block| block.damage(CANARY_TAG))
    }
}

/// Every CPU fights; returns, with interrupts masked for good, when all have stopped.
fn fight_on_all_cpus(battle: &Battle) {
    let here = percpu::cpu();
    let mut others = 0;
    for cpu in (0..smp::online()).filter(|cpu| *cpu != here) {
        // A CPU that gets no task is one attacker less.
        others += u64::from(task::spawn("hostile", cpu, entry, battle as *const Battle as usize).is_ok());
    }
    battle.fight();
    while battle.workers_done.load(Ordering::Acquire) <= others {
        core::hint::spin_loop();
    }
}

fn entry(argument: usize) {
    // SAFETY: the machine ends with the battle, which its owner never leaves.
    let battle = unsafe { &*(argument as *const Battle) };
    battle.fight();
    // This CPU's drivers have lost their devices: it takes no interrupt any more.
    cpu::stop()
}
