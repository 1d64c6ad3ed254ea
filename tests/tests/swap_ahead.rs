//! T66: what a booted guest brings from swap with a page equals the model, request by request.

use tempfile::TempDir;
use tests::linux::vmstat;
use tests::{Guest, Host, Run, any_host, for_each_host};

use crate::swap_areas::area;

#[path = "../../guest/mm/tests/vm/ahead_model.rs"]
mod ahead_model;

use ahead_model::{Model, Way};

const PAGES: usize = 1000;
/// Every so many pages go out together.
const STEP: usize = 50;
/// Where the first slot is that is given out: at a window.
const FIRST_SLOT: u64 = 512;

/// All pages of an area went out in an order that is not that of their addresses, and were read in that order if `until`
/// says so.
fn swapped(host: Host, image: &std::path::Path, parameters: &str, until: &str) -> Run {
    let guest = Guest::on(host).cpus(1).mem("64M").option("--swap", "none").disk(image, "");
    let bench = format!("swap bench size={}K scatter={STEP} until={until}", PAGES * 4);
    let commands = ["disk list", bench.as_str(), "cat /proc/vmstat", "swap verify"];
    guest.append("swap=vda").append(parameters).report().run(&commands).start().assert_ok()
}

/// Requests of a kind that the monitor has served.
fn requests(run: &Run, kind: &str) -> u64 {
    let report = run.report();
    let served = report["disks"][0]["requests"].as_array().unwrap();
    served.iter().filter(|request| request["kind"] == kind).map(|r| r["count"].as_u64().unwrap()).sum()
}

#[test]
fn t66b_what_comes_with_a_page_lies_beside_it_on_a_disk_that_turns_and_in_memory_on_others() {
    let folder = TempDir::new().unwrap();
    let image = area(&folder, "swap.img", 16);
    for_each_host(|host| {
        let mut majors = Vec::new();
        // Only our monitor counts requests. What finds the area and its pages is the same each time.
        let others = host.is_kvm().then(|| requests(&swapped(host, &image, "", "out"), "read"));
        for (parameters, way, cluster) in [
            ("", Way::Slots, 3),
            ("nonrot=vda", Way::Area, 3),
            ("nonrot=vda sysctl.vm.page-cluster=5", Way::Area, 5),
            ("nonrot=vda sysctl.vm.page-cluster=0", Way::Area, 0),
            ("nonrot=vda vma_ra_enabled=0", Way::Slots, 3),
        ] {
            let run = swapped(host, &image, parameters, "in");
            let turns = u64::from(!parameters.contains("nonrot"));
            assert_eq!(run.output(0).line_with("disk=vda").number("rotational"), turns, "{run}");
            let bench = run.output(1);
            let at = u64::from_str_radix(bench.fact("at").trim_start_matches("0x"), 16).unwrap();
            let mut slots = vec![0; PAGES];
            let order = (0..STEP).flat_map(|first| (first..PAGES).step_by(STEP));
            order.zip(FIRST_SLOT..).for_each(|(page, slot)| slots[page] = slot);
            let mut model = Model::new(way, cluster, at / 4096, slots);
            (0..PAGES).for_each(|page| drop(model.touch(page, |_| true)));
            let of = |name| vmstat(run.output(2), name);
            assert_eq!(bench.number("in_faults"), model.majors, "{parameters}: {run}");
            assert_eq!(of("swap_ra"), model.ahead, "{parameters}: {run}");
            assert_eq!(of("swap_ra_hit"), model.all_hits, "{parameters}: {run}");
            assert_eq!(of("pswpin"), PAGES as u64, "{run}");
            assert_eq!(run.output(3).fact("swap_verify"), "ok", "{run}");
            if let Some(others) = others {
                assert_eq!(requests(&run, "read") - others, model.requests, "{parameters}: {run}");
            }
            majors.push(model.majors);
        }
        assert!(majors[1] < majors[0] / 2, "{majors:?}");
    });
}

#[test]
fn t66b_a_disk_turns_until_somebody_says_that_it_does_not() {
    let folder = TempDir::new().unwrap();
    let images = ["a.img", "b.img"].map(|name| area(&folder, name, 16));
    let guest = images.iter().fold(Guest::on(any_host()), |guest, image| guest.disk(image, ""));
    // A partition is on its disk.
    let guest = guest.mem("64M").option("--swap", "none").append("nonrot=vdq nonrot=/dev/vdb1");
    let run = guest.run(&["disk list"]).start().assert_ok();
    run.all().assert_line("nonrot=: vdq: no such device");
    assert_eq!(run.output(0).numbers("rotational"), [1, 0], "{run}");
}
