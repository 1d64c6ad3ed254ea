//! The guest under QEMU's microvm, as a peer of the monitor and as a counter of instructions.
//!
//! Source: QEMU 7.2 documentation, "microvm" and "-icount"; `isa-debug-exit` for the way out.

use std::path::Path;
use std::process::Command;

/// Who executes the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// KVM. QEMU 7.2 cannot set MSR 0x10a on software KVM, so that capability is hidden.
    Kvm,
    /// QEMU's translator, as fast as it can.
    Tcg,
    /// QEMU's translator, one nanosecond of guest time for each instruction.
    Counted,
    /// The same, but time does not jump to the next timer when the guest has nothing to do.
    CountedAwake,
}

/// CPUs by ACPI; none of the old PC's devices, which the guest does not use.
const MACHINE: &str = "microvm,acpi=on,ioapic2=off,pic=off,pit=off,rtc=off,auto-kernel-cmdline=off";

/// A command that boots `elf` with `cpus` vCPUs and `memory` and runs the guest command `run`.
pub fn microvm(engine: Engine, elf: &Path, cpus: u32, memory: &str, run: &str) -> Command {
    let mut command = machine(engine, elf, cpus, memory);
    command.args(["-append", &format!("run=\"{run}\"")]);
    command
}

/// A command that boots `elf` on one vCPU with `memory` and these disks, and runs the guest command `run`, all of whose
/// instructions `plugin` counts; it writes a count to `marks` at each mark of the guest. Time goes on as on any machine while
/// the guest waits for a disk, so that nothing that it set for later comes meanwhile.
pub fn counted(elf: &Path, memory: &str, disks: &[&Path], run: &str, plugin: &Path, marks: &Path) -> Command {
    let mut command = machine(Engine::CountedAwake, elf, 1, memory);
    command.args(["-plugin", &format!("{},out={}", plugin.display(), marks.display())]);
    command.args(["-global", "virtio-mmio.force-legacy=false"]);
    let mut windows = String::new();
    for (n, disk) in disks.iter().enumerate() {
        command.args(["-drive", &format!("file={},if=none,format=raw,id=disk{n}", disk.display())]);
        command.args(["-device", &format!("virtio-blk-device,drive=disk{n},bus=virtio-mmio-bus.{n}")]);
        // QEMU `include/hw/i386/microvm.h`: where the windows are, and the first of their interrupts with ACPI.
        windows += &format!("virtio_mmio.device=512@{:#x}:{} ", 0xfeb0_0000 + n * 512, 16 + n);
    }
    command.args(["-append", &format!("{windows}run=\"{run}\"")]);
    command
}

fn machine(engine: Engine, elf: &Path, cpus: u32, memory: &str) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-M", MACHINE, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    command.args(match engine {
        Engine::Kvm => ["-accel", "kvm", "-cpu", "host,arch-capabilities=off"].as_slice(),
        Engine::Tcg => ["-accel", "tcg", "-cpu", "max"].as_slice(),
        Engine::Counted => {
            ["-accel", "tcg,thread=single", "-cpu", "qemu64", "-icount", "shift=0,sleep=off"].as_slice()
        }
        Engine::CountedAwake => {
            ["-accel", "tcg,thread=single", "-cpu", "qemu64", "-icount", "shift=0,sleep=on"].as_slice()
        }
    });
    command.args(["-smp", &cpus.to_string(), "-m", memory, "-serial", "stdio"]);
    command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
    command.arg("-kernel").arg(elf);
    command
}
