//! Disk options and default disks.

use super::*;

fn words(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| text.to_string()).collect()
}

fn image(path: &str, read_only: bool, id: &str) -> DiskConfig {
    DiskConfig { source: DiskSource::Image(path.into()), read_only, id: id.into() }
}

#[test]
fn data_disks_come_first_then_swap() {
    assert_eq!(disks(&[], "256M").unwrap(), [temporary("data", 64 << 20), temporary("swap", 256 << 20)]);
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
fn every_mistake_has_its_line() {
    let cases: [(&[&str], &str, &str); 6] = [
        (&["a,rw"], "none", "--disk: unknown option \"rw\"; known are ro and id=NAME"),
        (&["a,"], "none", "--disk: unknown option \"\"; known are ro and id=NAME"),
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
            "--swap 1000: the size of a disk is a multiple of 4096 bytes above 0; for no swap disk use --swap none",
        ),
    ];
    for (data, swap, expected) in cases {
        assert_eq!(disks(&words(data), swap).unwrap_err().to_string(), expected);
    }
}
