//! The arguments QEMU gets.
//!
//! Owns: the microvm machine as QEMU 7.2 and later build it with `acpi=on,ioapic2=off`: eight
//! virtio-mmio windows of 512 bytes from 0xfeb00000, interrupts from I/O APIC pin 16 on.
//! Stays outside: starting and watching QEMU (the parent module).

use std::path::{Path, PathBuf};

use shared::layout::DEBUG_EXIT_PORT;

use crate::config::{DiskConfig, MachineConfig};
use crate::devices::virtio::blk::{Cache, FaultPlan};

use super::TcgError;

/// First virtio-mmio window of the machine, and the size of each.
const WINDOW_BASE: u64 = 0xfeb0_0000;
const WINDOW_SIZE: u64 = 512;
/// Interrupt of the first window.
const FIRST_GSI: u64 = 16;
/// Windows of the machine; the console takes one.
const WINDOWS: usize = 8;

/// Files QEMU opens by path.
pub(super) struct Files {
    /// The kernel.
    pub kernel: PathBuf,
    /// The images, in the order of the disks.
    pub disks: Vec<PathBuf>,
    /// Where QEMU logs CPU resets.
    pub log: PathBuf,
    /// What guest RAM is, if it is a file.
    pub ram: Option<PathBuf>,
    /// Where the serial port writes, if the console has the standard streams for itself.
    pub serial: Option<PathBuf>,
    /// Where QEMU copies the guest's output, if anywhere.
    pub output: Option<PathBuf>,
}

/// All arguments for the machine of `config`. Fails when it has more disks than windows.
pub(super) fn arguments(config: &MachineConfig, cpu: &str, files: &Files) -> Result<Vec<String>, TcgError> {
    let devices = config.disks.len() + 1;
    if devices > WINDOWS {
        return Err(TcgError::TooManyDisks(config.disks.len()));
    }
    let mut list: Vec<String> = Vec::new();
    let mut add = |words: &[&str]| list.extend(words.iter().map(|word| (*word).to_owned()));
    let machine = "microvm,acpi=on,ioapic2=off,pic=off,pit=off,rtc=off,auto-kernel-cmdline=off";
    let backend = if files.ram.is_some() { ",memory-backend=ram" } else { "" };
    add(&["-machine", &format!("{machine}{backend}"), "-accel", "tcg", "-cpu", cpu]);
    if let Some(ram) = &files.ram {
        let (path, size) = (quote(&path_text(ram)), config.topology.memory());
        add(&["-object", &format!("memory-backend-file,id=ram,share=on,size={size},mem-path={path}")]);
    }
    add(&["-smp", &config.topology.cpu_count().to_string()]);
    add(&["-m", &format!("{}M", config.topology.memory() >> 20)]);
    add(&["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-monitor", "none"]);
    add(&["-d", "cpu_reset", "-D", &path_text(&files.log)]);
    add(&["-global", "virtio-mmio.force-legacy=false"]);
    add(&["-device", &format!("isa-debug-exit,iobase={DEBUG_EXIT_PORT:#x},iosize=4"), "-device", "i8042"]);
    let copy = files.output.as_deref().map(|path| format!(",logfile={}", quote(&path_text(path))));
    let copy = copy.unwrap_or_default();
    if let Some(serial) = &files.serial {
        add(&["-chardev", &format!("stdio,id=console,signal=off{copy}")]);
        add(&["-chardev", &format!("file,id=serial,path={}", quote(&path_text(serial)))]);
        add(&["-serial", "chardev:serial"]);
    } else {
        let console = format!("stdio,id=console,mux=on,signal=off{copy}");
        add(&["-chardev", &console, "-serial", "chardev:console"]);
    }
    add(&["-device", "virtio-serial-device,max_ports=1,bus=virtio-mmio-bus.0"]);
    add(&["-device", "virtconsole,chardev=console"]);
    for (index, (disk, path)) in config.disks.iter().zip(&files.disks).enumerate() {
        add(&["-drive", &drive(index, disk, path)?, "-device", &block_device(index, disk)]);
    }
    add(&["-kernel", &path_text(&files.kernel), "-append", &cmdline(config, devices)]);
    Ok(list)
}

fn drive(index: usize, disk: &DiskConfig, path: &Path) -> Result<String, TcgError> {
    let read_only = if disk.read_only { "on" } else { "off" };
    let path = quote(&path_text(path));
    let cache = match disk.cache {
        Cache::Writeback => "writeback",
        Cache::None => "none",
    };
    let FaultPlan { latency, bytes_per_second, bad_reads, bad_writes, torn_write, fail_nth } = &disk.faults;
    let injected = [
        ("latency=", latency.is_some()),
        ("error=", !bad_reads.is_empty() || !bad_writes.is_empty()),
        ("torn=", torn_write.is_some()),
        ("fail_nth=", fail_nth.is_some()),
    ];
    if let Some((option, _)) = injected.iter().find(|(_, given)| *given) {
        return Err(TcgError::Faults(option));
    }
    let rate = bytes_per_second.map_or_else(String::new, |rate| format!(",throttling.bps-total={rate}"));
    Ok(format!(
        "if=none,id=disk{index},format=raw,file.locking=off,readonly={read_only},cache={cache}{rate},file={path}"
    ))
}

fn block_device(index: usize, disk: &DiskConfig) -> String {
    let id = quote(&disk.id);
    format!("virtio-blk-device,drive=disk{index},serial={id},bus=virtio-mmio-bus.{}", index + 1)
}

/// The guest's command line. QEMU's machine has no SRAT, so the guest makes the nodes up, unless the user's own parameters,
/// which come later, say otherwise.
fn cmdline(config: &MachineConfig, devices: usize) -> String {
    let nodes = config.topology.nodes().len();
    let fake = (nodes > 1).then(|| format!("numa=fake={nodes}"));
    let given = Some(config.cmdline.clone()).filter(|text| !text.is_empty());
    let mut words: Vec<String> = fake.into_iter().chain(given).collect();
    words.extend((0..devices as u64).map(|index| {
        let base = WINDOW_BASE + index * WINDOW_SIZE;
        format!("virtio_mmio.device={WINDOW_SIZE}@{base:#x}:{}", FIRST_GSI + index)
    }));
    words.join(" ")
}

/// Paths reach QEMU as text; images whose path is none are opened by descriptor path anyway.
fn path_text(path: &Path) -> String {
    path.display().to_string()
}

/// QEMU separates options with commas and takes a doubled one as part of the value.
fn quote(text: &str) -> String {
    text.replace(',', ",,")
}

#[cfg(test)]
mod tests;
