//! B16: pressure of memory.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

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

#[test]
fn b16d_the_monitor_hears_of_every_event() {
    for_each_host(|host| {
        let commands = ["psi stall 2300", "sleep 1.2", "psi events"];
        let guest = Guest::on(host).mem("64M").cpus(1).run(&commands).flag("--stats").report();
        let run = guest.option("--pressure", "some 150000 500000").start().assert_status(0);
        let told = run.output(2).number("events");
        assert!(told >= 2, "{run}");
        let report = run.report();
        let events = report["pressure"].as_array().unwrap();
        assert_eq!((events.len() as u64, report["pressure_left_out"].as_u64()), (told, Some(0)), "{run}");
        let at: Vec<_> = events.iter().map(|event| event["at_us"].as_u64().unwrap()).collect();
        assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= 500_000), "{at:?}: {run}");
        let lines = run.stderr.lines().filter(|line| line.starts_with("vmm: pressure: "));
        let expected = at.iter().map(|us| {
            format!("vmm: pressure: some 150000 500000 at {}.{:03} s", us / 1_000_000, us / 1000 % 1000)
        });
        assert!(lines.eq(expected), "{run}");
        if host.is_kvm() {
            assert_eq!(run.all().number("guest.pressure_events"), told, "{run}");
        }
        let quiet = Guest::on(host).mem("64M").cpus(1).run(&["psi stall 700", "psi events"]);
        let quiet = quiet.append("psi=0").option("--pressure", "some 150000 500000").start().assert_ok();
        assert_eq!(quiet.output(1).number("events"), 0, "{quiet}");
        assert!(!quiet.stderr.contains("pressure:"), "{quiet}");
    });
}

#[test]
fn b16d_the_monitor_hears_while_the_guest_runs() {
    let guest = Guest::on(any_host()).mem("64M").script("psi stall 50000");
    let mut command = guest.option("--pressure", "full 100000 500000").command();
    let mut vmm = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(vmm.stderr.take().unwrap()).lines();
    let heard =
        lines.map_while(Result::ok).find(|line| line.starts_with("vmm: pressure: full 100000 500000 at "));
    let ended = vmm.try_wait();
    vmm.kill().unwrap();
    vmm.wait().unwrap();
    assert!(heard.is_some() && matches!(ended, Ok(None)), "{heard:?} {ended:?}");
}

#[test]
fn triggers_that_are_none_are_refused() {
    for words in [
        "",
        "some",
        "most 1 500000",
        "some 1 499999",
        "full 500001 500000",
        "some 0 500000",
        "some 1 500000 x",
    ] {
        let run = Guest::on(any_host()).option("--pressure", words).start().assert_status(2);
        assert!(run.error_line().contains(&format!("--pressure '{words}' is not a trigger")), "{run}");
    }
}
