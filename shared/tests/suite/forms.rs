//! Values with a syntax of their own.

use shared::params::{MemmapEntry, MemmapType, NumaOption, SlabFlags, SwapDiscard, Value, check, lookup};

fn value<'a>(name: &str, raw: &'a str) -> Value<'a> {
    let spec = lookup(name).expect("a parameter");
    check(spec, Some(raw)).unwrap_or_else(|bad| panic!("{bad}"))
}

fn refused(name: &str, values: &[&str]) {
    let spec = lookup(name).expect("a parameter");
    for raw in values {
        assert!(check(spec, Some(raw)).is_err(), "{name}={raw}");
    }
}

#[test]
fn memmap() {
    let Value::Memmap(list) = value("memmap", "exactmap,640K@0,4K$0xd0000000,8K#16M") else { panic!() };
    let range = |start, size, kind| MemmapEntry::Range { start, size, kind };
    assert_eq!(
        list.entries().collect::<Vec<_>>(),
        [
            MemmapEntry::Exact,
            range(0, 640 << 10, MemmapType::Ram),
            range(0xd000_0000, 4096, MemmapType::Reserved),
            range(16 << 20, 8192, MemmapType::Acpi),
        ]
    );
    refused("memmap", &["", "4K", "4K@", "4K!1M", "4K@1M,", "0@1M", "4K@100", "100@1M", "8E@15E", "exact"]);
}

#[test]
fn slab_debug() {
    let parts = |raw: &'static str| match value("slab_debug", raw) {
        Value::SlabDebug(debug) => debug.selections().collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(parts("").first().and_then(|p| p.flags), Some(SlabFlags::FULL));
    let list = parts("fz,kmalloc-*,filp;-,dentry");
    let flags = SlabFlags { sanity: true, red_zone: true, ..SlabFlags::default() };
    assert_eq!(list[0].flags, Some(flags));
    assert!(list[0].matches("kmalloc-64") && list[0].matches("filp") && !list[0].matches("dentry"));
    assert_eq!(list[1].flags, None);
    assert!(list[1].matches("dentry") && !list[1].matches("dentry2"));
    assert!(parts("P")[0].matches("anything"));

    let spec = lookup("slub_debug").expect("an alias");
    let bad = check(spec, Some("FXZ")).expect_err("an unknown letter");
    assert_eq!(bad.to_string(), "slab_debug option 'X' unknown. skipped");
    let Some(Value::SlabDebug(kept)) = bad.used.map(Value::from) else { panic!("the rest is kept") };
    assert_eq!(kept.selections().next().and_then(|p| p.flags), Some(flags));
}

#[test]
fn huge_pages() {
    use shared::params::HugePages;
    assert_eq!(value("hugepages", "12"), Value::HugePages(HugePages::Total(12)));
    let Value::HugePages(HugePages::PerNode(nodes)) = value("hugepages", "0:4,3:1") else { panic!() };
    assert_eq!(nodes.pairs().collect::<Vec<_>>(), [(0, 4), (3, 1)]);
    refused("hugepages", &["", "-1", "0:4,", "x:1", "0:1:2", "1,2"]);
    assert_eq!(value("hugepagesz", "2048K"), Value::Size(2 << 20));
}

#[test]
fn thp_anon() {
    let Value::ThpAnon(list) = value("thp_anon", "16K-64K,1M:always;2M:never") else { panic!() };
    let rules: Vec<_> = list.rules().map(|r| (r.min >> 10, r.max >> 10, r.policy)).collect();
    assert_eq!(rules, [(16, 64, "always"), (1024, 1024, "always"), (2048, 2048, "never")]);
    refused(
        "thp_anon",
        &["", "16K", "16K:maybe", "24K:always", "4K:always", "4M:always", "64K-16K:always", "16K-:never"],
    );
}

#[test]
fn numa() {
    for (raw, option) in [
        ("on", NumaOption::On),
        ("off", NumaOption::Off),
        ("noacpi", NumaOption::NoAcpi),
        ("fake=4", NumaOption::FakeNodes(4)),
        ("fake=64M", NumaOption::FakeSize(64 << 20)),
        ("fake=2U", NumaOption::FakePerNode(2)),
    ] {
        assert_eq!(value("numa", raw), Value::Numa(option));
    }
    refused("numa", &["", "fake", "fake=", "fake=0", "fake=65", "fake=0M", "fake=xU", "fake=4K", "maybe"]);
}

