//! The machine QEMU is asked for.

use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};

fn machine(words: &[&str]) -> MachineConfig {
    let cli = Cli::try_parse_from(["vmm", "run"].iter().chain(words)).unwrap();
    let Command::Run(args) = cli.command else { panic!("not run") };
    MachineConfig::new(&args).unwrap()
}

fn files(disks: &[&str]) -> Files {
    Files {
        kernel: "/k".into(),
        disks: disks.iter().map(PathBuf::from).collect(),
        log: "/l".into(),
        ram: None,
        serial: None,
        output: None,
    }
}

/// The value after each occurrence of `flag`.
fn values(arguments: &[String], flag: &str) -> Vec<String> {
    arguments.windows(2).filter(|pair| pair[0] == flag).map(|pair| pair[1].clone()).collect()
}

#[test]
fn the_machine_has_the_same_cpus_memory_and_disks() {
    let config = machine(&["--disk", "a,ro", "--swap", "s,t.img", "--cpus", "3", "--mem", "96M"]);
    let arguments = arguments(&config, "qemu64", &files(&["/a", "/s,t.img"])).unwrap();
    assert_eq!(values(&arguments, "-cpu"), ["qemu64"]);
    assert_eq!(values(&arguments, "-smp"), ["3"]);
    assert_eq!(values(&arguments, "-m"), ["96M"]);
    assert_eq!(
        values(&arguments, "-drive"),
        [
            "if=none,id=disk0,format=raw,file.locking=off,readonly=on,cache=writeback,file=/a",
            "if=none,id=disk1,format=raw,file.locking=off,readonly=off,cache=writeback,file=/s,,t.img"
        ]
    );
    let devices = values(&arguments, "-device");
    assert!(devices.contains(&"isa-debug-exit,iobase=0xf4,iosize=4".into()), "{devices:?}");
    assert!(devices.contains(&"virtio-blk-device,drive=disk0,serial=disk0,bus=virtio-mmio-bus.1".into()));
    assert!(devices.contains(&"virtio-blk-device,drive=disk1,serial=swap,bus=virtio-mmio-bus.2".into()));
}

#[test]
fn the_command_line_names_every_window_and_makes_nodes_up() {
    let config = machine(&["--swap", "none"]);
    let arguments = arguments(&config, "max", &files(&["/d"])).unwrap();
    assert_eq!(
        values(&arguments, "-append"),
        [
            "numa=fake=2 run=\"tour\" virtio_mmio.device=512@0xfeb00000:16 virtio_mmio.device=512@0xfeb00200:17"
        ]
    );
}

#[test]
fn eight_disks_are_too_many() {
    let seven: Vec<&str> = ["--disk", "x"].repeat(7);
    let config = machine(&[seven.as_slice(), &["--swap", "none"]].concat());
    assert!(arguments(&config, "max", &files(&["/x"; 7])).is_ok());
    let config = machine(&seven);
    assert!(matches!(arguments(&config, "max", &files(&["/x"; 8])), Err(TcgError::TooManyDisks(8))));
}

#[test]
fn a_script_has_the_console_for_itself() {
    let files = Files { serial: Some("/s".into()), ..files(&["/d", "/s"]) };
    let arguments = arguments(&machine(&[]), "max", &files).unwrap();
    assert_eq!(values(&arguments, "-chardev"), ["stdio,id=console,signal=off", "file,id=serial,path=/s"]);
    assert_eq!(values(&arguments, "-serial"), ["chardev:serial"]);
}

#[test]
fn a_watched_guest_has_its_ram_in_a_file_and_its_output_copied() {
    let files = Files { ram: Some("/r,am".into()), output: Some("/o".into()), ..files(&["/d", "/s"]) };
    let arguments = arguments(&machine(&[]), "max", &files).unwrap();
    assert_eq!(
        values(&arguments, "-object"),
        ["memory-backend-file,id=ram,share=on,size=536870912,mem-path=/r,,am"]
    );
    assert!(values(&arguments, "-machine")[0].ends_with(",memory-backend=ram"));
    assert!(values(&arguments, "-chardev")[0].ends_with(",logfile=/o"));
}
