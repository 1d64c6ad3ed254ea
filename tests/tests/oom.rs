//! T87, T88: who goes when memory is out, and what is said of it.

use images::{Content, DataSpec, Existing, FileSpec};
use std::fs;
use tempfile::TempDir;
use tests::linux::meminfo;
use tests::{Guest, Run, any_host, for_each_host};

/// Three contexts with 8, 24 and 48 MiB, then the first wants more than there is.
const SHORT: [&str; 7] = [
    "ctx new small",
    "vm touch 8M",
    "ctx new mid",
    "vm touch 24M",
    "ctx new big",
    "vm touch 48M",
    "ctx use small",
];

fn machine(commands: &[&str]) -> Guest {
    let all: Vec<_> = SHORT.iter().chain(commands).copied().collect();
    Guest::on(any_host()).mem("96M").cpus(1).append("noswap").run(&all)
}

/// The number of the event `oom_kill`, which command `at` shows.
fn kills(run: &Run, at: usize) -> String {
    run.output(at).line_with("oom_kill").as_str().to_owned()
}

#[test]
fn t87a_the_worst_context_goes_and_the_others_keep_what_they_have() {
    for_each_host(|host| {
        let commands = [
            "vm touch 12M",
            "vm verify",
            "ctx use mid",
            "vm verify",
            "grep oom_kill /proc/vmstat",
            "ctx list",
            "cat /proc/meminfo",
            "mm verify",
        ];
        let all: Vec<_> = SHORT.iter().chain(&commands).copied().collect();
        let run = Guest::on(host).mem("96M").cpus(1).append("noswap").run(&all).start().assert_ok();
        let said = run.output(7);
        let pid = run.output(4).line_with("name=big").number("pid");
        let _ = said.line_with(
            "small invoked oom-killer: gfp_mask=0x100dca(GFP_HIGHUSER_MOVABLE|__GFP_ZERO), order=0",
        );
        let _ = said
            .line_with("[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes");
        let row = said
            .lines()
            .find(|line| line.starts_with('[') && line.ends_with(" big"))
            .unwrap_or_else(|| panic!("{run}"));
        let words: Vec<_> = row.trim_start_matches('[').split_whitespace().collect();
        assert_eq!(
            (words[0].trim_end_matches(']'), words[4], words[5]),
            (pid.to_string().as_str(), "12288", "12288"),
            "{run}"
        );
        let _ = said.line_with(&format!("oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/,task=big,pid={pid},uid=0"));
        let _ = said.line_with(&format!("Out of memory: Killed process {pid} (big) total-vm:"));
        let _ = said.line_with("anon-rss:49152kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:");
        assert_eq!(kills(&run, 11), "oom_kill 1", "{run}");
        for verify in [8, 10] {
            assert_eq!(run.output(verify).line_with("verify=").fact("verify"), "ok", "{run}");
        }
        assert!(run.output(12).lines_with("name=big").is_empty(), "{run}");
        // Of what came back the other has taken what it still wanted.
        let then = said.line_with("free_cma:").as_str();
        let then: u64 =
            then.trim_start().strip_prefix("free:").unwrap().split(' ').next().unwrap().parse().unwrap();
        let now = meminfo(run.output(13), "MemFree") / 4;
        assert!(now >= then + 40 * 256, "from {then} to {now} pages: {run}");
        run.output(14).assert_line("buddy=ok zones=ok slab=ok vmalloc=ok leaked=0");
    });
}

#[test]
fn what_is_said_of_huge_pages_is_their_size() {
    let commands = [
        "ctx new small",
        "vm map 8M thp",
        "touch 1/1",
        "grep AnonHugePages /proc/meminfo",
        "ctx new big",
        "vm map 64M nothp",
        "touch 1/1",
        "vm map 64M nothp",
        "touch 1/1",
    ];
    let run = Guest::on(any_host()).mem("96M").cpus(1).append("noswap").run(&commands).start();
    let run = run.assert_status(3);
    assert_eq!(meminfo(run.output(3), "AnonHugePages"), 8192, "{run}");
    let node = run.output(8).line_with("Node 0 active_anon:").as_str();
    assert!(node.contains(" anon_thp:8192kB pagetables:"), "{run}");
}

#[test]
fn t87b_without_anybody_to_kill_the_machine_ends() {
    let immune = ["oom adj -1000 small", "oom adj -1000 mid", "oom adj -1000 big", "vm touch 24M"];
    let run = machine(&immune).start().assert_status(3);
    run.all().assert_line("Out of memory and no killable processes...");
    let _ = run.all().line_with("Kernel panic - not syncing: Out of memory: no killable processes");
    let run = machine(&["vm touch 24M"]).append("sysctl.vm.panic_on_oom=1").start().assert_status(3);
    let _ =
        run.all().line_with("Kernel panic - not syncing: Out of memory: system-wide panic_on_oom is enabled");
}

