//! Linux as a guest inside the harness: its RAM disk and its file system.
//!
//! Stays outside: what the test makes of it (`tests/tests/linux_guest.rs`, which knows the numbers below).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::cpio::Archive;
use super::debian::{self, Debian};

/// Modules in the order in which they need each other.
const MODULES: [&str; 4] = ["virtio_ring", "virtio", "virtio_mmio", "virtio_blk"];

/// Tells what Linux sees, uses the disk, and switches off; with the parameter `end=reset` it resets the machine at once.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
[ \"$end\" != reset ] || reboot -f
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
exec </dev/null >/dev/ttyS0 2>&1
for module in virtio_ring virtio virtio_mmio virtio_blk; do insmod /modules/$module.ko; done
echo '=== 0 ==='
cd /sys/devices/system/node
cat node0/cpulist node0/distance node1/cpulist node1/distance
echo '=== 1 ==='
cat /proc/zoneinfo
echo '=== 2 ==='
cd /sys/devices/system/cpu
for cpu in 0 1 2 3; do
  echo \"cpu=$cpu package=$(cat cpu$cpu/topology/physical_package_id) core=$(cat cpu$cpu/topology/core_id)\"
done
dmesg | grep 'same node'
ls -1 /sys/bus/acpi/devices
echo '=== 3 ==='
mount -t ext4 /dev/vda /mnt && echo \"read: $(cat /mnt/hello)\" &&
  dd if=/dev/zero of=/mnt/new bs=64k count=32 conv=fsync 2>/dev/null && umount /mnt &&
  echo 'written, synced and unmounted'
cd /
poweroff -f
";

/// The RAM disk.
pub fn initrd(debian: &Debian) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut archive = Archive::new(&mut bytes);
    for folder in ["bin", "proc", "sys", "dev", "mnt", "modules"] {
        archive.directory(folder)?;
    }
    archive.file("init", INIT.as_bytes())?;
    archive.file("bin/busybox", &debian::read(&debian.program("busybox")?)?)?;
    for module in MODULES {
        archive.file(&format!("modules/{module}.ko"), &debian.module(module)?)?;
    }
    archive.finish()?;
    Ok(bytes)
}

/// An ext4 file system with one file, made in `folder`.
pub fn ext4(folder: &Path) -> Result<PathBuf> {
    let (content, image) = (folder.join("ext4"), folder.join("ext4.img"));
    fs::create_dir_all(&content).context("cannot make a folder for the file system")?;
    fs::write(content.join("hello"), "the file on this disk\n").context("cannot write a file for it")?;
    mke2fs(Command::new("mke2fs").arg("-d").arg(&content).arg(&image).arg("8M"))?;
    Ok(image)
}

/// An empty ext4 file system for what the tests write; a RAM disk would refuse `O_DIRECT`.
pub fn empty_ext4(image: &Path) -> Result<()> {
    mke2fs(Command::new("mke2fs").args(["-O", "^has_journal"]).arg(image).arg("4G"))
}

fn mke2fs(command: &mut Command) -> Result<()> {
    command.args(["-q", "-F", "-t", "ext4"]);
    let output = command.stdin(Stdio::null()).output().context("cannot run mke2fs (package e2fsprogs)")?;
    if !output.status.success() {
        bail!("mke2fs failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
