//! The Ballast kernel: a single-address-space unikernel that is nothing but a memory manager.
//!
//! | module | job |
//! |---|---|
//! | [`arch`] | everything that names a register, an instruction or a vector |
//! | [`boot_info`], [`platform`] | what the monitor and the firmware say about the machine |
//! | [`machine`], [`memory`] | the ports of `mm` on this machine, and boot of the memory manager |
//! | [`timer`], [`task`] | timers, threads, wait queues |
//! | [`context`] | contexts: roots of their own, pids, faults |
//! | [`files`] | volumes and disks as the page cache knows them, paths |
//! | [`drivers`], [`console`], [`serial`] | devices |
//! | [`settings`] | what the parameters say in the end |
//! | [`commands`], [`shell`] | what can be asked of the kernel, by script or at a prompt |
//! | [`proc`], [`stats`] | Linux's texts about this machine, counters for the monitor |
//! | [`report`], [`symbols`] | last words |
//! | [`text`] | strings of fixed room |
#![no_std]
#![no_main]

mod arch;
mod boot_info;
mod commands;
mod console;
mod context;
mod drivers;
mod files;
mod machine;
mod memory;
mod platform;
mod proc;
mod report;
mod serial;
mod settings;
mod shell;
mod stats;
mod stress;
mod symbols;
mod task;
mod text;
mod timer;

use arch::boot::Entry;
use arch::percpu::PerCpu;
use arch::{call, cpu, irq, lapic, paging, smp, time, tlb};
use mm::port::CpuId;
use platform::Platform;
use shared::exit::ExitStatus;
use shared::params;

/// Boot order, top to bottom. Runs on the boot stack of the boot CPU.
fn kernel_main(entry: Entry) -> ! {
    time::mark_boot();
    let info = match boot_info::read(entry.start_info) {
        Ok(info) => info,
        Err(error) => report::unable(format_args!("not started by a PVH monitor: {error:?}")),
    };
    let cmdline = info.cmdline();
    choose_ring(cmdline);
    lapic::enable();
    time::init();
    paging::detect();
    irq::set_handler(irq::line::FLUSH, tlb::on_message);
    irq::set_handler(irq::line::CALL, call::on_message);
    timer::start();
    irq::set_epilogue(task::after_interrupt);
    cpu::enable_interrupts();
    irq::enable();
    let ram = info.ram_bytes();
    settings::load(cmdline, ram);
    let mut platform = Platform::detect(info, lapic::id());
    if let Err(error) = memory::boot::init(info, &mut platform, cmdline) {
        report::unable(format_args!("memory: {error}"));
    }
    settings::settle_defaults();
    memory::checks::start();
    if let Err(error) = memory::slab::init(platform.apic_ids().len() as u32) {
        report::out_of_memory(format_args!("no caches: {error}"));
    }
    become_task();
    banner(&entry, &platform);
    start_devices(cmdline, &platform);
    start_cpus(&platform);
    settings::apply_reserves();
    memory::hugetlb::boot(cmdline);
    memory::areas::count_cpus();
    start_contexts();
    memory::shrinkers::init();
    memory::kswapd::start();
    files::boot(cmdline);
    memory::swap::boot(cmdline);
    stats::start();
    stats::pressure::start();
    let status = match settings::complain(cmdline, ram).and_then(|()| memory::slab::check(cmdline)) {
        Ok(()) => {
            memory::checks::start_failures();
            run(cmdline)
        }
        Err(status) => status,
    };
    report::exit(status)
}

/// What `run=` asks for, or the script that comes over the console, or the prompt.
fn run(cmdline: &str) -> ExitStatus {
    if let Some(script) = params::find_last(cmdline, "run").and_then(|token| token.value) {
        return commands::run_user_script(script);
    }
    match settings::number("run_bytes").and_then(|bytes| usize::try_from(bytes).ok()) {
        Some(bytes @ 1..) => shell::run_sent(bytes),
        _ => shell::run(),
    }
}

