//! T35d, T44d, T62, T63, T69, T70: what is taken back when memory is short, what stays, and what that costs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use images::{Content, DataSpec, Existing, FileSpec};
use tempfile::TempDir;
use tests::linux::meminfo;
use tests::{Guest, Host, Run, any_host, for_each_host};

const MIB: u64 = 1 << 20;

/// A volume with files of a pattern.
pub fn volume(folder: &TempDir, sizes: &[(&str, u64)]) -> PathBuf {
    let file = |&(name, bytes): &(&str, u64)| {
        let content = folder.path().join(name);
        images::write_pattern(&mut fs::File::create(&content).unwrap(), bytes, 5).unwrap();
        FileSpec { name: name.into(), content: Content::Host(content), room: 0, sparse: false }
    };
    let files: Vec<_> = sizes.iter().map(file).collect();
    let bytes: u64 = sizes.iter().map(|(_, bytes)| bytes).sum();
    let spec = DataSpec { size: Some(16 * MIB + bytes), uuid: None, files, partitions: vec![] };
    let image = folder.path().join("data.img");
    images::make_data(&image, &spec, Existing::Keep).unwrap();
    image
}

/// A counter of the `/proc/vmstat` that command `n` showed.
fn vmstat(run: &Run, n: usize, name: &str) -> u64 {
    let line = run.output(n).line_with(&format!("{name} "));
    line.as_str().rsplit(' ').next().unwrap().trim().parse().unwrap()
}

#[test]
fn t62_a_hot_set_survives_a_cold_scan() {
    let folder = TempDir::new().unwrap();
    let image = volume(&folder, &[("hot", 8 * MIB), ("cold", 128 * MIB)]);
    let commands = [
        "file read hot",
        "file read hot",
        "file read cold",
        "cat /proc/vmstat",
        "file as hot",
        "file read hot",
    ];
    for_each_host(|host| {
        let guest = Guest::on(host).mem("64M").disk(&image, "").report();
        let run = guest.run(&commands).start().assert_ok();
        let kept = run.output(4).line_with("nrpages=").number("nrpages");
        assert!(kept * 100 >= 2048 * 95, "{kept} of 2048 pages are left: {run}");
        // What was read and is not in memory was taken back; while kswapd is at it some pages are neither.
        let stolen = run.vmstat_at_end("pgsteal_file");
        let cached = run.vmstat_at_end("nr_file_pages");
        assert!(stolen + cached >= (128 + 8) * 256 && stolen > 64 * 256, "{stolen} {cached}: {run}");
        assert_eq!(vmstat(&run, 3, "workingset_activate_file"), 0, "{run}");
        assert!(run.vmstat_at_end("pgscan_file") >= stolen, "{run}");
    });
}

#[test]
fn t63_a_cyclic_scan_keeps_a_part_of_itself() {
    let folder = TempDir::new().unwrap();
    let image = volume(&folder, &[("hot", 8 * MIB), ("loop", 48 * MIB)]);
    let read = "file read loop";
    let commands = ["file read hot", "file read hot", read, read, read, read, "cat /proc/vmstat"];
    let run = Guest::on(any_host()).mem("64M").disk(&image, "").run(&commands).start().assert_ok();
    assert!(vmstat(&run, 6, "workingset_refault_file") > 0, "{run}");
    assert!(vmstat(&run, 6, "workingset_activate_file") > 0, "{run}");
    let hits = |n| run.output(n).line_with("read=").number("hit");
    assert!(hits(5) > hits(3), "{} {}: {run}", hits(3), hits(5));
}

