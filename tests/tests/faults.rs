//! Allocations that fail on purpose: every command survives the failure of each of its allocations, and says so.

use tests::{Guest, Run, any_host};

/// What is swept; ` + ` goes from one command to the next. With `tasks` a sweep covers what other CPUs allocate.
const SWEPT: &[&str] = &[
    "alloc order=2 + free last",
    "alloc pages=3 + free last",
    "api contig 2500",
    "api gfp GFP_KERNEL 3",
    "api kcalloc 10 20",
    "api krealloc 100 9000",
    "api vmalloc 64K",
    "api vmap 5",
    "alloc order=3 gfp=GFP_KERNEL|__GFP_ZERO node=0 + free last",
    "buddy arena 16 + alloc 1 + free last + buddy arena close",
    "buddy example 3",
    "buddy storm ops=100 seed=1 tasks",
    "buddy verify",
    "cat /proc/meminfo /proc/zoneinfo /proc/vmstat /proc/buddyinfo /proc/pagetypeinfo",
    "cpus",
    "disk fill vda sectors=64 + disk crc vda sectors=64",
    "dma map mask=24",
    "e820",
    "echo hello",
    "features",
    "file read /dev/vda 64K + file as /dev/vda + file close all",
    "file dread /dev/vda 64K at=512 + blk rescan vda + vmalloc purge",
    "fragstat sweep",
    "gfp decode GFP_KERNEL",
    "getconf",
    "grep MemFree /proc/meminfo",
    "help",
    "hugetlb nr=5 + hugetlb check + hugetlb nr=0",
    "kmalloc 9000",
    "kmap nest 3",
    "kmap order",
    "kmap pool 9",
    "kmap data",
    "kmap wait",
    "ls",
    "mm balance",
    "mm verify",
    "mm va-pa 10",
    "numactl -H",
    "ps",
    "pcp + pcp pairs=5 + drain",
    "probe 0",
    "pt map size=4K count=3 + pt unmap 0x400000000000",
    "pt map size=2M count=2 + pt unmap 0x400000000000",
    "pt roots",
    "pt switch",
    "pt verify 10",
    "sleep 0.001",
    "slab cost 100 x100 + slab verify",
    "slab churn ops=50",
    "slab ctor-test 100 x2",
    "slab handover 200",
    "slabinfo",
    "stats",
    "sysctl -a",
    "tasks",
    "tasks start 3 + tasks end",
    "uptime",
    "vmalloc 16K + vfree last + vmalloc purge",
    "vm sparse 8 stride=2M",
    "vmstat",
    "ctx list",
    "ctx once vm touch 64K",
    "ctx once vm contig 16",
    "ctx once vm poke data",
    "ctx once stack grow 64K",
    "ctx once touch 64K",
    "ctx once vm map 64K populate",
    "ctx once rss",
    "ctx once cat /proc/self/smaps",
    "layout",
    "cow demo 100",
    "fault flavours",
    "zones verify",
];

/// What is not, and why.
const SPARED: &[(&str, &str)] = &[
    ("bench", "measures how fast allocations succeed, tens of thousands of them"),
    ("crash", "ends the machine on purpose"),
    ("fail_nth", "is the sweep itself"),
    ("evict", "takes pages, and allocates nothing that it keeps"),
    ("frag", "makes a million allocations"),
    ("page_owner", "needs page_owner=on, and leaks on purpose"),
    ("hostile", "attacks the monitor, then ends the machine"),
    ("inject", "sets failures up and allocates nothing"),
    ("oom", "shows and sets numbers, and allocates nothing"),
    ("swap", "needs a disk to swap to; the tests of mm make its allocations fail"),
    ("swapcache", "is swap, with a mapping of its own"),
    ("swapoff", "as swap"),
    ("swapon", "as swap"),
    ("latency", "touches thousands of pages, as vm touch does, for each failure"),
    ("mempool", "takes all memory itself, a page at a time"),
    ("psi", "waits, and allocates nothing"),
    ("thrash", "is vm touch and file read, many times over"),
    ("populate", "is vm populate, for the mapping made last"),
    ("tlb", "races two CPUs for as long as it is told"),
    ("tour", "runs the others"),
    ("traps", "repairs faults of the kernel itself; without memory for that a kernel ends, as it should"),
];

