//! T22, T23, T25, T26: page faults, copy-on-write, and translations that are gone.

use std::time::Duration;

use tests::{Guest, Host, for_each_host};

/// A machine with two CPUs and small pages.
fn small_pages(host: Host) -> Guest {
    Guest::on(host).mem("256M").cpus(2).append("transparent_hugepage=never")
}

#[test]
fn t22b_the_last_faults_are_listed_with_handler_and_frame() {
    for_each_host(|host| {
        let run = small_pages(host).run(&["vm touch 64K", "fault trace 4"]).start().assert_ok();
        assert_eq!(run.output(0).line_with("touched=").number("pgfault"), 16, "{run}");
        let lines = run.output(1).lines_with("cpu=");
        assert_eq!(lines.len(), 4, "{run}");
        let page = |line: &tests::Text<'_>| line.number("addr") >> 12;
        for pair in lines.windows(2) {
            assert_eq!(page(&pair[1]), page(&pair[0]) + 1, "{run}");
        }
        for line in &lines {
            // A write by the mode that the kernel runs in, to a page that is not there.
            assert_eq!(line.number("code"), if host.ring() == 3 { 6 } else { 2 }, "{run}");
            assert_eq!(line.fact("handler"), "anon", "{run}");
            assert!(line.number("frame") > 0, "{run}");
        }
    });
}

#[test]
fn t23a_each_kind_of_fault_takes_its_own_way_once() {
    for_each_host(|host| {
        let guest = Guest::on(host).mem("128M").append("hugepages=1");
        let run = guest.run(&["fault flavours", "hugetlb", "mm verify"]).start().assert_ok();
        let line = run.output(0).line_with("anon_zero=");
        for flavour in ["anon_zero", "anon", "cow", "wp", "huge", "huge_zero", "hugetlb", "shared"] {
            assert_eq!(line.number(flavour), 1, "{run}");
        }
        assert_eq!((line.number("pgfault"), line.number("pgmajfault")), (8, 0), "{run}");
        assert_eq!(run.output(1).line_with("pool size=2048K").number("free"), 1, "{run}");
    });
}

#[test]
fn t25a_a_clone_shares_copies_and_leaves_pages_to_the_last_owner() {
    for_each_host(|host| {
        let run = Guest::on(host).mem("128M").run(&["cow demo 1024", "mm verify"]).start().assert_ok();
        let line = run.output(0).line_with("rss_shared=");
        let numbers = ["rss_shared", "pgcow", "pgreuse", "copies_after_exit"].map(|key| line.number(key));
        assert_eq!((numbers, line.fact("sums")), ([1024, 100, 100, 0], "ok"), "{run}");
        // Tables, and what describes a context: no page of the data.
        assert!(
            (line.number("tables")..line.number("tables") + 16).contains(&line.number("free_delta")),
            "{run}"
        );
    });
}

#[test]
fn t26a_no_access_goes_by_a_translation_that_is_gone() {
    for_each_host(|host| {
        let seconds = if host.is_kvm() { 5 } else { 2 };
        let guest = Guest::on(host).mem("256M").cpus(2).limit(Duration::from_secs(240));
        let run = guest.run(&[&format!("tlb test {seconds}"), "mm verify"]).start().assert_ok();
        for phase in ["unmap", "protect", "clone"] {
            let line = run.output(0).line_with(&format!("{phase}: "));
            assert_eq!((line.number("stale_reads"), line.number("lost_writes")), (0, 0), "{run}");
            assert!(line.number("rounds") > 0 && line.number("accesses") > 1000, "{run}");
        }
    });
}

#[test]
fn t26b_a_cleaned_page_is_dirty_again_after_the_next_write() {
    for_each_host(|host| {
        let run = small_pages(host).run(&["tlb dirty-race 10000"]).start().assert_ok();
        run.output(0).assert_line("rounds=10000 flush_on_clean=1 lost_writes=0");
        // Without the flush the same test finds nearly every write lost.
        let run = small_pages(host).script("tlb dirty-race 1000 flush_on_clean=0").start().assert_status(1);
        assert!(run.all().line_with("flush_on_clean=0").number("lost_writes") > 500, "{run}");
    });
}

#[test]
fn t26c_many_pages_go_with_few_flushes() {
    for_each_host(|host| {
        let commands = ["tlb stats", "vm touch 64M", "vm unmap", "tlb stats"];
        let run = small_pages(host).run(&commands).start().assert_ok();
        let more = |key| {
            let at = |command| run.output(command).line_with("flushes=").number(key);
            at(3) - at(0)
        };
        assert!(more("pages") >= 16384, "{run}");
        assert!(more("flushes") < more("pages") / 64, "{run}");
    });
}
