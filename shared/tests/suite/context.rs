//! `/proc/PID/maps`, `smaps` and `status` against recorded ones. Areas of files are left out, for there are none yet.

use shared::text::maps::{FLAG_NAMES, MapsArea, Smap, write_area, write_smap};
use shared::text::status::Status;

const MAPS: &str = include_str!("../fixtures/linux-6.18/maps");
const SMAPS: &str = include_str!("../fixtures/linux-6.18/smaps");
const STATUS: &str = include_str!("../fixtures/linux-6.18/status");

/// An area's recorded line, read back.
fn area(line: &str) -> Option<MapsArea<'_>> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let hex = |text| u64::from_str_radix(text, 16).expect("a hexadecimal number");
    let rights = words.next()?;
    let flags = [('r', 1), ('w', 2), ('x', 4), ('s', 8)]
        .into_iter()
        .filter(|(letter, _)| rights.contains(*letter))
        .fold(0, |all, (_, bit)| all | bit);
    let offset = hex(words.next()?);
    let (device, inode) = (words.next()?, words.next()?.parse().expect("a number"));
    let name = words.next().unwrap_or("");
    let (major, minor) = device.split_once(':')?;
    let device = (hex(major) as u32, hex(minor) as u32);
    Some(MapsArea { start: hex(start), end: hex(end), flags, offset, device, inode, name })
}

#[test]
fn areas_have_the_bytes_of_linux() {
    let mut seen = 0;
    for line in MAPS.lines() {
        let area = area(line).expect("a line of an area");
        let mut out = String::new();
        write_area(&mut out, &area).expect("a String takes everything");
        assert_eq!(out.trim_end_matches('\n'), line);
        seen += 1;
    }
    assert_eq!(seen, MAPS.lines().count());
}

/// The number of the line called `name`.
fn kb(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let word = line.and_then(|rest| rest.split_whitespace().next());
    word.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}

#[test]
fn numbers_of_areas_have_the_bytes_of_linux() {
    let mut areas: Vec<String> = Vec::new();
    for line in SMAPS.lines() {
        if line.split_once(' ').is_some_and(|(range, _)| range.contains('-')) {
            areas.push(String::new());
        }
        areas.last_mut().expect("an area comes first").extend([line, "\n"]);
    }
    assert_eq!(areas.len(), MAPS.lines().count());
    for text in areas {
        let mut area = text.lines().next().and_then(area).expect("an area comes first");
        let names = text.lines().last().and_then(|line| line.strip_prefix("VmFlags: ")).expect("flags");
        area.flags = names.split_whitespace().fold(0, |all, name| {
            all | FLAG_NAMES.iter().find(|(_, known)| *known == name).expect("a known flag").0
        });
        let smap = Smap {
            page_size: kb(&text, "KernelPageSize"),
            rss: kb(&text, "Rss"),
            pss: kb(&text, "Pss"),
            pss_dirty: kb(&text, "Pss_Dirty"),
            shared_clean: kb(&text, "Shared_Clean"),
            shared_dirty: kb(&text, "Shared_Dirty"),
            private_clean: kb(&text, "Private_Clean"),
            private_dirty: kb(&text, "Private_Dirty"),
            referenced: kb(&text, "Referenced"),
            anonymous: kb(&text, "Anonymous"),
            lazy_free: kb(&text, "LazyFree"),
            anon_huge_pages: kb(&text, "AnonHugePages"),
            shared_hugetlb: kb(&text, "Shared_Hugetlb"),
            private_hugetlb: kb(&text, "Private_Hugetlb"),
            swap: kb(&text, "Swap"),
            swap_pss: kb(&text, "SwapPss"),
            locked: kb(&text, "Locked"),
            thp_eligible: kb(&text, "THPeligible") == 1,
        };
        let mut out = String::new();
        write_smap(&mut out, &area, &smap).expect("a String takes everything");
        assert_eq!(out, text);
    }
}

/// Lines of Linux about what contexts here do not have: users, threads, signals, capabilities, CPUs.
fn is_about_memory(line: &str) -> bool {
    let names = ["Name", "Tgid", "Pid", "CoreDumping", "THP_enabled", "HugetlbPages"];
    let name = line.split(':').next().unwrap_or("");
    names.contains(&name) || name.starts_with("Vm") || name.starts_with("Rss")
}

#[test]
fn numbers_of_a_context_have_the_bytes_of_linux() {
    let status = Status {
        name: "sample",
        pid: kb(STATUS, "Pid") as u32,
        vm_peak: kb(STATUS, "VmPeak"),
        vm_size: kb(STATUS, "VmSize"),
        vm_lck: kb(STATUS, "VmLck"),
        vm_hwm: kb(STATUS, "VmHWM"),
        rss_anon: kb(STATUS, "RssAnon"),
        rss_file: kb(STATUS, "RssFile"),
        rss_shmem: kb(STATUS, "RssShmem"),
        vm_data: kb(STATUS, "VmData"),
        vm_stk: kb(STATUS, "VmStk"),
        vm_exe: kb(STATUS, "VmExe"),
        vm_lib: kb(STATUS, "VmLib"),
        vm_pte: kb(STATUS, "VmPTE"),
        vm_swap: kb(STATUS, "VmSwap"),
        hugetlb_pages: kb(STATUS, "HugetlbPages"),
        thp_enabled: kb(STATUS, "THP_enabled") == 1,
    };
    let mut out = String::new();
    status.write(&mut out).expect("a String takes everything");
    let ours: Vec<_> = out.lines().filter(|line| !line.starts_with("State:")).collect();
    let linux: Vec<_> = STATUS.lines().filter(|line| is_about_memory(line)).collect();
    assert_eq!(ours, linux);
}
