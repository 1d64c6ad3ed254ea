//! T86: memory falls to pieces only where nothing merges; many users at once lose nothing.

use tests::linux::buddyinfo;
use tests::{Guest, Run, any_host, for_each_host};

/// The share of free memory that can be had in blocks of 2 MiB, in percent: before, during and after the churn.
fn success(run: &Run, command: usize) -> [f64; 3] {
    ["before: ", "during: ", "after: "].map(|when| {
        let line = run.output(command).line_with(when);
        let (listed, taken) = (line.number("in_order9_blocks"), line.number("allocated_as_order9"));
        assert_eq!(listed, taken, "what the lists promise can be had\n{run}");
        line.fact("order9_success").trim_end_matches('%').parse().unwrap()
    })
}

fn churn(merge: u32, seed: u32) -> Run {
    let command = format!("frag churn ops=1000000 seed={seed}");
    let guest = Guest::on(any_host())
        .mem("128M")
        .option("--swap", "none")
        .cpus(1)
        .append(&format!("buddy.merge={merge}"));
    guest.run(&[&command, "mm verify"]).start().assert_ok()
}

#[test]
fn t86a_a_million_operations_leave_large_blocks_where_they_merge() {
    let run = churn(1, 1);
    let [before, during, after] = success(&run, 0);
    println!("merging: order9_success before={before}% during={during}% after={after}%");
    assert!(before >= 95.0 && during < 20.0 && after >= 95.0, "{run}");
    assert_eq!(before, after, "{run}");
    let again = churn(1, 1);
    assert_eq!(run.output(0).as_str(), again.output(0).as_str(), "the same seed gives the same numbers");
    assert_ne!(run.output(0).as_str(), churn(1, 2).output(0).as_str(), "another seed does not");
    // The negative control.
    let run = churn(0, 1);
    let [before, _, after] = success(&run, 0);
    println!("without merging: order9_success before={before}% after={after}%");
    assert!(before >= 95.0 && after < 1.0, "{run}");
}

#[test]
fn t86b_indexes_of_fragmentation_follow_from_buddyinfo() {
    let commands = [
        "zones verify",
        "cat /proc/buddyinfo",
        "cat /sys/kernel/debug/extfrag/unusable_index",
        "cat /sys/kernel/debug/extfrag/extfrag_index",
        "fragstat",
    ];
    let thousandths = |text: &str| (text.parse::<f64>().unwrap() * 1000.0).round() as i64;
    for_each_host(|host| {
        let run =
            Guest::on(host).mem("64M").cpus(1).append("buddy.merge=0").run(&commands).start().assert_ok();
        for (n, zone) in buddyinfo(run.output(1)).into_iter().enumerate() {
            let indexes = |command: usize| -> Vec<i64> {
                let text = run.output(command);
                let line = text.lines().nth(n).unwrap();
                let rest = line.strip_prefix(&format!("Node {}, zone {:>8} ", zone.node, zone.zone)).unwrap();
                rest.split_whitespace().map(thousandths).collect()
            };
            let (free, blocks) = (zone.pages() as i64, zone.blocks.iter().sum::<u64>() as i64);
            for order in 0..zone.blocks.len() {
                let usable: u64 = (order..zone.blocks.len()).map(|o| zone.blocks[o] << o).sum();
                let unusable = (free - usable as i64) * 1000 / free;
                let index = match usable {
                    0 => 1000 - (1000 + free * 1000 / (1 << order)) / blocks,
                    _ => -1000,
                };
                assert_eq!((indexes(2)[order], indexes(3)[order]), (unusable, index), "order {order}\n{run}");
            }
            let line = run.output(4).line_with(&format!("zone={} ", zone.zone));
            let largest = zone.blocks.iter().rposition(|blocks| *blocks > 0).unwrap();
            assert_eq!(line.number("largest_free_order"), largest as u64, "{run}");
            assert_eq!(line.number("unusable_index") as i64, indexes(2)[9], "{run}");
        }
        assert!(run.output(4).line_with("slab bytes=").number("used") > 0, "{run}");
    });
}

/// Both CPUs take and free pages, objects and areas, each also what the other has taken.
#[test]
fn t27e_t41e_t85h_all_users_at_once_lose_nothing_and_share_nothing() {
    for_each_host(|host| {
        let commands = ["mm stress ms=5000 seed=1", "mm verify", "mm stress ms=200 seed=2"];
        let run = Guest::on(host).mem("128M").cpus(2).run(&commands).start().assert_ok();
        for (n, least) in [(0, 1000), (2, 100)] {
            let out = run.output(n);
            let work = out.line_with("cpus=2 ");
            let taken = ["pages", "objects", "areas"].map(|kind| work.number(kind));
            assert!(taken.iter().all(|taken| *taken > least / 10), "{run}");
            assert_eq!(taken.iter().sum::<u64>(), work.number("frees"), "{run}");
            let verdict = out.line_with("verify=ok");
            let lost = ["pages_diff", "areas_diff", "leaked"].map(|key| verdict.fact(key).to_owned());
            assert_eq!(lost, ["0", "0", "0"], "{run}");
        }
    });
}
