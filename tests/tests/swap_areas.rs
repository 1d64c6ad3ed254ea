//! Swap areas: what can be one, what the host's tools see of it, and what is refused.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tests::{Guest, Run, any_host, vmm};

/// Without huge pages, where single pages are counted.
const SMALL: &str = "transparent_hugepage=never";

/// What a tool of the host prints.
pub fn tool(name: &str, arguments: &[&str]) -> String {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = Command::new(name).args(arguments).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// An image of `mib` MiB that the host's `mkswap` has made an area.
pub fn area(folder: &TempDir, name: &str, mib: u64) -> PathBuf {
    let path = folder.path().join(name);
    File::create(&path).unwrap().set_len(mib << 20).unwrap();
    tool("mkswap", &["-L", "guest", path.to_str().unwrap()]);
    path
}

/// A data volume of 64 MiB with these files, each from the image of its name, and a swap partition behind them.
fn volume(folder: &TempDir, files: &[&str]) -> PathBuf {
    let data = folder.path().join("data.img");
    let out = data.to_str().unwrap();
    let mut words = vec!["image", "mkdata", "--out", out, "--size", "64M", "--swap", "swap0=16M"];
    let specs: Vec<String> = files
        .iter()
        .map(|file| {
            let (name, options) = file.split_once(',').unwrap_or((file, ""));
            let comma = if options.is_empty() { "" } else { "," };
            format!("{name}={}{comma}{options}", folder.path().join(name).display())
        })
        .collect();
    specs.iter().for_each(|spec| words.extend(["--file", spec.as_str()]));
    tool(vmm().to_str().unwrap(), &words);
    data
}

fn with_disks(disks: &[&Path]) -> Guest {
    let guest = Guest::on(any_host()).mem("64M").option("--swap", "none").append(SMALL);
    disks.iter().fold(guest, |guest, disk| guest.disk(disk, ""))
}

/// The words of each line of `/proc/swaps` but the first.
fn swaps(run: &Run, output: usize) -> Vec<Vec<&str>> {
    run.output(output).lines().skip(1).map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn t65_areas_of_mkswap_on_disks_partitions_and_files() {
    let folder = TempDir::new().unwrap();
    let (swap, file) = (area(&folder, "swap.img", 8), area(&folder, "file", 8));
    let before = tool("swaplabel", &[swap.to_str().unwrap()]);
    let data = volume(&folder, &["file"]);
    let commands = [
        "swapon -p 7 /dev/vda",
        "swapon /dev/vdb2",
        "swapon file",
        "cat /proc/swaps",
        "vm touch 28M",
        "swap out",
        "cat /proc/swaps",
        "swap verify",
        "vm verify",
        "swapoff /file",
        "swapoff /dev/vda",
        "swapoff /dev/vdb2",
        "vm verify",
        "cat /proc/swaps",
    ];
    let run = with_disks(&[&swap, &data]).append("root=vdb").run(&commands).start().assert_ok();
    assert_eq!(
        swaps(&run, 3),
        [
            ["/dev/vda", "partition", "8188", "0", "7"],
            ["/dev/vdb2", "partition", "16380", "0", "-2"],
            ["/file", "file", "8188", "0", "-3"],
        ],
        "{run}"
    );
    // The highest priority first, each until it is full.
    let used: Vec<&str> = swaps(&run, 6).iter().map(|area| area[3]).collect();
    assert_eq!(used, ["8188", "16380", &(28 * 1024 - 8188 - 16380).to_string()], "{run}");
    assert_eq!(run.output(7).number("used"), 28 * 256, "{run}");
    for step in [8, 12] {
        assert_eq!((run.output(step).fact("verify"), run.output(step).number("wrong")), ("ok", 0), "{run}");
    }
    assert_eq!(swaps(&run, 13), Vec::<Vec<&str>>::new(), "{run}");
    assert_eq!(tool("swaplabel", &[swap.to_str().unwrap()]), before, "the header is as it was");
    let mut inside = Vec::new();
    images::extract(&data, "file", &mut inside).unwrap();
    assert!(inside[..4096] == fs::read(file).unwrap()[..4096], "and so is that of the file");
}

#[test]
fn t65_areas_of_one_priority_take_turns() {
    let folder = TempDir::new().unwrap();
    let disks = ["a.img", "b.img", "c.img"].map(|name| area(&folder, name, 32));
    let commands = [
        "swapon -p 5 /dev/vda",
        "swapon -p 5 /dev/vdb",
        "swapon -p 1 /dev/vdc",
        "vm touch 24M",
        "swap out",
        "cat /proc/swaps",
        "vm verify",
    ];
    let guest = with_disks(&disks.each_ref().map(PathBuf::as_path)).cpus(1);
    let run = guest.run(&commands).start().assert_ok();
    let used: Vec<u64> = swaps(&run, 5).iter().map(|area| area[3].parse().unwrap()).collect();
    // By clusters of 2 MiB; the header is in the first.
    assert!(used[0].abs_diff(used[1]) <= 2048, "{run}");
    assert_eq!((used[0] + used[1], used[2]), (24 << 10, 0), "{run}");
    assert_eq!(run.output(6).number("wrong"), 0, "{run}");
}

#[test]
fn t65_a_file_that_is_swapped_to_stays_as_it_is() {
    let folder = TempDir::new().unwrap();
    area(&folder, "file", 8);
    let data = volume(&folder, &["file"]);
    for (command, error) in [
        ("file write file 4K", "file: ETXTBSY"),
        ("file truncate file 4K", "file: ETXTBSY"),
        ("file rm file", "file: EPERM"),
        ("swapon /file", "swapon: /file: EBUSY"),
        ("swapon /dev/vda1", "swapon: /dev/vda1: EBUSY"),
    ] {
        let run = with_disks(&[&data]).run(&["swapon file", command]).start();
        run.all().assert_line(&format!("error: {error}"));
    }
    // Afterwards it is a file like others, with all that was swapped gone from nobody.
    let commands = [
        "swapon file",
        "vm touch 4M",
        "swap out",
        "swapoff file",
        "vm verify",
        "file write file 4K",
        "file fsync file",
        "file truncate file 0",
        "file close file",
        "file rm file",
    ];
    let run = with_disks(&[&data]).run(&commands).start().assert_ok();
    assert_eq!(run.output(4).number("wrong"), 0, "{run}");
}

/// What is no area is refused as Linux refuses it, and the guest goes on.
#[test]
fn t65_what_is_no_area_is_refused() {
    let folder = TempDir::new().unwrap();
    let whole = fs::read(area(&folder, "file", 2)).unwrap();
    let changed = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        fs::write(folder.path().join(name), bytes).unwrap();
    };
    let put = |at: usize, word: u32| {
        move |bytes: &mut Vec<u8>| bytes[at..at + 4].copy_from_slice(&word.to_le_bytes())
    };
    changed("blank", &|bytes| bytes.fill(0));
    changed("holes", &|_| {});
    changed("short", &|bytes| bytes.truncate(1 << 20));
    changed("long", &put(1028, u32::MAX));
    changed("version", &put(1024, 2));
    changed("empty", &put(1028, 0));
    changed("many", &put(1032, 638));
    changed("nobody", &|bytes| bytes.truncate(0));
    changed("bad", &|bytes| {
        put(1032, 1)(bytes);
        put(1536, 7)(bytes);
    });
    // Pages of 64 KiB, as other machines have them: the signature is elsewhere.
    changed("pages", &|bytes| {
        let signature = bytes[4086..4096].to_vec();
        bytes[4086..4096].fill(0);
        bytes[65526..65536].copy_from_slice(&signature);
    });
    let files =
        ["blank", "holes,sparse", "short", "long", "version", "empty", "many", "nobody", "bad", "pages"];
    let data = volume(&folder, &files);
    let bad_page = folder.path().join("bad.img");
    changed("bad.img", &|bytes| {
        put(1032, 1)(bytes);
        put(1536, 512)(bytes);
    });
    for (path, why) in [
        ("/blank", "bad magic (EINVAL)"),
        ("/holes", "has holes (EINVAL)"),
        ("/short", "swap area of 512 pages on a device of 256 (EINVAL)"),
        ("/long", "swap area of 4294967296 pages on a device of 512 (EINVAL)"),
        ("/version", "swap area of version 2, not 1 (EINVAL)"),
        ("/empty", "swap area without a page to swap to (EINVAL)"),
        ("/many", "638 bad pages, at most 637 (EINVAL)"),
        ("/nobody", "bad magic (EINVAL)"),
        ("/bad", "bad pages in a file (EINVAL)"),
        ("/pages", "bad magic (EINVAL)"),
        ("/dev/vdb", "page 512 is called bad, which is not one to swap to (EINVAL)"),
        ("/none", "ENOENT"),
        ("/dev/vda", "EBUSY"),
        ("/dev/vda9", "ENOENT"),
        ("/dev/vdz", "ENOENT"),
    ] {
        let run = with_disks(&[&data, &bad_page]).run(&["file ls", &format!("swapon {path}")]);
        let run = run.start().assert_status(2);
        run.all().assert_line(&format!("error: swapon: {path}: {why}"));
    }
    let guest = Guest::on(any_host()).option("--swap", "none").disk(&folder.path().join("file"), ",ro");
    let run = guest.run(&["swapon /dev/vda"]).start().assert_status(2);
    run.all().assert_line("error: swapon: /dev/vda: EROFS");
    let guest = Guest::on(any_host()).option("--swap", "none").disk(&data, ",ro");
    let run = guest.run(&["swapon /blank"]).start().assert_status(2);
    run.all().assert_line("error: swapon: /blank: EROFS");
}

/// Bad pages of a disk are not used, and everything else of it is.
#[test]
fn t65_bad_pages_of_a_disk_are_left_out() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("swap.img");
    let image = path.to_str().unwrap();
    let words = ["image", "mkswap", "--out", image, "--size", "8M", "--bad-pages", "7,9,2047"];
    tool(vmm().to_str().unwrap(), &words);
    let commands = [
        "swapon /dev/vda",
        "cat /proc/swaps",
        "vm touch 9M",
        "swap out",
        "cat /proc/swaps",
        "vm verify",
        "swap verify",
    ];
    let run = with_disks(&[&path]).run(&commands).start().assert_ok();
    assert_eq!(swaps(&run, 1), [["/dev/vda", "partition", "8176", "0", "-2"]], "{run}");
    assert_eq!(swaps(&run, 4)[0][3], "8176", "all that can be used is: {run}");
    assert_eq!(run.output(5).number("wrong"), 0, "{run}");
    let file = File::open(&path).unwrap();
    let mut page = [1; 4096];
    for bad in [7, 9, 2047] {
        file.read_exact_at(&mut page, bad * 4096).unwrap();
        assert_eq!(page, [0; 4096], "page {bad} is never written");
    }
}