#[test]
fn swap_areas() {
    let Value::Swap(area) = value("swap", "/dev/vdb2:-1") else { panic!() };
    assert_eq!((area.device, area.priority), ("vdb2", Some(-1)));
    assert_eq!(area.discard, SwapDiscard::default());
    for (word, once, pages) in
        [("discard", true, true), ("discard=once", true, false), ("discard=pages", false, true)]
    {
        let text = format!("vdb2:7,{word}");
        let Value::Swap(area) = value("swap", &text) else { panic!() };
        assert_eq!(
            (area.device, area.priority, area.discard),
            ("vdb2", Some(7), SwapDiscard { once, pages })
        );
    }
    let Value::Swap(area) = value("swap", "/swapfile") else { panic!() };
    assert_eq!((area.device, area.priority), ("/swapfile", None));
    refused(
        "swap",
        &["", ":5", "vdb:", "vdb:-2", "vdb:32768", "vdb,sync", "vdb:5,discard=all", "vdb,discard,x", "a b"],
    );
}

#[test]
fn contexts() {
    let Value::Context(ctx) = value("ctx", "web-1:mem=64M,nice=19,oom_score_adj=1000,node=1,thp=madvise")
    else {
        panic!()
    };
    assert_eq!((ctx.name, ctx.mem, ctx.max, ctx.nice), ("web-1", Some(64 << 20), None, Some(19)));
    assert_eq!((ctx.oom_score_adj, ctx.node, ctx.thp), (Some(1000), Some(1), Some("madvise")));
    let Value::Context(ctx) = value("ctx", "idle") else { panic!() };
    assert_eq!((ctx.name, ctx.mem), ("idle", None));
    refused(
        "ctx",
        &["", ":mem=1M", "a:", "a:mem", "a:mem=x", "a:nice=20", "a:nice=-21", "a:oom_score_adj=-1001"],
    );
    refused(
        "ctx",
        &["a:thp=defer", "a:color=red", "a:mem=1M,mem=2M", "sixteen-letters-", "a/b:mem=1M", "a:node=-1"],
    );
    let spec = lookup("ctx").expect("a parameter");
    assert!(check(spec, Some("a:nice=20")).expect_err("too nice").is_refused());
}

#[test]
fn fault_attributes() {
    let Value::Fault(attr) = value("failslab", "10,50,4096,-1") else { panic!() };
    assert_eq!((attr.interval, attr.probability, attr.space, attr.times), (10, 50, 4096, -1));
    refused("failslab", &["", "1,2,3", "1,2,3,4,5", "1,101,0,0", "1,1,1,-2", "-1,1,1,1", "a,b,c,d"]);
}

#[test]
fn virtio_devices() {
    let Value::VirtioMmio(device) = value("virtio_mmio.device", "4K@0xd0001000:6:1") else { panic!() };
    assert_eq!((device.size, device.base, device.irq, device.id), (4096, 0xd000_1000, 6, Some(1)));
    refused(
        "virtio_mmio.device",
        &["", "4K", "4K@1M", "4K@1M:", "0@1M:5", "4K@1M:5:", "4K@0xffffffffffffffff:5"],
    );
}

#[test]
fn sizes_with_options() {
    assert_eq!(value("kernelcore", "30%"), Value::Percent(30));
    assert_eq!(value("kernelcore", "1G"), Value::Size(1 << 30));
    refused("kernelcore", &["0%", "100%", "%", "-1"]);
    assert_eq!(value("cma", "16M@64M"), Value::SizeAt { size: 16 << 20, start: Some(64 << 20) });
    refused("cma", &["16M@1M", "16M@", "@1M"]);
    assert_eq!(value("swiotlb", "noforce"), Value::Word("noforce"));
    assert_eq!(value("swiotlb", "1024"), Value::Int(1024));
    let Value::IntList(ratios) = value("sysctl.vm.lowmem_reserve_ratio", "256 0,32") else { panic!() };
    assert_eq!(ratios.values(), [256, 0, 32]);
    for (raw, mask) in [("y", 7), ("n", 0), ("0x0003", 3), ("1", 1), ("0", 0)] {
        assert_eq!(value("lru_gen.enabled", raw), Value::Int(mask), "{raw}");
    }
    refused("root", &["", "vd", "vda0", "vda129", "vda01", "vda1x", "hda"]);
}