/// Nodes with nothing but shadows of a file that is far larger than memory: those that are too many are given back, and
/// what was lost with them does not count as coming back.
#[test]
fn t44e_nodes_with_nothing_but_shadows_are_given_back() {
    const FILE: u64 = 768 * MIB;
    let folder = TempDir::new().unwrap();
    let image = folder.path().join("large.img");
    fs::File::create(&image).unwrap().set_len(FILE).unwrap();
    let counters = "cat /proc/vmstat";
    let commands = [
        "file read /dev/vda",
        "file fadvise /dev/vda dontneed",
        counters,
        "grep present /proc/zoneinfo",
        "file read /dev/vda 16M",
        counters,
    ];
    let run = Guest::on(any_host()).mem("64M").cpus(1).disk(&image, "").run(&commands).start().assert_ok();
    let [nodes, reclaimed, stolen, refaults] =
        ["workingset_nodes", "workingset_nodereclaim", "pgsteal_file", "workingset_refault_file"]
            .map(|name| vmstat(&run, 2, name));
    let words = run.output(3);
    let present: u64 = words.as_str().split_whitespace().filter_map(|word| word.parse::<u64>().ok()).sum();
    assert!((15_000..=16_384).contains(&present), "{present}: {run}");
    // Pages went in order, and a node has 64 of them.
    assert_eq!(nodes + reclaimed, stolen.div_ceil(64), "{nodes} {reclaimed} {stolen}: {run}");
    // Half of those that are too many are asked for at a time, and less than a batch of 128 is not worth a call.
    assert!((present / 8..present / 8 + 300).contains(&nodes), "{nodes} {present}: {run}");
    assert_eq!(refaults, 0, "{run}");
    // The oldest went first, so the first pages have no shadows.
    assert!(reclaimed * 64 >= 16 * 256, "{reclaimed}: {run}");
    assert_eq!(vmstat(&run, 5, "workingset_refault_file"), 0, "{run}");
}

/// Huge pages are not swapped.
const SMALL: &str = "transparent_hugepage=never";

/// Adds a swap area of `mib` MiB as the second disk of a guest with `image` as the first.
fn swapping(folder: &TempDir, host: Host, image: &Path, mib: u64) -> Guest {
    let swap = folder.path().join("swap.img");
    fs::File::create(&swap).unwrap().set_len(mib * MIB).unwrap();
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let made = Command::new("mkswap").arg(&swap).env("PATH", path).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let guest = Guest::on(host).mem("64M").append(SMALL).option("--swap", "none");
    guest.disk(image, "").disk(&swap, "").append("swap=vdb")
}

/// How often somebody had to make room himself.
fn allocstall(run: &Run, n: usize) -> u64 {
    let zones = ["dma", "dma32", "normal", "movable"];
    zones.iter().map(|zone| vmstat(run, n, &format!("allocstall_{zone}"))).sum()
}

#[test]
fn t35d_kswapd_makes_room_before_anybody_has_to() {
    let folder = TempDir::new().unwrap();
    let image = volume(&folder, &[("cold", 128 * MIB)]);
    let commands = ["file read cold", "cat /proc/vmstat", "alloc until-low", "cat /proc/vmstat", "mm verify"];
    for_each_host(|host| {
        // With one CPU it is certain that kswapd runs when it is asked.
        let run = Guest::on(host).mem("64M").cpus(1).disk(&image, "").run(&commands).start().assert_ok();
        let (stolen, by_kswapd) = (vmstat(&run, 1, "pgsteal_file"), vmstat(&run, 1, "pgsteal_kswapd"));
        assert!(stolen >= 64 * 256 && stolen == by_kswapd, "{stolen} {by_kswapd}: {run}");
        assert_eq!(run.output(0).number("read"), 128 * MIB, "{run}");
        let low = run.output(2);
        assert_eq!(low.fact("pageoutrun"), "+1", "{run}");
        assert!(low.number("taken") > 0 && low.number("free") >= low.number("high"), "{run}");
        for n in [1, 3] {
            assert_eq!(allocstall(&run, n), 0, "{run}");
            assert_eq!(vmstat(&run, n, "pgscan_direct"), 0, "{run}");
        }
        run.output(4).assert_line("buddy=ok zones=ok slab=ok vmalloc=ok leaked=0");
    });
}

/// The kernel's own objects make room for memory of contexts, which has nowhere to go itself.
#[test]
fn t44d_objects_that_nobody_uses_make_room() {
    let commands =
        ["slab fill 150000", "cat /proc/meminfo", "vm touch 44M", "cat /proc/meminfo", "cat /proc/vmstat"];
    let guest = Guest::on(any_host()).mem("64M").cpus(1).append(SMALL).append("noswap");
    let run = guest.run(&commands).start().assert_ok();
    let [full, rest] = [1, 3].map(|n| meminfo(run.output(n), "SReclaimable"));
    assert!(full > 150_000 * 192 / 1024 && rest * 2 < full, "{full} {rest}: {run}");
    assert!(vmstat(&run, 4, "slabs_scanned") > 50_000, "{run}");
    assert_eq!(vmstat(&run, 4, "oom_kill"), 0, "{run}");
}

