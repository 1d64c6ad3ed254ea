use super::*;

const OUTPUT: &str =
    "node=0 zone=DMA start_pfn=0 wasted=1 (25.0%)\nnode=1 zone=DMA32 start_pfn=0x1000, end\nok\n";

#[test]
fn facts_are_words_with_a_value() {
    let text = Text::new(OUTPUT);
    assert_eq!(text.fact("zone"), "DMA");
    assert_eq!(text.numbers("start_pfn"), [0, 0x1000]);
    assert_eq!(text.number("wasted"), 1);
    assert_eq!(text.find("pfn"), None);
}

#[test]
fn lines_are_found_whole_or_by_a_part() {
    let text = Text::new(OUTPUT);
    assert!(text.has_line("ok") && !text.has_line("o"));
    assert_eq!(text.lines_with("zone=DMA").len(), 2);
    assert_eq!(text.line_with("node=1").number("start_pfn"), 4096);
}

#[test]
#[should_panic(expected = "no fact \"absent\"")]
fn a_missing_fact_fails_with_the_text() {
    let _ = Text::new(OUTPUT).number("absent");
}
