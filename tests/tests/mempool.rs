//! Pages set aside.

use tests::{Guest, any_host};

#[test]
fn t35p_a_reserve_holds_when_all_other_memory_is_taken() {
    let guest = Guest::on(any_host()).mem("64M").cpus(1);
    let run = guest.run(&["mempool", "mempool min=64", "mm verify"]).start().assert_ok();
    for (command, min) in [(0, 8), (1, 64)] {
        let out = run.output(command);
        assert_eq!(
            (out.number("min"), out.number("from_reserve"), out.number("refilled")),
            (min, min, min),
            "{run}"
        );
        assert!(out.fact("beyond") == "none" && out.number("others_taken") > 8000, "{run}");
    }
    assert_eq!(run.output(2).number("leaked"), 0, "{run}");
    let run = Guest::on(any_host()).mem("64M").script("mempool min=65").start().assert_status(2);
    run.all().assert_line("error: mempool: at most 64 pages");
}
