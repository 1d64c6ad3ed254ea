//! Tests of replacing sections.

use super::replaced;

#[test]
fn a_new_section_goes_to_the_end() {
    assert_eq!(replaced("# M\n\ntext\n", "A", "new\n"), "# M\n\ntext\n\n## A\n\nnew\n");
}

#[test]
fn an_old_section_is_replaced_in_place() {
    let text = "# M\n\n## A\n\nold\n\n### part\n\n## B\n\nkept\n";
    let new = replaced(text, "A", "new\n");
    assert_eq!(new, "# M\n\n## A\n\nnew\n\n## B\n\nkept\n");
    assert_eq!(replaced(&new, "A", "new\n"), new, "recording twice changes nothing");
    assert_eq!(replaced(&new, "B", "b"), "# M\n\n## A\n\nnew\n\n## B\n\nb\n");
}