#[test]
fn t69_swappiness_shifts_what_goes() {
    let folder = TempDir::new().unwrap();
    let image = volume(&folder, &[("cold", 40 * MIB)]);
    let settings: [u64; 11] = std::array::from_fn(|step| 20 * step as u64);
    let out = settings.map(|swappiness| {
        let set = format!("sysctl vm.swappiness={swappiness}");
        let commands = [&set, "thrash 40M file=cold bytes=40M", "sysctl vm.swappiness"];
        let run = swapping(&folder, any_host(), &image, 128).cpus(1).run(&commands).start().assert_ok();
        assert_eq!(run.output(1).line_with("pages=").number("wrong"), 0, "{run}");
        run.output(2).assert_line(&format!("vm.swappiness = {swappiness}"));
        let line = run.output(1).line_with("pages=");
        (line.number("pswpout"), line.number("scan_anon") * 1000 / line.number("scan_file").max(1))
    });
    assert_eq!(out[0], (0, 0), "at 0 no anonymous page is looked at: {out:?}");
    // Spearman's coefficient of the settings and what went to swap.
    let mut order: Vec<_> = (0..out.len()).collect();
    order.sort_by_key(|n| out[*n]);
    let n = out.len() as f64;
    let squares: f64 = order.iter().enumerate().map(|(rank, at)| (rank as f64 - *at as f64).powi(2)).sum();
    let coefficient = 1.0 - 6.0 * squares / (n * (n * n - 1.0));
    assert!(coefficient >= 0.9 && out[10].0 > 0, "{coefficient}: {out:?}");
    let guest = |what| Guest::on(any_host()).mem("64M").run(&[what]);
    let run = guest("sysctl vm.swappiness=201").start().assert_status(2);
    assert!(run.all().as_str().contains("EINVAL") || run.all().as_str().contains("0..200"), "{run}");
    guest("sysctl vm.swappiness").start().assert_ok().output(0).assert_line("vm.swappiness = 60");
}

#[test]
fn t70_thrashing_is_measured_and_named() {
    let folder = TempDir::new().unwrap();
    let image = volume(&folder, &[("cold", MIB)]);
    let measure = |mib: u64, ops: u64| {
        let commands = [format!("thrash {mib}M ops={ops}"), "cat /proc/pressure/memory".into()];
        let commands = [commands[0].as_str(), commands[1].as_str()];
        let run = swapping(&folder, any_host(), &image, 128).cpus(1).run(&commands).start().assert_ok();
        let (used, verdict) = (run.output(0).line_with("pages="), run.output(0).line_with("thrashing="));
        assert_eq!(used.number("wrong"), 0, "{run}");
        let total = run.output(1).line_with("full avg10=").number("total");
        (used.number("ops_s"), verdict.fact("thrashing").to_owned(), verdict.number("refaults"), total)
    };
    // Of about 56 MiB: what fits, and what does not.
    let (fits, calm, refaults, _) = measure(34, 40_000);
    assert_eq!((calm.as_str(), refaults), ("no", 0));
    let (full, _, refaults, _) = measure(64, 20_000);
    assert!(full < fits && refaults > 0, "{full} {fits} {refaults}");
    let (short, verdict, refaults, lost) = measure(90, 20_000);
    assert_eq!(verdict, "yes");
    assert!(refaults > 1024 && lost > 0, "{refaults} {lost}");
    assert!(short < fits / 20, "{short} and {fits} operations a second");
}

/// Reclaim and waits for swap are what is lost, and a trigger tells of it while it happens.
#[test]
fn b16c_memory_that_is_short_is_pressure() {
    let folder = TempDir::new().unwrap();
    let image = volume(&folder, &[("cold", MIB)]);
    let commands = [
        "thrash 30M",
        "cat /proc/pressure/memory",
        "thrash 90M ops=10000",
        "cat /proc/pressure/memory",
        "cat /proc/vmstat",
    ];
    let run = swapping(&folder, any_host(), &image, 128).cpus(1).run(&commands);
    let run = run.option("--pressure", "some 10000 500000").report().start().assert_status(0);
    assert_ne!(run.report()["pressure"].as_array().map(Vec::len), Some(0), "{run}");
    let total = |n, kind| run.output(n).line_with(kind).number("total");
    assert_eq!(total(1, "some"), 0, "what fits waits for nothing: {run}");
    let [some, full] = ["some", "full"].map(|kind| total(3, kind));
    assert!(some > 10_000 && full > 0 && full <= some + 1, "{some} {full}: {run}");
    assert!(vmstat(&run, 4, "pswpin") > 0, "{run}");
}

