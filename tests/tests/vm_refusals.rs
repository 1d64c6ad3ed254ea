//! Bad input of the commands on contexts: one line each, and the status of the contract.

use tests::{Guest, any_host};

const USAGE: i32 = 2;
const CHECK: i32 = 1;

/// What is refused, with which status, and how the line begins.
const TABLE: &[(&str, i32, &str)] = &[
    ("vm", USAGE, "error: vm: expected map"),
    ("vm fly", USAGE, "error: vm: expected map"),
    ("vm map", USAGE, "error: bad size ''"),
    ("vm map much", USAGE, "error: bad size 'much'"),
    ("vm map 0", USAGE, "error: EINVAL"),
    ("vm map 4M blue", USAGE, "error: vm map: unexpected argument 'blue'"),
    ("vm map 4M size=3M", USAGE, "error: EINVAL: page size 3145728"),
    ("vm map 4M size=big", USAGE, "error: bad size 'big'"),
    ("vm map 4M hugetlb=4K", USAGE, "error: EINVAL (no pool of such pages)"),
    ("vm map 4M hugetlb", CHECK, "error: ENOMEM (not so many free huge pages)"),
    ("vm map 18446744073709551615 size=2M", CHECK, "error: ENOMEM (beyond what contexts have)"),
    ("vm map-fixed 0x1000", USAGE, "error: EPERM (mmap_min_addr)"),
    ("vm map-fixed 0x10001", USAGE, "error: EINVAL"),
    ("vm map-fixed 0x7fffffff0000 1M", CHECK, "error: ENOMEM"),
    ("vm map-fixed 0x900000000000", CHECK, "error: ENOMEM"),
    ("vm unmap", USAGE, "error: vm unmap: nothing is mapped"),
    ("vm unmap 0x1001 4096", USAGE, "error: EINVAL"),
    ("vm unmap 0x10000 0", USAGE, "error: EINVAL"),
    ("vm protect rq", USAGE, "error: bad rights 'rq'"),
    ("vm protect r 0x10001", USAGE, "error: EINVAL"),
    ("vm protect r 0x10000", CHECK, "error: ENOMEM"),
    ("vm populate 0x10000", CHECK, "error: ENOMEM"),
    ("vm touch", USAGE, "error: bad size ''"),
    ("vm touch 1/2", USAGE, "error: vm touch: nothing is mapped"),
    ("vm write 0xffff888000000000", USAGE, "error: EFAULT (an address of the kernel)"),
    ("vm leaves 3M", USAGE, "error: EINVAL (a multiple of 2M)"),
    ("vm leaves 0", USAGE, "error: EINVAL (a multiple of 2M)"),
    ("ctx use nobody", USAGE, "error: ctx: no context 'nobody'"),
    ("ctx kill nobody", USAGE, "error: ctx: no context 'nobody'"),
    ("fault", USAGE, "error: fault: expected flavours or trace"),
    ("fault trace many", USAGE, "error: bad lines 'many'"),
    ("fault trace 0", USAGE, "error: bad lines 0"),
    ("cow", USAGE, "error: cow: expected 'demo [PAGES]'"),
    ("cow demo 99", USAGE, "error: cow demo: bad pages 99"),
    ("cow demo 18446744073709551615", USAGE, "error: cow demo: bad pages 18446744073709551615"),
    ("tlb", USAGE, "error: tlb: expected test"),
    ("tlb test 0", USAGE, "error: bad seconds 0"),
    ("tlb test 100000", USAGE, "error: bad seconds 100000"),
    ("tlb dirty-race none", USAGE, "error: bad rounds 'none'"),
    ("tlb dirty-race flush_on_clean=maybe", USAGE, "error: bad flush_on_clean 'maybe'"),
    ("tlb dirty-race speed=9", USAGE, "error: tlb dirty-race: unexpected argument 'speed=9'"),
    ("hugetlb size=3M", USAGE, "error: HugeTLB: unsupported size=3M"),
    ("sysctl vm.nr_overcommit_hugepages=-1", USAGE, "error: vm.nr_overcommit_hugepages: bad value"),
];

#[test]
fn bad_input_of_commands_on_contexts_is_one_line() {
    for (command, status, line) in TABLE {
        let run = Guest::on(any_host()).mem("64M").script(command).start().assert_status(*status);
        let lines = run.all().lines().filter(|each| each.starts_with(line)).count();
        assert_eq!(lines, 1, "{command}: {run}");
    }
}

#[test]
fn wild_accesses_end_the_context_and_the_run_goes_on() {
    for (command, line) in [
        ("vm read 0", "fault: no vma addr=0x0 (maps to SIGSEGV MAPERR)"),
        ("vm read 0x5000000000", "fault: no vma addr=0x5000000000 (maps to SIGSEGV MAPERR)"),
        (
            "vm read 0x800000000000",
            "fault: #GP non-canonical addr=0x800000000000 (maps to SIGSEGV SI_KERNEL)",
        ),
    ] {
        let run = Guest::on(any_host()).mem("64M").run(&[command, "mm verify"]).start().assert_status(5);
        run.output(0).assert_line(line);
        run.output(1).assert_line("ok");
    }
    let commands = ["vm map 64K r", "touch 1/1", "vm map 64K none", "touch 1/1", "mm verify"];
    let run = Guest::on(any_host()).mem("64M").run(&commands).start().assert_status(5);
    assert!(run.output(1).as_str().contains("fault: write to r-- addr="), "{run}");
    assert!(run.output(3).as_str().contains("fault: write to --- addr="), "{run}");
    run.output(4).assert_line("ok");
}