/// The first line of output.
fn banner(entry: &Entry, platform: &Platform) {
    console::print(format_args!(
        "ballast {} ring={} probe_tsc={} cpus={} mem={}K boot_us={}\n",
        env!("CARGO_PKG_VERSION"),
        cpu::ring(),
        entry.probe_tsc,
        platform.apic_ids().len(),
        memory::PHYS.total_managed_pages() * 4,
        time::since_boot_ns() / 1000,
    ));
}

/// From here on there can be contexts.
fn start_contexts() {
    if let Err(error) = memory::vm::boot() {
        report::out_of_memory(format_args!("no contexts: {error:?}"));
    }
    context::boot();
}

fn start_devices(cmdline: &str, platform: &Platform) {
    let callbacks = drivers::Callbacks {
        print: |line| console::print(line),
        console_ready: console::use_virtio,
        console_has_room: console::pump,
        cpus: platform.apic_ids().len(),
    };
    if !drivers::discover(cmdline, platform.io_apics(), callbacks).console {
        console::use_serial();
    }
}

/// The `ring=` parameter has the last word, where the host allows it.
fn choose_ring(cmdline: &str) {
    match (params::get_enum(cmdline, "ring"), cpu::ring()) {
        (Some("3"), 0) => arch::boot::enter_ring3(),
        (Some("0"), 3) => report::unable(format_args!(
            "ring=0: this host interprets ring 0 in software and cannot run compiled code there; use --ring auto"
        )),
        _ => {}
    }
}

/// Makes the running code a task, so that it can wait.
fn become_task() {
    let (bottom, top) = arch::percpu::stack();
    task::pressure::apply_settings();
    if let Err(error) = task::boot() {
        report::out_of_memory(format_args!("no cache of tasks: {error}"));
    }
    let started = task::adopt("init", bottom, top).and_then(|_| task::start_idle());
    if let Err(error) = started {
        report::out_of_memory(format_args!("no idle task: {error:?}"));
    }
}

fn start_cpus(platform: &Platform) {
    give_lists(0);
    // SAFETY: the trampoline page is in the first MiB, which boot reserved.
    unsafe { smp::prepare(ap_main) };
    for (cpu, apic_id) in (0u32..).zip(platform.apic_ids()).skip(1) {
        start_cpu(cpu, *apic_id);
    }
}

fn start_cpu(cpu: u32, apic_id: u32) {
    let pages = size_of::<PerCpu>().div_ceil(4096);
    let (Some((_, area)), Some(stack)) = (memory::dma_alloc(pages), memory::stack::Stack::alloc()) else {
        console::print(format_args!("CPU {cpu}: no memory, not started\n"));
        return;
    };
    let area = area.cast::<PerCpu>().as_ptr();
    // SAFETY: the frames are ours, zeroed and page-aligned.
    unsafe { area.write(PerCpu::new()) };
    let resources = smp::Resources { area, stack_bottom: stack.bottom(), stack_top: stack.top() };
    // Also a CPU that comes too late runs on it.
    core::mem::forget(stack);
    // SAFETY: `prepare` has run; area and stack are this CPU's for good; nothing changed the boot tables.
    match unsafe { smp::start(apic_id, cpu, &resources) } {
        Ok(()) => give_lists(cpu),
        Err(silent) => console::print(format_args!("CPU {cpu}: APIC {} does not answer\n", silent.apic_id)),
    }
}

/// Gives a CPU lists of free pages of its own. Without them it goes to the zones.
fn give_lists(cpu: u32) {
    if let Err(error) = memory::PHYS.setup_cpu(CpuId(cpu)) {
        console::print(format_args!("CPU {cpu}: no per-CPU page lists: {error}\n"));
    }
}

/// What every other CPU runs, on its boot stack: its idle task.
fn ap_main() -> ! {
    let (bottom, top) = arch::percpu::stack();
    match task::adopt("idle", bottom, top) {
        Ok(_) => task::become_idle(),
        Err(_) => cpu::stop(),
    }
}
