//! B16: pressure of memory.

use tests::{Guest, any_host, for_each_host};

#[test]
fn b16a_stalls_are_as_long_as_another_clock_says() {
    for_each_host(|host| {
        let commands =
            ["cat /proc/pressure/memory", "psi stall 300", "psi stall 200", "cat /proc/pressure/memory"];
        let run = Guest::on(host).mem("64M").cpus(1).run(&commands).start().assert_ok();
        let mut all = 0;
        for stall in [1, 2] {
            let line = run.output(stall).line_with("stalled_us=");
            let (stalled, some, full) =
                (line.number("stalled_us"), line.number("some_us"), line.number("full_us"));
            assert!(some.abs_diff(stalled) * 50 <= stalled, "2 %: {run}");
            // The only task of the only CPU: nobody does anything else. Each sum is
            // read in whole microseconds, so a difference of two may be one more.
            assert!(full <= some + 1 && full * 100 >= some * 97, "{run}");
            all += some;
        }
        let total = |at| {
            let text = run.output(at);
            assert_eq!(text.lines().map(|line| &line[..5]).collect::<Vec<_>>(), ["some ", "full "], "{run}");
            text.line_with("some avg10=").number("total")
        };
        assert!(total(3) - total(0) >= all && total(3) - total(0) <= all + 1000, "{run}");
    });
    let off =
        Guest::on(any_host()).mem("64M").append("psi=0").run(&["psi stall 100", "cat /proc/pressure/memory"]);
    let off = off.start().assert_ok();
    assert_eq!(off.output(0).line_with("stalled_us=").number("some_us"), 0, "{off}");
    assert_eq!(off.output(1).lines().count(), 0, "{off}");
}

#[test]
fn b16b_a_trigger_tells_once_a_window() {
    let watch = |what: &str| Guest::on(any_host()).mem("64M").cpus(1).run(&[what]);
    // 20 of every 50 ms are lost: more than 150 of 500.
    let run = watch("psi watch some 150000 500000 2600 stall=20").start().assert_ok();
    let at = run.output(0).numbers("at_ms");
    assert!((4..=5).contains(&at.len()), "{run}");
    assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= 500), "{run}");
    let run = watch("psi watch some 450000 500000 1100 stall=20").start().assert_ok();
    assert_eq!(run.output(0).line_with("events=").number("events"), 0, "{run}");
    let run = watch("psi watch full 600000 500000 100").start().assert_status(2);
    let _ = run.output(0).line_with("EINVAL");
}