#[test]
fn t87c_who_asks_can_be_the_one_who_goes() {
    let run = machine(&["vm touch 24M", "grep oom_kill /proc/vmstat", "ctx list"])
        .append("sysctl.vm.oom_kill_allocating_task=1")
        .start()
        .assert_status(3);
    let _ = run.output(7).line_with("Out of memory (oom_kill_allocating_task): Killed process 1 (small)");
    assert_eq!(kills(&run, 8), "oom_kill 1", "{run}");
    assert_eq!(run.output(9).lines().count(), 2, "{run}");
    let run = machine(&["vm touch 24M", "grep oom_kill /proc/vmstat"])
        .append("oom_policy=none")
        .start()
        .assert_status(3);
    let _ = run.output(7).line_with("fault: no memory for write to addr=");
    assert_eq!(kills(&run, 8), "oom_kill 0", "{run}");
}

#[test]
fn t87d_what_is_out_is_memory_and_swap_together() {
    let commands = [
        "ctx new big",
        "vm touch 48M",
        "swap out",
        "ctx new one",
        "vm touch 24M",
        "ctx new two",
        "vm touch 24M",
        "grep oom_kill /proc/vmstat",
        "ctx new small",
        "vm touch 44M",
        "grep oom_kill /proc/vmstat",
        "cat /proc/meminfo",
        "vm verify",
        "ctx use one",
        "vm verify",
        "ctx use two",
        "vm verify",
        "ctx list",
        "swap verify",
    ];
    let guest = Guest::on(any_host()).mem("96M").cpus(1).option("--swap", "52M");
    let run = guest.append("transparent_hugepage=never").run(&commands).start().assert_ok();
    assert_eq!((kills(&run, 7), kills(&run, 10)), ("oom_kill 0".into(), "oom_kill 1".into()), "{run}");
    // What is in swap counts as what is in memory: the one that has all there goes.
    let said = run.output(9);
    let pid = run.output(0).number("pid");
    let _ = said.line_with(&format!("Out of memory: Killed process {pid} (big) total-vm:"));
    let row = said.lines().find(|line| line.starts_with('[') && line.ends_with(" big")).unwrap();
    let swapped: u64 = row.trim_start_matches('[').split_whitespace().nth(9).unwrap().parse().unwrap();
    assert!(swapped > 40 * 256, "{row}: {run}");
    // Nobody was killed while there was somewhere to go.
    let free = said.line_with("Free swap").as_str();
    let free: u64 = free.trim_end_matches("kB").rsplit('=').next().unwrap().trim().parse().unwrap();
    assert!(free < 1024, "{free} kB: {run}");
    assert!(meminfo(run.output(11), "SwapFree") > 16 << 10, "{run}");
    for verify in [12, 14, 16] {
        assert_eq!(run.output(verify).line_with("verify=").fact("verify"), "ok", "{run}");
    }
    assert!(run.output(17).lines_with("name=big").is_empty(), "{run}");
    assert_eq!(run.output(18).fact("swap_verify"), "ok", "{run}");
}

#[test]
fn t88a_scores_are_those_of_the_formula() {
    let run = machine(&[
        "oom adj 100 mid",
        "oom adj -1000 small",
        "cat /proc/meminfo",
        "oom scores",
        "cat /proc/2/oom_score",
    ]);
    let run = run.start().assert_ok();
    let total = i64::try_from(meminfo(run.output(9), "MemTotal") / 4).unwrap();
    let scores = run.output(10);
    for line in scores.lines_with("oom_score=") {
        let adj: i64 = line.fact("oom_score_adj").parse().unwrap();
        let memory =
            i64::try_from(line.number("rss") + line.number("swapents") + line.number("tables")).unwrap();
        let points = memory + adj * (total / 1000);
        let expected = if adj == -1000 { 0 } else { (1000 + points * 1000 / total) * 2 / 3 };
        assert!((expected - line.fact("oom_score").parse::<i64>().unwrap()).abs() <= 1, "{run}");
    }
    assert_eq!(scores.lines().count(), 3, "{run}");
    assert_eq!(run.output(11).as_str().trim(), scores.line_with("name=mid").fact("oom_score"), "{run}");
    let run = machine(&["oom adj 1001"]).start().assert_status(2);
    let _ = run.output(7).line_with("EINVAL (-1000..1000)");
}

