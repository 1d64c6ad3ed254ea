//! T89: every counter of `/proc/vmstat` moves as much as what is done to move it, or stays at 0 because what it counts is
//! not there.

use std::collections::BTreeSet;

use tempfile::TempDir;
use tests::linux::vmstat;
use tests::{Guest, Run, Text, any_host};

use crate::reclaim::volume;

/// How a counter changes.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// By so much.
    By(i64),
    /// By so much or more.
    AtLeast(i64),
    /// By so much, but for what waits in a batch of a CPU.
    About(i64),
    /// Until it is this.
    Is(i64),
}
use Change::{About, AtLeast, By, Is};

/// Pages that a CPU collects before they go on a list.
const BATCH: i64 = 31;

/// What is done to one machine, and what is counted of it.
struct Case {
    guest: Guest,
    before: &'static [&'static str],
    forced: &'static [&'static str],
    changes: &'static [(&'static str, Change)],
}

/// Counters whose changes other tests compare with what they expect, with where that is.
const ELSEWHERE: [(&str, &str, &str); 16] = [
    ("oom_kill", "t87a_the_worst_context_goes_and_the_others_keep_what_they_have", include_str!("oom.rs")),
    ("numa_miss", "t81d_a_task_has_its_memory_on_the_node_of_its_cpu", include_str!("numa.rs")),
    ("numa_foreign", "t81d_a_task_has_its_memory_on_the_node_of_its_cpu", include_str!("numa.rs")),
    ("swap_ra", "t66_pages_come_back_in_clusters_and_swapoff_brings_all", include_str!("swap.rs")),
    ("swap_ra_hit", "t66_pages_come_back_in_clusters_and_swapoff_brings_all", include_str!("swap.rs")),
    ("pgdeactivate", REPLAY, REPLAYS),
    ("pgrefill", REPLAY, REPLAYS),
    ("pgscan_file", REPLAY, REPLAYS),
    ("pgsteal_file", REPLAY, REPLAYS),
    ("pgscan_direct", REPLAY, REPLAYS),
    ("pgsteal_direct", REPLAY, REPLAYS),
    ("nr_active_file", REPLAY, REPLAYS),
    ("pgactivate", REPLAY, REPLAYS),
    ("workingset_refault_file", REPLAY, REPLAYS),
    ("workingset_activate_file", REPLAY, REPLAYS),
    ("workingset_restore_file", REPLAY, REPLAYS),
];
const REPLAY: &str = "t62_pages_go_in_the_order_of_a_model_that_replays_the_trace";
const REPLAYS: &str = include_str!("reclaim_replay.rs");

/// Counters that no command moves by a number that is known: of moments that are over when somebody looks, of chance, and
/// of what the kernel does for itself.
const MOMENTS: [&str; 35] = [
    "pgalloc_dma",
    "pgalloc_movable",
    "allocstall_dma",
    "nr_slab_unreclaimable",
    "thp_split_page_failed",
    "nr_isolated_anon",
    "nr_isolated_file",
    "nr_writeback",
    "nr_throttled_written",
    "nr_vmscan_immediate_reclaim",
    "nr_free_pages_blocks",
    "nr_active_anon",
    "nr_zone_active_anon",
    "nr_zone_active_file",
    "nr_slab_reclaimable",
    "nr_kernel_stack",
    "nr_shmem",
    "nr_memmap_boot_pages",
    "kswapd_low_wmark_hit_quickly",
    "kswapd_high_wmark_hit_quickly",
    "pgrotated",
    "pginodesteal",
    "pgscan_direct_throttle",
    "pgscan_anon",
    "pgsteal_anon",
    "workingset_nodes",
    "workingset_nodereclaim",
    "workingset_refault_anon",
    "workingset_activate_anon",
    "workingset_restore_anon",
    "slabs_scanned",
    "unevictable_pgs_scanned",
    "allocstall_normal",
    "pgalloc_normal",
    "thp_zero_page_alloc_failed",
];

