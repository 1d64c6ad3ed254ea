//! `/proc/vmallocinfo` against a recorded one, the addresses of which Linux has scrambled.

use shared::text::vmallocinfo::{AreaWord, VmallocArea, write_area, write_unpurged};

const RECORDED: &str = include_str!("../fixtures/linux-6.18/vmallocinfo");

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text.strip_prefix("0x").expect("0x"), 16).expect("a hexadecimal number")
}

/// Renders a recorded line again. Its addresses are scrambled, so their difference is not its size.
fn again(line: &str) -> String {
    let mut words = line.split_whitespace();
    let (start, _) = words.next().and_then(|range| range.split_once('-')).expect("a range");
    let size: u64 = words.next().expect("a size").parse().expect("a number");
    let (start, end) = (hex(start), hex(start) + size);
    let caller = words.next().expect("a caller");
    let mut out = String::new();
    if caller == "unpurged" {
        write_unpurged(&mut out, start, end).expect("a String takes everything");
        return out;
    }
    let (mut pages, mut phys, mut nodes, mut kinds) = (0, None, [0; 2], Vec::new());
    for word in words {
        match word.split_once('=') {
            Some(("pages", n)) => pages = n.parse().expect("a number"),
            Some(("phys", at)) => phys = Some(hex(at)),
            Some(("N0", n)) => nodes[0] = n.parse().expect("a number"),
            Some(other) => panic!("{other:?}"),
            None => {
                let all = [AreaWord::Ioremap, AreaWord::Vmalloc, AreaWord::Vmap, AreaWord::Vpages];
                kinds.push(all.into_iter().find(|kind| kind.name() == word).expect("a known word"));
            }
        }
    }
    let area = VmallocArea { start, end, caller: &caller, pages, phys, words: &kinds, nodes: &nodes };
    write_area(&mut out, &area).expect("a String takes everything");
    out
}

#[test]
fn vmallocinfo() {
    assert!(RECORDED.lines().count() > 10);
    for line in RECORDED.lines() {
        let ours = again(line);
        let tail = |text: &str| text.split_once(' ').map(|(_, tail)| tail.trim_end().to_owned());
        assert_eq!(tail(&ours), tail(line));
        assert_eq!(ours.get(..19), line.get(..19), "the start and the dash");
        assert_eq!(ours.find(' '), line.find(' '));
        assert!(ours.ends_with('\n'));
    }
}

#[test]
fn nodes_without_pages_are_left_out() {
    let mut out = String::new();
    let area = VmallocArea {
        start: 0xffff_c900_0000_0000,
        end: 0xffff_c900_0000_3000,
        caller: &"boot+0x10/0x20",
        pages: 2,
        phys: None,
        words: &[AreaWord::Vmalloc],
        nodes: &[0, 2, 0],
    };
    write_area(&mut out, &area).expect("a String takes everything");
    assert_eq!(out, "0xffffc90000000000-0xffffc90000003000   12288 boot+0x10/0x20 pages=2 vmalloc N1=2\n");
}
