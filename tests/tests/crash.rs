//! How a guest dies: status, cause and report, on every host.

use tests::{Guest, Host, Run, Text, for_each_host};

fn crash(host: Host, way: &str) -> Run {
    Guest::on(host).script(&format!("crash {way}; echo survived")).start()
}

/// Status 5 or what is given, and nothing after the crash.
#[track_caller]
fn died(run: Run, status: i32) -> Run {
    let run = run.assert_status(status);
    assert!(!run.all().has_line("survived"), "{run}");
    assert_eq!(run.stderr, "", "{run}");
    run
}

/// Every general register is in the report, with 16 digits.
#[track_caller]
fn assert_registers(report: Text<'_>) {
    let names = [
        "RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RBP", "R08", "R09", "R10", "R11", "R12", "R13", "R14",
        "R15",
    ];
    for name in names {
        let value = report.as_str().split_once(&format!("{name}: ")).map(|(_, after)| &after[..16]);
        let digits = value.is_some_and(|value| u64::from_str_radix(value, 16).is_ok());
        assert!(digits, "{name} is {value:?} in\n{}", report.as_str());
    }
}

/// The addresses after `Call trace:`.
#[track_caller]
fn call_trace(report: Text<'_>) -> Vec<u64> {
    let Some((_, trace)) = report.as_str().split_once("Call trace:\n") else {
        panic!("no call trace in\n{}", report.as_str());
    };
    let frames = trace.lines().filter_map(|line| line.trim().split(' ').next()?.strip_prefix("0x"));
    frames.map(|digits| u64::from_str_radix(digits, 16).unwrap()).collect()
}

/// The report of a fault: its first line, the register dump, a trace that begins at the fault and stays in the image.
#[track_caller]
fn assert_fault(run: &Run, what: &str) {
    let all = run.all();
    let first = all.line_with("BUG: unhandled fault: ");
    assert!(first.as_str().contains(what), "{run}");
    assert_registers(all);
    let rip = all.line_with("RIP: ");
    let trace = call_trace(all);
    assert!(trace.len() >= 3 && trace[1..].iter().all(|&at| at >= 0xffff_ffff_8020_0000), "{run}");
    assert!(rip.as_str().contains(&format!("{:#018x}", trace[0])), "{run}");
}

#[test]
fn crash_panic_tells_where_and_ends_with_5() {
    for_each_host(|host| {
        let run = died(crash(host, "panic"), 5);
        run.all().assert_line("Kernel panic - not syncing: asked for by the command line");
        let place = run.all().line_with("at src/commands/crash.rs:");
        assert_eq!(place.number("cpu"), 0, "{run}");
        assert!(call_trace(run.all()).len() >= 3, "{run}");
    });
}

#[test]
fn crash_bug_is_corruption_and_ends_with_4() {
    let run = died(crash(tests::any_host(), "bug"), 4);
    run.all().assert_line("BUG: asked for by the command line");
    assert!(call_trace(run.all()).len() >= 3, "{run}");
}

#[test]
fn crash_wild_read_names_the_address_and_the_cause() {
    for_each_host(|host| {
        let run = died(crash(host, "wild 0xdead000"), 5);
        assert_fault(&run, "#PF page fault");
        let all = run.all();
        all.assert_line("address: 0x000000000dead000");
        all.assert_line("cause: read of an address that is not mapped");
        // A read of a page that is not there: neither P, W nor I; U as the ring says.
        let error = all.line_with("BUG: unhandled fault").number("error");
        assert_eq!(error, if host.ring() == 3 { 4 } else { 0 }, "{run}");
    });
}

#[test]
fn crash_null_is_a_fault_at_address_0() {
    let run = died(crash(tests::any_host(), "null"), 5);
    assert_fault(&run, "#PF page fault");
    run.all().assert_line("address: 0x0000000000000000");
}

#[test]
fn crash_executing_data_is_refused_by_the_page_tables() {
    for_each_host(|host| {
        let run = died(crash(host, "wild-exec"), 5);
        assert_fault(&run, "#PF page fault");
        run.all().assert_line("cause: execution of an address that is in a page whose rights forbid it");
    });
}

#[test]
fn crash_divide_and_general_protection_are_named() {
    for_each_host(|host| {
        assert_fault(&died(crash(host, "divide"), 5), "#DE divide error");
        let run = died(crash(host, "gp"), 5);
        assert_fault(&run, "#GP general protection");
        run.all().assert_line("cause: an address that is not canonical, or an instruction of ring 0");
    });
}

#[test]
fn crash_stack_overflow_is_told_from_other_faults() {
    for_each_host(|host| {
        let run = died(crash(host, "stack-overflow"), 5);
        assert_fault(&run, "kernel stack overflow, ");
        // Endless recursion does not flood the report.
        assert_eq!(run.all().lines_with(" more times").len(), 1, "{run}");
        assert!(call_trace(run.all()).len() < 16, "{run}");
    });
}

#[test]
fn crash_triple_fault_is_reported_by_the_monitor_with_6() {
    for_each_host(|host| {
        let run = crash(host, "triple").assert_status(6);
        let line = run.error_line();
        assert!(line.starts_with("the guest crashed: ") && line.contains("triple fault"), "{run}");
        if host.is_kvm() {
            // AMD's CPUs forget where it was; KVM then shows the state after INIT.
            let place = if line.contains("rip=0xfff0 ") { "the CPU lost" } else { "rip=0xffffffff80" };
            for register in [place, "rsp=", "cr2=", "cr3=", "idt=", "efer="] {
                assert!(line.contains(register), "no {register}\n{run}");
            }
        }
    });
}

#[test]
fn crash_out_of_memory_lists_the_zones_and_ends_with_3() {
    for_each_host(|host| {
        let run = died(crash(host, "oom"), 3);
        let panic = run.all().line_with("Kernel panic - not syncing: Out of memory: ");
        let taken: u64 = panic.as_str().split(' ').find_map(|word| word.parse().ok()).unwrap();
        let zones = run.all().lines_with(": free=");
        let sum = |name| zones.iter().map(|zone| zone.number(name)).sum::<u64>();
        let (free, managed) = (sum("free"), sum("managed"));
        // Nothing but the kernel's own pages and the reserves was left out.
        assert!(free < managed / 50 && taken + free <= managed && managed - taken - free < 1024, "{run}");
    });
}

#[test]
fn crash_hang_ends_at_the_time_limit_with_7() {
    let limit = std::time::Duration::from_secs(2);
    let run = Guest::on(tests::any_host()).limit(limit).script("crash hang").start().assert_status(7);
    assert_eq!(run.error_line(), "time limit reached; raise or drop --timeout", "{run}");
}

#[test]
fn crash_reports_name_the_functions() {
    let run = died(crash(tests::any_host(), "null"), 5);
    let trace = run.all().as_str().split_once("Call trace:\n").map_or("", |(_, trace)| trace);
    for name in ["read_at+0x", "null+0x", "run_user_script", "kernel_main"] {
        assert!(trace.contains(name), "no {name}\n{run}");
    }
}