/// Counters of what is not there: of migration and compaction, of NUMA balancing and tiers, of khugepaged, zswap, KSM and
/// balloons, and of zones that this machine does not have. Nothing that any case does moves them.
fn is_not_there(name: &str) -> bool {
    const PREFIXES: [&str; 13] = [
        "compact_",
        "numa_pte",
        "numa_hint",
        "pgmigrate_",
        "pgpromote_",
        "pgdemote_",
        "pgskip_",
        "thp_migration_",
        "thp_collapse_",
        "thp_scan_",
        "thp_file_",
        "balloon_",
        "zsw",
    ];
    const NAMES: [&str; 37] = [
        "nr_zspages",
        "nr_free_cma",
        "numa_interleave",
        "numa_pages_migrated",
        "numa_huge_pte_updates",
        "nr_shmem_hugepages",
        "nr_shmem_pmdmapped",
        "nr_file_hugepages",
        "nr_file_pmdmapped",
        "nr_kernel_misc_reclaimable",
        "nr_foll_pin_acquired",
        "nr_foll_pin_released",
        "nr_sec_page_table_pages",
        "nr_iommu_pages",
        "nr_balloon_pages",
        "nr_kernel_file_pages",
        "nr_memmap_pages",
        "pgalloc_device",
        "allocstall_device",
        "pgsteal_khugepaged",
        "pgsteal_proactive",
        "pgscan_khugepaged",
        "pgscan_proactive",
        "zone_reclaim_success",
        "zone_reclaim_failed",
        "kswapd_inodesteal",
        "unevictable_pgs_cleared",
        "unevictable_pgs_stranded",
        "thp_fault_fallback_charge",
        "thp_deferred_split_page",
        "thp_underused_split_page",
        "thp_split_pud",
        "thp_swpout",
        "ksm_swpin_copy",
        "cow_ksm",
        "nr_unstable",
        "allocstall_movable",
    ];
    let is_of_map = name.starts_with("direct_map_level");
    is_of_map || NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// One CPU and small pages.
fn machine() -> Guest {
    Guest::on(any_host()).cpus(1).mem("128M").option("--swap", "none").append("transparent_hugepage=never")
}

fn of_memory() -> Vec<Case> {
    let huge = || Guest::on(any_host()).cpus(1).mem("128M").option("--swap", "none");
    vec![
        Case {
            guest: machine(),
            before: &["vm touch 4M"],
            forced: &["vm touch 4M"],
            changes: &[
                ("pgfault", By(1024)),
                ("pgmajfault", By(0)),
                ("pgreuse", By(0)),
                ("nr_anon_pages", By(1024)),
                ("nr_inactive_anon", About(1024)),
                ("nr_zone_inactive_anon", About(1024)),
                ("nr_page_table_pages", AtLeast(2)),
                ("nr_free_pages", About(-1024)),
                ("pgalloc_dma32", AtLeast(1024)),
                ("numa_hit", AtLeast(1024)),
                ("numa_local", AtLeast(1024)),
                ("numa_other", By(0)),
            ],
        },
        Case {
            guest: machine(),
            before: &["vm touch 4M"],
            forced: &["vm unmap"],
            changes: &[("nr_anon_pages", By(-1024)), ("pgfree", AtLeast(1024)), ("pgfault", By(0))],
        },
        Case {
            guest: huge(),
            before: &["vm touch 64K"],
            forced: &["vm touch 8M"],
            changes: &[
                ("thp_fault_alloc", By(4)),
                ("pgfault", By(4)),
                ("nr_anon_transparent_hugepages", By(4)),
                ("nr_anon_pages", By(2048)),
                ("thp_split_pmd", By(0)),
            ],
        },
        Case {
            guest: huge(),
            before: &["inject fail_page_alloc=1,100,0,-1 min-order=9 ignore-gfp-highmem=N ignore-gfp-wait=N"],
            forced: &["vm touch 8M"],
            changes: &[("thp_fault_fallback", AtLeast(1)), ("thp_fault_alloc", By(0)), ("pgfault", By(2048))],
        },
        Case {
            guest: machine(),
            before: &["vm touch 4M"],
            forced: &["vm lock"],
            changes: &[
                ("nr_mlock", By(1024)),
                ("unevictable_pgs_mlocked", By(1024)),
                ("unevictable_pgs_culled", By(1024)),
                ("nr_unevictable", About(1024)),
                ("nr_zone_unevictable", About(1024)),
            ],
        },
        Case {
            guest: machine(),
            before: &["vm touch 4M", "vm lock"],
            forced: &["vm unlock"],
            changes: &[
                ("nr_mlock", Is(0)),
                ("unevictable_pgs_munlocked", By(1024)),
                ("unevictable_pgs_rescued", By(1024)),
            ],
        },
        Case {
            guest: Guest::on(any_host()).numa("node=0,cpus=0,mem=96M").numa("node=1,cpus=1,mem=64M"),
            before: &["vm touch 64K"],
            forced: &["alloc 10 node=1"],
            changes: &[("numa_hit", AtLeast(1)), ("numa_other", AtLeast(1))],
        },
    ]
}

/// Cases of a disk with the file `data` of 4 MiB and the file `big`.
fn of_files(disk: &dyn Fn() -> Guest) -> Vec<Case> {
    let alone = || disk().append("read_ahead_kb=0");
    vec![
        Case {
            guest: alone(),
            before: &["file read data 4K"],
            forced: &["file read data 400K at=400K"],
            changes: &[
                ("pgpgin", By(400)),
                ("nr_file_pages", By(100)),
                ("nr_inactive_file", About(100)),
                ("nr_zone_inactive_file", About(100)),
                ("pgfault", By(0)),
            ],
        },
        Case {
            guest: alone(),
            before: &["file read data"],
            forced: &["vm map 400K r-- file=data populate"],
            changes: &[("nr_mapped", By(100)), ("pgpgin", By(0)), ("nr_anon_pages", By(0))],
        },
        Case {
            guest: alone(),
            before: &["file read data", "file sync"],
            forced: &["sysctl vm.drop_caches=1"],
            changes: &[("drop_pagecache", By(1)), ("drop_slab", By(0)), ("nr_inactive_file", AtLeast(-2000))],
        },
        Case {
            guest: alone(),
            before: &["file read data"],
            forced: &["sysctl vm.drop_caches=2"],
            changes: &[("drop_slab", By(1)), ("drop_pagecache", By(0))],
        },
        Case {
            guest: alone(),
            before: &["file read data"],
            forced: &["file write data 400K"],
            changes: &[
                ("nr_dirty", By(100)),
                ("nr_zone_write_pending", By(100)),
                ("nr_dirtied", By(100)),
                ("nr_written", By(0)),
            ],
        },
        Case {
            guest: alone(),
            before: &["file read data", "file write data 400K"],
            forced: &["file sync"],
            changes: &[
                ("nr_dirty", By(-100)),
                ("nr_zone_write_pending", By(-100)),
                ("nr_written", By(100)),
                ("pgpgout", AtLeast(400)),
            ],
        },
        Case {
            guest: alone(),
            before: &[],
            forced: &["sysctl vm.dirty_bytes=8388608", "sysctl vm.dirty_background_bytes=4194304"],
            changes: &[("nr_dirty_threshold", Is(2048)), ("nr_dirty_background_threshold", Is(1024))],
        },
        Case {
            guest: alone(),
            before: &["file read data"],
            forced: &["evict room 3"],
            changes: &[("allocstall_dma32", By(3)), ("pgscan_kswapd", By(0))],
        },
        Case {
            guest: disk().mem("64M"),
            before: &[],
            forced: &["file read big"],
            changes: &[
                ("pgpgin", AtLeast(128 << 10)),
                ("pgscan_kswapd", AtLeast(1024)),
                ("pgsteal_kswapd", AtLeast(1024)),
                ("pageoutrun", AtLeast(1)),
            ],
        },
    ]
}

fn of_swap() -> Vec<Case> {
    let huge = || Guest::on(any_host()).cpus(1).mem("128M").option("--swap", "64M");
    let swap = || huge().append("transparent_hugepage=never sysctl.vm.page-cluster=0");
    vec![
        Case {
            guest: swap(),
            before: &["vm touch 4M"],
            forced: &["swap out"],
            changes: &[
                ("pswpout", By(1024)),
                ("pgpgout", By(4096)),
                ("nr_vmscan_write", By(1024)),
                ("nr_anon_pages", By(-1024)),
                ("swpout_zero", By(0)),
            ],
        },
        Case {
            guest: swap(),
            before: &["vm touch 4M", "swap out"],
            forced: &["vm verify"],
            changes: &[
                ("pswpin", By(1024)),
                ("pgpgin", By(4096)),
                ("pgfault", By(1024)),
                ("pgmajfault", By(1024)),
                ("nr_anon_pages", By(1024)),
                ("nr_swapcached", By(1024)),
                ("pswpout", By(0)),
            ],
        },
        Case {
            guest: huge(),
            before: &["vm touch 8M"],
            forced: &["vm advise pageout"],
            changes: &[
                ("thp_split_page", By(4)),
                ("thp_swpout_fallback", By(4)),
                ("nr_anon_transparent_hugepages", By(-4)),
                ("pswpout", By(2048)),
            ],
        },
        Case {
            guest: swap(),
            before: &["vm map 4M populate"],
            forced: &["vm advise pageout"],
            changes: &[("swpout_zero", By(1024)), ("pswpout", By(0)), ("pgpgout", By(0))],
        },
        Case {
            guest: swap(),
            before: &["vm map 4M populate", "vm advise pageout"],
            forced: &["vm populate"],
            changes: &[("swpin_zero", By(1024)), ("pswpin", By(0)), ("pgmajfault", By(0))],
        },
        Case {
            guest: swap(),
            before: &["vm touch 4M"],
            forced: &["vm advise free", "vm advise pageout"],
            changes: &[("pglazyfree", By(1024)), ("pglazyfreed", By(1024)), ("pswpout", By(0))],
        },
    ]
}

/// Cases that need the address of a huge page, which is the same every time.
fn of_huge_pages() -> Vec<Case> {
    let guest = || Guest::on(any_host()).cpus(1).mem("128M").option("--swap", "none");
    let run = guest().run(&["vm map 4M thp"]).start().assert_ok();
    let mapped = run.output(0).fact("mapped").split('-').next().unwrap().to_owned();
    let leaked = |text: String| -> &'static str { text.leak() };
    let lists = |list: Vec<&'static str>| -> &'static [&'static str] { list.leak() };
    let read = leaked(format!("vm read {mapped}"));
    let divide = leaked(format!("vm protect r {mapped} 4K"));
    vec![
        Case {
            guest: guest(),
            before: &["vm map 4M thp"],
            forced: lists(vec![read]),
            changes: &[("thp_zero_page_alloc", By(1)), ("pgfault", By(1))],
        },
        Case {
            guest: guest(),
            before: &["vm map 4M thp", "touch 1/1"],
            forced: lists(vec![divide]),
            changes: &[("thp_split_pmd", By(1)), ("nr_anon_transparent_hugepages", By(-1))],
        },
        Case {
            guest: guest(),
            before: &["hugetlb nr=2"],
            forced: &["hugetlb nr=6", "vm map 8M hugetlb", "touch 1/1"],
            changes: &[("htlb_buddy_alloc_success", By(4)), ("nr_hugetlb", By(4 * 512))],
        },
        Case {
            guest: guest(),
            before: &["hugetlb nr=4", "vm map 8M hugetlb", "touch 1/1"],
            forced: &["vm unmap", "hugetlb nr=1000"],
            // Node after node is asked until none has a block.
            changes: &[("htlb_buddy_alloc_fail", By(1)), ("nr_hugetlb", Is(0))],
        },
        Case {
            guest: guest(),
            before: &["ctx new one"],
            forced: &["cow demo 100"],
            changes: &[("pgreuse", AtLeast(100))],
        },
    ]
}

/// What a case did, and whether it changed what it should.
fn check(case: Case) -> Vec<&'static str> {
    let look = ["cat /proc/vmstat"];
    let commands = [case.before, &look, case.forced, &look].concat();
    let run: Run = case.guest.run(&commands).start().assert_ok();
    let (before, after) = (run.output(case.before.len()), run.output(commands.len() - 1));
    let number = |text: Text<'_>, name: &str| i64::try_from(vmstat(text, name)).unwrap();
    for (name, change) in case.changes {
        let now = number(after, name);
        let by = now - number(before, name);
        let fits = match *change {
            By(expected) => by == expected,
            AtLeast(least) => by >= least,
            About(expected) => (by - expected).abs() <= BATCH,
            Is(expected) => now == expected,
        };
        assert!(fits, "{name} changed by {by} to {now}, not {change:?}, by {:?}: {run}", case.forced);
    }
    for line in after.lines() {
        let (name, value) = line.split_once(' ').unwrap();
        assert!(value.parse::<u64>().is_ok_and(|value| value >> 62 == 0), "{line} is below 0: {run}");
        assert!(!is_not_there(name) || value == "0", "{line}: {run}");
    }
    case.changes.iter().map(|(name, _)| *name).collect()
}

#[test]
fn t89_every_counter_moves_as_it_is_made_to_or_stays_at_zero() {
    let folder = TempDir::new().unwrap();
    let image = volume(&folder, &[("data", 4 << 20), ("big", 128 << 20)]);
    let disk = || machine().disk(&image, "");
    let cases = [of_memory(), of_files(&disk), of_swap(), of_huge_pages()];
    let mut known: BTreeSet<&str> = cases.into_iter().flatten().flat_map(check).collect();
    for (name, test, source) in ELSEWHERE {
        assert!(source.contains(&format!("fn {test}(")) && source.contains(&format!("\"{name}")), "{name}");
        known.insert(name);
    }
    let moments: BTreeSet<&str> = MOMENTS.into();
    let run = machine().run(&["cat /proc/vmstat"]).start().assert_ok();
    for name in run.output(0).lines().map(|line| line.split(' ').next().unwrap()) {
        let kinds = [known.contains(name), moments.contains(name), is_not_there(name)];
        assert_eq!(kinds.into_iter().filter(|kind| *kind).count(), 1, "{name}: {kinds:?}");
    }
    assert_eq!(run.output(0).lines().count(), shared::text::vmstat::Vmstat::ZERO.iter().count(), "{run}");
}