/// Memory and files that are half of RAM, all of it, and more: all is there afterwards, nobody was killed, and as long as
/// kswapd can nobody made room himself.
#[test]
fn mixed_loads_of_any_size_end_well() {
    let folder = TempDir::new().unwrap();
    let image = volume(&folder, &[("cold", 48 * MIB)]);
    for (part, cpus) in [(16, 1), (16, 2), (32, 1), (32, 2), (48, 1), (48, 2)] {
        let load = format!("thrash {part}M file=cold bytes={part}M ops=8000");
        let commands = [load.as_str(), "cat /proc/vmstat", "swap verify", "mm verify"];
        let guest = swapping(&folder, any_host(), &image, 128).cpus(cpus);
        let run = guest.run(&commands).start().assert_ok();
        assert_eq!(run.output(0).line_with("pages=").number("wrong"), 0, "{run}");
        assert_eq!(vmstat(&run, 1, "oom_kill"), 0, "{run}");
        // kswapd of another CPU needs a while to wake up, in which more is taken than lies between the marks.
        if cpus == 1 || part == 16 {
            assert_eq!(allocstall(&run, 1), 0, "{part} MiB of each: {run}");
        }
        assert_eq!(run.output(2).fact("swap_verify"), "ok", "{run}");
        run.output(3).assert_line("buddy=ok zones=ok slab=ok vmalloc=ok leaked=0");
    }
}

/// kswapd on another CPU keeps up with a load that does not go on while it has been asked for room, however long it takes to
/// wake: it is asked soon enough, and makes as much room as it is asked for. The marks lie as far apart as one step of the load
/// can take, which is a window of readahead and the next one, and slabs are single pages: kswapd makes those, and blocks come by
/// chance.
#[test]
fn t35d_kswapd_of_another_cpu_keeps_up_with_who_lets_it() {
    let folder = TempDir::new().unwrap();
    let image = volume(&folder, &[("cold", 48 * MIB)]);
    for part in [32, 48] {
        let load = format!("thrash {part}M file=cold bytes={part}M ops=8000 paced");
        let commands = [load.as_str(), "cat /proc/vmstat", "swap verify", "mm verify"];
        let guest = swapping(&folder, any_host(), &image, 128).cpus(2);
        let guest = guest.append("sysctl.vm.watermark_scale_factor=400").append("slab_max_order=0");
        let run = guest.run(&commands).start().assert_ok();
        assert_eq!(run.output(0).line_with("pages=").number("wrong"), 0, "{run}");
        let [direct, by_kswapd, runs] =
            ["pgscan_direct", "pgsteal_kswapd", "pageoutrun"].map(|name| vmstat(&run, 1, name));
        assert_eq!((allocstall(&run, 1), direct), (0, 0), "{part} MiB of each: {run}");
        // All that did not fit, a few hundred pages at a time.
        assert!(by_kswapd > 4 * part / 32 * 256 && runs >= 10, "{by_kswapd} {runs}: {run}");
        assert_eq!(run.output(2).fact("swap_verify"), "ok", "{run}");
        run.output(3).assert_line("buddy=ok zones=ok slab=ok vmalloc=ok leaked=0");
    }
}

/// Without swap the context that wants too much goes, and what others have, and the file, is as it was.
#[test]
fn without_swap_the_right_context_goes_and_the_rest_is_intact() {
    let folder = TempDir::new().unwrap();
    let image = volume(&folder, &[("cold", 32 * MIB)]);
    let commands = [
        "file read cold",
        "ctx new small",
        "vm touch 8M",
        "ctx new big",
        "vm touch 30M",
        "ctx use small",
        "vm touch 24M",
        "vm verify",
        "file read cold",
        "grep oom_kill /proc/vmstat",
        "ctx list",
        "mm verify",
    ];
    let guest = Guest::on(any_host()).mem("64M").cpus(1).append(SMALL).append("noswap").disk(&image, "");
    let run = guest.run(&commands).start().assert_ok();
    assert_eq!(run.output(9).line_with("oom_kill").as_str(), "oom_kill 1", "{run}");
    assert!(run.output(10).lines_with("name=big").is_empty(), "{run}");
    assert_eq!(run.output(7).fact("verify"), "ok", "{run}");
    assert_eq!(run.output(7).number("checked"), 32 * 256, "{run}");
    let sum = |n: usize| run.output(n).line_with("read=").fact("crc32").to_owned();
    assert_eq!(sum(0), sum(8), "{run}");
    run.output(11).assert_line("buddy=ok zones=ok slab=ok vmalloc=ok leaked=0");
}