/// An area whose pages have no room in memory stays on, and nothing is lost.
#[test]
fn t66_an_area_that_cannot_be_brought_back_stays_on() {
    let folder = TempDir::new().unwrap();
    let swap = area(&folder, "swap.img", 128);
    let guest = || with_disks(&[&swap]).append("swap=vda");
    let fails = guest().run(&["vm touch 96M", "swapoff /dev/vda"]).start().assert_status(1);
    fails.all().assert_line("error: swapoff: /dev/vda: ENOMEM");
    let commands =
        ["vm touch 96M", "swapoff /dev/vda expect=ENOMEM", "cat /proc/swaps", "vm verify", "swap verify"];
    let run = guest().run(&commands).start().assert_ok();
    assert_eq!(swaps(&run, 2)[0][..3], ["/dev/vda", "partition", "131068"], "{run}");
    assert_eq!((run.output(3).number("checked"), run.output(3).number("wrong")), (24576, 0), "{run}");
    assert_eq!(run.output(4).fact("swap_verify"), "ok", "{run}");
}

#[test]
fn the_swap_disk_is_swapped_to_unless_something_else_is_asked_for() {
    let folder = TempDir::new().unwrap();
    let (swap, other) = (area(&folder, "swap.img", 8), area(&folder, "other.img", 8));
    let blank = folder.path().join("blank.img");
    File::create(&blank).unwrap().set_len(8 << 20).unwrap();
    let guest = |swap: &str, append: &str| {
        let guest = Guest::on(any_host()).disk(&other, "").option("--swap", swap).append(append);
        guest.run(&["cat /proc/swaps", "cat /proc/meminfo"]).start().assert_ok()
    };
    let paths = |run: &Run| swaps(run, 0).iter().map(|area| area[..3].join(" ")).collect::<Vec<_>>();
    assert_eq!(paths(&guest("40K", "")), ["/dev/vdb partition 36"]);
    assert_eq!(paths(&guest(swap.to_str().unwrap(), "")), ["/dev/vdb partition 8188"]);
    assert_eq!(paths(&guest("none", "")), Vec::<String>::new());
    assert_eq!(paths(&guest("64M", "noswap")), Vec::<String>::new());
    assert_eq!(paths(&guest("64M", "swap=vda:9")), ["/dev/vda partition 8188"]);
    let run = guest(blank.to_str().unwrap(), "");
    run.all().assert_line("swap=: vdb: Unable to find swap-space signature");
    let run = guest("none", "swap=vdq swap=vda");
    run.all().assert_line("swap=: vdq: no such device");
    assert_eq!(paths(&run), ["/dev/vda partition 8188"], "{run}");
}