/// Commands of a boot.
const AT_ONCE: usize = 12;

fn guest() -> Guest {
    Guest::on(any_host()).cpus(2).mem("128M").option("--swap", "none")
}

/// The sweep of each command ended well.
#[track_caller]
fn assert_swept(run: &Run, commands: &[&str]) {
    for (n, command) in commands.iter().enumerate() {
        let output = run.output(n);
        let verdict =
            output.lines_with("sweep=").pop().unwrap_or_else(|| panic!("{command} is not done\n{run}"));
        assert!(verdict.as_str().starts_with(&format!("sweep={command:?} ")), "{run}");
        let steps = output.lines_with("fail_nth=");
        assert_eq!(steps.len() as u64, verdict.number("failures") + 1, "{run}");
        for (nth, step) in (1..).zip(&steps) {
            assert_eq!(
                (step.number("fail_nth"), step.fact("free_diff"), step.number("leaked")),
                (nth, "0", 0)
            );
        }
        assert!(steps[..steps.len() - 1].iter().all(|step| step.number("injected") == 1), "{run}");
    }
}

#[test]
fn b11a_every_command_survives_the_failure_of_each_of_its_allocations() {
    let mut failures = 0;
    for commands in SWEPT.chunks(AT_ONCE) {
        let sweeps: Vec<_> = commands.iter().map(|command| format!("fail_nth sweep {command}")).collect();
        let sweeps: Vec<_> = sweeps.iter().map(String::as_str).collect();
        let run = guest().run(&sweeps).start().assert_ok();
        assert_swept(&run, commands);
        failures += run.all().numbers("failures").iter().sum::<u64>();
    }
    assert!(failures > 200, "only {failures} allocations were made to fail");
}

#[test]
fn b11a_no_command_is_forgotten() {
    let run = guest().run(&["help"]).start().assert_ok();
    for line in run.output(0).lines() {
        let name = line.split_whitespace().next().unwrap();
        let swept = SWEPT
            .iter()
            .flat_map(|script| script.split(" + "))
            .flat_map(|command| command.split("ctx once "))
            .any(|command| command.split_whitespace().next() == Some(name));
        let spared = SPARED.iter().any(|(spared, _)| *spared == name);
        assert!(swept != spared, "{name}: sweep it, or say why not");
    }
}

#[test]
fn b11b_fail_page_alloc_hits_what_linux_would() {
    let commands = ["alloc order=1 gfp=GFP_ATOMIC", "alloc order=1 gfp=GFP_KERNEL"];
    let failing = |append: &str, command: &str, status: i32| {
        let run = guest().append(append).script(command).start().assert_status(status);
        assert_eq!(run.all().as_str().contains("FAULT_INJECTION: forcing a failure."), status == 1, "{run}");
        run
    };
    let every = "fail_page_alloc=1,100,0,-1";
    let run = failing(every, commands[0], 1);
    run.all().assert_line("name fail_page_alloc, interval 1, probability 100, space 0, times -1");
    run.all().assert_line("error: out of memory");
    failing(every, "alloc order=0 gfp=GFP_ATOMIC", 0);
    failing(every, commands[1], 0);
    failing(&format!("{every} fail_page_alloc.ignore-gfp-wait=N"), commands[1], 1);
    failing(
        &format!("{every} fail_page_alloc.ignore-gfp-wait=N fail_page_alloc.min-order=2"),
        commands[1],
        0,
    );
    // Every third one.
    let run = failing(
        "fail_page_alloc=3,100,0,1 fail_page_alloc.ignore-gfp-wait=N",
        "alloc 1; alloc 1; alloc 1",
        1,
    );
    assert_eq!(run.all().lines_with("pfn=").len(), 2, "{run}");
}

