//! Temporary mappings: the windows on frames outside the direct map.

use tests::{Guest, any_host, for_each_host};

const LOCAL_SLOTS: u64 = 16;
const POOL_SLOTS: u64 = 512;

fn small(commands: &[&str]) -> Guest {
    Guest::on(any_host()).mem("64M").cpus(1).run(commands)
}

#[test]
fn t49b_local_mappings_nest_to_their_limit() {
    for_each_host(|host| {
        let run =
            Guest::on(host).mem("64M").cpus(2).run(&["kmap nest 16", "kmap nest 1"]).start().assert_ok();
        assert_eq!(
            (run.output(0).number("nested"), run.output(0).fact("data")),
            (LOCAL_SLOTS, "ok"),
            "{run}"
        );
        assert_eq!(run.output(1).number("nested"), 1, "{run}");
    });
    let run = small(&["kmap nest 17"]).start().assert_status(1);
    run.all().assert_line("error: kmap_local: out of slots (16)");
}

#[test]
fn t49b_a_wrong_order_is_warned_of_and_changes_nothing() {
    let run = small(&["kmap order", "kmap nest 16"]).start().assert_ok();
    let warnings = run.output(0).lines_with("WARNING: ");
    assert_eq!(warnings.len(), 2, "{run}");
    assert!(warnings[0].as_str().contains(" is not the last mapping, "), "{run}");
    assert!(warnings[1].as_str().ends_with(" is not mapped"), "{run}");
    run.output(0).assert_line("kmap_local held=0 kmap held=0");
    assert_eq!(run.output(1).number("nested"), LOCAL_SLOTS, "nothing leaked\n{run}");
}

#[test]
fn t49c_the_pool_has_room_for_512_pages_and_one_more_waits() {
    for_each_host(|host| {
        let run =
            Guest::on(host).mem("64M").run(&["kmap pool 512", "kmap wait", "mm verify"]).start().assert_ok();
        assert_eq!((run.output(0).number("mapped"), run.output(0).fact("data")), (POOL_SLOTS, "ok"), "{run}");
        assert_eq!((run.output(1).fact("waited"), run.output(1).fact("data")), ("yes", "ok"), "{run}");
        assert_eq!(run.output(2).number("leaked"), 0, "{run}");
    });
    let run = small(&["kmap pool 513"]).start().assert_status(1);
    assert_eq!(run.all().number("mapped"), POOL_SLOTS, "{run}");
    run.all().assert_line("error: kmap: all 512 slots are in use");
}

#[test]
fn t49d_a_page_is_seen_through_windows_while_they_last() {
    for_each_host(|host| {
        let probe = "probe 0xffff888f00000000";
        let run = Guest::on(host).mem("64M").run(&["kmap data", probe]).start().assert_ok();
        run.output(0).assert_line("data=ok zero=ok unmapped=ok");
        run.output(0).assert_line("kmap_local held=0 kmap held=0");
        assert!(run.output(1).as_str().contains(" pfn 0xf00000 not in direct map"), "{run}");
    });
}
