use super::*;

#[test]
fn a_memory_map_is_read() {
    let text = "BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable\nother\n\
                BIOS-e820: [mem 0x000000000009fc00-0x00000000000fffff] reserved\n";
    let map = e820(Text::new(text));
    assert_eq!(map[0], Range { start: 0, end: 0x9fc00, usable: true });
    assert!(!map[1].usable && map.len() == 2);
    // The last page is only partly RAM.
    assert_eq!(ram_pages(&map, 0, u64::MAX), 0x9f);
    assert_eq!(ram_pages(&map, 0x10, 0x20), 0x10);
}

#[test]
fn buddyinfo_is_read_and_its_widths_are_checked() {
    let line =
        "Node 0, zone      DMA      1      0      1      0      2      1      1      0      1      1      3 ";
    let [zone] = &buddyinfo(Text::new(line))[..] else { panic!("one line") };
    assert_eq!((zone.node, zone.zone.as_str()), (0, "DMA"));
    assert_eq!(zone.pages(), 1 + 4 + 32 + 32 + 64 + 256 + 512 + 3072);
    assert_eq!(buddyinfo_line(&line.replace("      DMA", "DMA")), None);
    assert_eq!(buddyinfo_line(line.trim_end()), None);
}

#[test]
fn zoneinfo_is_read_zone_by_zone() {
    let text = "Node 0, zone      DMA\n  pages free     3840\n        spanned  4095\n        present  3998\n\
                \x20       managed  3840\n  start_pfn:           1\nNode 0, zone   Normal\n        spanned  0\n";
    let [zone] = &zoneinfo(Text::new(text))[..] else { panic!("one populated zone") };
    assert_eq!(
        (zone.free, zone.spanned, zone.present, zone.managed, zone.start_pfn),
        (3840, 4095, 3998, 3840, 1)
    );
}

#[test]
fn meminfo_is_read_by_name() {
    let text = Text::new("MemTotal:         517896 kB\nHugePages_Total:       3\n");
    assert_eq!(meminfo(text, "MemTotal"), 517_896);
    assert_eq!(meminfo(text, "HugePages_Total"), 3);
}
