//! A tiny PVH kernel made at test time, and the `vmm` binary to boot it with.
//!
//! The kernel prints its command line on COM1, then does what the line's first character says:
//! a digit ends the machine with that status, `u` with the status 256, `c` is a triple fault,
//! `r` a reset through the keyboard controller; `s` spins, `h` halts and `p` prints for ever.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::NamedTempFile;

std::arch::global_asm!(
    ".pushsection .rodata",
    ".code32",
    "tiny_kernel:",
    "mov 24(%ebx), %esi", // start info: command line
    "mov (%esi), %cl",
    "mov $0x3f8, %edx",
    "1: mov (%esi), %al",
    "test %al, %al",
    "jz 2f",
    "outb %al, %dx",
    "inc %esi",
    "jmp 1b",
    "2: mov $10, %al",
    "outb %al, %dx",
    "cmp $'c', %cl",
    "je 4f",
    "cmp $'r', %cl",
    "je 5f",
    "cmp $'s', %cl",
    "je 6f",
    "cmp $'p', %cl",
    "je 8f",
    "cmp $'h', %cl",
    "je 7f",
    "mov $256, %eax",
    "cmp $'u', %cl",
    "je 3f",
    "movzx %cl, %eax",
    "sub $'0', %eax",
    "3: mov $0xf4, %edx", // isa-debug-exit
    "outl %eax, %dx",
    "jmp 7f",
    "4: mov $0x5000, %esp",
    "push $0", // a descriptor table of no entries: every exception ends in a triple fault
    "push $0",
    "lidt (%esp)",
    "ud2",
    "5: mov $0xfe, %al",
    "outb %al, $0x64",
    "jmp 7f",
    "6: jmp 6b",
    "7: hlt",
    "jmp 7b",
    "8: outb %al, %dx",
    "jmp 8b",
    "tiny_kernel_end:",
    ".code64",
    ".popsection",
    options(att_syntax)
);

unsafe extern "C" {
    static tiny_kernel: u8;
    static tiny_kernel_end: u8;
}

/// Guest-physical address of the kernel; also its entry.
const BASE: u64 = 0x10_0000;

fn code() -> &'static [u8] {
    let (start, end) = (&raw const tiny_kernel, &raw const tiny_kernel_end);
    // SAFETY: the two symbols enclose the bytes assembled above, in one read-only section.
    unsafe { std::slice::from_raw_parts(start, end as usize - start as usize) }
}

/// The kernel as an ELF file with a PVH note, and with the note of a Ballast guest if `ballast`.
pub fn kernel(ballast: bool) -> NamedTempFile {
    let mut notes = note(b"Xen\0", 18, &(BASE as u32).to_le_bytes());
    if ballast {
        notes.extend(note(b"Ballast\0", 1, &[0; 8]));
    }
    let code_offset = 64 + 2 * 56;
    let notes_offset = code_offset + code().len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    elf.extend([2, 0, 62, 0, 1, 0, 0, 0]); // executable, x86-64
    for word in [BASE, 64, 0] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend([0, 0, 0, 0, 64, 0, 56, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    elf.extend(program_header(1, code_offset, BASE, code().len() as u64));
    elf.extend(program_header(4, notes_offset, 0, notes.len() as u64));
    elf.extend(code());
    elf.extend(notes);
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(&elf).unwrap();
    file
}

fn program_header(kind: u32, offset: u64, address: u64, size: u64) -> Vec<u8> {
    let mut header = [kind.to_le_bytes(), 7_u32.to_le_bytes()].concat();
    for word in [offset, address, address, size, size, 1] {
        header.extend(word.to_le_bytes());
    }
    header
}

fn note(name: &[u8], kind: u32, descriptor: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [name.len() as u32, descriptor.len() as u32, kind] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(name);
    bytes.extend(descriptor);
    bytes
}

/// `vmm run` with `words`.
pub fn vmm(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmm"));
    command.arg("run").args(words).stdin(Stdio::null());
    command
}

/// `vmm run` of the tiny kernel in the smallest machine, `what` being the first word it sees. Options
/// in `words` win over those given here.
pub fn boot(accel: &str, what: &str, words: &[&str]) -> (Output, NamedTempFile) {
    let kernel = kernel(false);
    let path = kernel.path().to_str().unwrap();
    let base = [
        "--accel",
        accel,
        "--kernel",
        path,
        "--mem",
        "16M",
        "--cpus",
        "1",
        "--append",
        what,
        "--timeout",
        "30",
    ];
    (vmm(&[&base, words].concat()).output().unwrap(), kernel)
}

/// The accelerators of this host. A missing one is said loudly, not passed over.
pub fn accelerators() -> Vec<&'static str> {
    let mut found = Vec::new();
    if vmm::accel::open_kvm().is_ok() {
        found.push("kvm");
    } else {
        eprintln!("NOT TESTED: this host has no usable /dev/kvm");
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path)
        .map(|dir: PathBuf| dir.join("qemu-system-x86_64"))
        .any(|file| file.is_file())
    {
        found.push("tcg");
    } else {
        eprintln!("NOT TESTED: qemu-system-x86_64 is not installed");
    }
    found
}

/// What a command printed to standard error, without the prefix; fails when it is not one line.
pub fn error_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(text.lines().count(), 1, "{text:?}");
    text.trim_end().strip_prefix("vmm: ").unwrap().to_owned()
}
