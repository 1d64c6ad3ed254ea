//! Disk options and default disks.

use super::*;

fn words(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| text.to_string()).collect()
}

fn image(path: &str, read_only: bool, id: &str) -> DiskConfig {
    DiskConfig { read_only, ..DiskConfig::plain(DiskSource::Image(path.into()), id.into()) }
}

#[test]
fn data_disks_come_first_then_swap() {
    let swap = DiskConfig::plain(DiskSource::TemporarySwap(256 << 20), "swap".into());
    assert_eq!(disks(&[], "256M").unwrap(), [temporary("data", 64 << 20), swap]);
    assert_eq!(
        disks(&words(&["a.img,ro", "b.img,id=left"]), "swap.img").unwrap(),
        [image("a.img", true, "disk0"), image("b.img", false, "left"), image("swap.img", false, "swap")]
    );
    assert_eq!(disks(&words(&["a.img"]), "none").unwrap(), [image("a.img", false, "disk0")]);
}

#[test]
fn options_without_a_path_apply_to_the_temporary_disk() {
    let expected = DiskConfig { read_only: true, id: "x".into(), ..temporary("data", 64 << 20) };
    assert_eq!(disks(&words(&["ro,id=x"]), "none").unwrap(), [expected]);
}

#[test]
fn every_option_is_understood() {
    let all = "a,ro,id=x,cache=none,io=threads,latency=5ms,bps=4M,error=write@sector:2048,error=read@sector:1,\
               error=read@sector:0,torn=3,fail_nth=7";
    let faults = FaultPlan {
        latency: Some(Duration::from_millis(5)),
        bytes_per_second: Some(4 << 20),
        bad_reads: vec![1, 0],
        bad_writes: vec![2048],
        torn_write: Some(3),
        fail_nth: Some(7),
    };
    let expected =
        DiskConfig { cache: Cache::None, engine: EngineKind::Threads, faults, ..image("a", true, "x") };
    assert_eq!(disks(&words(&[all]), "none").unwrap(), [expected]);
    let temporary_slow = &disks(&words(&["latency=3s,cache=writeback,io=uring"]), "none").unwrap()[0];
    assert_eq!(temporary_slow.faults.latency, Some(Duration::from_secs(3)));
    assert_eq!(temporary_slow.source, DiskSource::Temporary(DATA_DISK_SIZE));
    assert_eq!(disks(&words(&["a=b.img"]), "none").unwrap(), [image("a=b.img", false, "disk0")]);
}

#[test]
fn every_bad_value_has_its_line() {
    let nth = "a number from 1 on: which request it is to be";
    let sector = "read@sector:N or write@sector:N";
    let cases = [
        ("cache", "wb", "writeback or none"),
        ("io", "aio", "uring or threads"),
        ("latency", "5", "a time up to an hour, like 5ms"),
        ("latency", "-5ms", "a time up to an hour, like 5ms"),
        ("latency", "3601s", "a time up to an hour, like 5ms"),
        ("latency", "\u{e9}s", "a time up to an hour, like 5ms"),
        ("bps", "0", "bytes per second above 0, like 4M"),
        ("bps", "fast", "bytes per second above 0, like 4M"),
        ("error", "write", sector),
        ("error", "flush@sector:1", sector),
        ("error", "read@sector:-1", sector),
        ("torn", "0", nth),
        ("fail_nth", "x", nth),
    ];
    for (option, value, expected) in cases {
        let error = disks(&words(&[&format!("a,{option}={value}")]), "none").unwrap_err();
        let line = format!("--disk: {option}={value:?} is not possible; write {expected}");
        assert_eq!(error.to_string(), line);
    }
}

#[test]
fn every_mistake_has_its_line() {
    let unknown = |word: &str| format!("--disk: unknown option {word:?}; known are {OPTIONS}");
    let cases: [(&[&str], &str, &str); 7] = [
        (&["a,size=1"], "none", &unknown("size=1")),
        (&["a,rw"], "none", &unknown("rw")),
        (&["a,"], "none", &unknown("")),
        (&["a,id="], "none", "--disk: id \"\" is empty or longer than 20 bytes; use a shorter one"),
        (
            &["a,id=123456789012345678901"],
            "none",
            "--disk: id \"123456789012345678901\" is empty or longer than 20 bytes; use a shorter one",
        ),
        (
            &["ro", "b"],
            "none",
            "--disk \"ro\" has no PATH; only a single --disk can do without, to set options of the temporary disk",
        ),
        (
            &[],
            "1000",
            "--swap 1000: the size of a swap area is a multiple of 4096 bytes from 40K to 16T; for none use --swap none",
        ),
    ];
    for (data, swap, expected) in cases {
        assert_eq!(disks(&words(data), swap).unwrap_err().to_string(), expected);
    }
}