#[test]
fn b11b_inject_checks_what_it_is_given() {
    for (command, part) in [
        ("inject", "expected fail_page_alloc="),
        ("inject fail_page_alloc=1,2,3", "bad fail_page_alloc '1,2,3'"),
        ("inject failslab=1,100,0,-1 min-order=1", "unexpected argument 'min-order=1'"),
        ("inject failslab=1,100,0,-1 cache-filter=maybe", "bad cache-filter 'maybe'"),
        ("fail_nth", "expected a number or sweep"),
        ("fail_nth 1", "expected a command"),
        ("fail_nth 0 echo", "bad fail_nth 0"),
    ] {
        let run = guest().script(command).start().assert_status(2);
        assert_eq!(run.all().lines_with(part).len(), 1, "{run}");
    }
    let script = "inject fail_page_alloc=1,100,0,1 min-order=0 ignore-gfp-wait=N; alloc 0";
    guest().script(script).start().assert_status(1).all().assert_line("error: out of memory");
    let script = "inject fail_page_alloc=1,100,0,-1 min-order=0 ignore-gfp-wait=N; inject off; alloc 0";
    guest().script(script).start().assert_ok();
}

#[test]
fn b19a_a_leak_is_the_top_line_and_the_sum_is_what_is_allocated() {
    let commands = [
        "page_owner top=1",
        "grep nr_free_pages /proc/vmstat",
        "page_owner top=1 leak=137",
        "grep nr_free_pages /proc/vmstat",
    ];
    let run = guest().append("page_owner=on").run(&commands).start().assert_ok();
    let (before, after) = (run.output(0), run.output(2));
    let top = after.lines_with("pages=")[0];
    assert_eq!(top.number("pages"), 137, "{run}");
    assert!(top.as_str().contains("page_owner"), "its code is named\n{run}");
    assert_eq!(after.number("sum") - before.number("sum"), 137, "{run}");
    let text =
        guest().append("page_owner=on").run(&["page_owner leak=137", "cat /sys/kernel/debug/page_owner"]);
    let run = text.start().assert_ok();
    let entries = run.output(1).lines_with("Page allocated via order 0, mask 0xcc0(GFP_KERNEL), pid ");
    assert!(entries.len() >= 137, "{run}");
    assert_eq!(
        run.output(1).lines_with(" type Unmovable Block ").len(),
        run.output(1).lines_with("Page allocated").len()
    );
}

#[test]
fn b19b_without_page_owner_nothing_is_recorded() {
    guest().script("page_owner").start().assert_status(2);
    let run = guest().run(&["cat /sys/kernel/debug/page_owner"]).start().assert_ok();
    assert_eq!(run.output(0).as_str().trim(), "");
}

#[test]
fn b18a_every_command_works_with_all_checks_on() {
    for checks in ["page_poison=1 page_owner=on", "init_on_alloc=1 init_on_free=1"] {
        let commands =
            ["buddy storm ops=2000 seed=3 tasks", "pt verify 20", "vm sparse 8 stride=2M", "mm verify"];
        let run = guest().append(checks).run(&commands).start().assert_ok();
        assert!(!run.all().as_str().contains("pagealloc"), "sound use is not reported\n{run}");
    }
}

#[test]
fn t13f_free_pages_are_not_in_the_direct_map() {
    // Boot and the first allocation are the same every time, so the second run can name the page of the first.
    let guest = |append: &str| Guest::on(any_host()).cpus(1).mem("64M").append(append);
    let run = guest("debug_pagealloc=on")
        .run(&["alloc 0", "free last", "buddy storm ops=500 seed=1", "mm verify"])
        .start();
    let run = run.assert_ok();
    let va = run.output(0).fact("va");
    let read = format!("alloc 0; crash wild {va}");
    let run = guest("debug_pagealloc=on").script(&read).start().assert_status(1);
    assert_eq!(run.all().fact("va"), va, "a page that is held can be read\n{run}");
    let read = format!("alloc 0; free last; crash wild {va}");
    let run = guest("debug_pagealloc=on").script(&read).start().assert_status(5);
    assert_eq!(run.all().lines_with(&format!("address: {va}")).len(), 1, "{run}");
    // The negative control: without it the page can be read after it was freed.
    guest("").script(&read).start().assert_status(1);
}