#[test]
fn t88b_of_equals_the_later_one_goes_but_by_the_older_policy_the_nice_one() {
    let commands = [
        "ctx new a",
        "oom nice 10",
        "vm touch 32M",
        "ctx new b",
        "vm touch 32M",
        "ctx new c",
        "vm touch 40M",
    ];
    // Without chance in the layouts both have as many page tables.
    let victim = |policy: &str| {
        let run = Guest::on(any_host())
            .mem("96M")
            .cpus(1)
            .append("noswap")
            .append("norandmaps")
            .append(policy)
            .run(&commands)
            .start();
        // The third has less than the two others when memory is out.
        run.output(6).line_with("Killed process").as_str().to_owned()
    };
    let (modern, legacy) = (victim("oom_policy=badness"), victim("oom_policy=legacy"));
    assert!(modern.contains("Killed process 2 (b)"), "{modern}");
    assert!(legacy.contains("Killed process 1 (a)"), "{legacy}");
}

/// A context reads a file whose pages stay, while another has most of the memory and there is no swap: the page cache finds
/// no page for it, and the other goes. What the reader sees is right.
#[test]
fn t87e_a_read_of_a_file_ends_the_one_who_has_all_memory() {
    let folder = TempDir::new().unwrap();
    let (content, image) = (folder.path().join("f.bin"), folder.path().join("data.img"));
    let crc = images::write_pattern(&mut fs::File::create(&content).unwrap(), 40 << 20, 5).unwrap();
    let file = FileSpec { name: "f".into(), content: Content::Host(content), room: 0, sparse: false };
    let spec = DataSpec { size: Some(56 << 20), uuid: None, files: vec![file], partitions: vec![] };
    images::make_data(&image, &spec, Existing::Keep).unwrap();
    let commands = [
        "ctx new small",
        "vm touch 8M",
        "ctx new big",
        "vm touch 48M",
        "file mmap-sum f locked",
        "grep oom_kill /proc/vmstat",
        "ctx list",
        "ctx use small",
        "vm verify",
        "mm verify",
    ];
    for cpus in [1, 2] {
        let guest = Guest::on(any_host()).mem("96M").cpus(cpus).append("noswap").disk(&image, ",ro");
        let run = guest.append("transparent_hugepage=never").run(&commands).start().assert_ok();
        let (said, pid) = (run.output(4), run.output(2).number("pid"));
        // The page cache asks for the page that is read; where that one begins a table, the fault asks for the table.
        let asked = said.line_with("mmap-sum invoked oom-killer: gfp_mask=").as_str().to_owned();
        let masks = ["0x100cc8(GFP_USER|__GFP_MOVABLE)", "0x100dca(GFP_HIGHUSER_MOVABLE|__GFP_ZERO)"];
        let is_known = |mask| asked.ends_with(&format!("={mask}, order=0, oom_score_adj=0"));
        assert!(masks.into_iter().any(is_known), "{run}");
        let _ = said.line_with(&format!("Out of memory: Killed process {pid} (big) total-vm:"));
        let _ = said.line_with(&format!("oom_reaper: reaped process {pid} (big), now anon-rss:0kB,"));
        assert_eq!(said.line_with("mapped=").fact("crc32"), format!("0x{crc:08x}"), "{run}");
        assert_eq!(kills(&run, 5), "oom_kill 1", "{run}");
        assert!(run.output(6).lines_with("name=big").is_empty(), "{run}");
        assert_eq!(run.output(8).line_with("verify=").fact("verify"), "ok", "{run}");
        run.output(9).assert_line("buddy=ok zones=ok slab=ok vmalloc=ok leaked=0");
    }
}

/// What the kernel allocates for itself ends a context, too; when there is none that may go it fails, and the machine does
/// not end.
#[test]
fn t87f_the_kernel_asks_as_well_and_is_told_when_nobody_can_go() {
    let run = machine(&["vmalloc 40M", "grep oom_kill /proc/vmstat", "vm verify", "mm verify"]);
    let run = run.start().assert_ok();
    let said = run.output(7);
    let _ = said.line_with("kernel invoked oom-killer: gfp_mask=0xcc2(GFP_KERNEL|__GFP_HIGHMEM), order=0");
    let _ = said.line_with("Out of memory: Killed process 3 (big) total-vm:");
    assert_eq!(kills(&run, 8), "oom_kill 1", "{run}");
    assert_eq!(run.output(9).line_with("verify=").fact("verify"), "ok", "{run}");
    run.output(10).assert_line("buddy=ok zones=ok slab=ok vmalloc=ok leaked=0");
    let immune = ["oom adj -1000 small", "oom adj -1000 mid", "oom adj -1000 big", "vmalloc 40M"];
    let run = machine(&immune).start().assert_ok();
    run.output(10).assert_line("vmalloc(41943040) -> NULL (out of memory)");
    assert!(run.all().lines_with("oom-killer").is_empty(), "{run}");
    assert!(run.all().lines_with("Kernel panic").is_empty(), "{run}");
}
