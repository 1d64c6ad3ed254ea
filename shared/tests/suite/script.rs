//! Scripts are split at `;` and line ends, but not inside quotes.

use shared::script::commands;

#[test]
fn commands_of_a_script() {
    let split = |script| commands(script).collect::<Vec<_>>();
    assert_eq!(split("a 1; b\nc;;\n ;d"), ["a 1", "b", "c", "d"]);
    assert_eq!(split("echo \"x; y\nz\"; b"), ["echo \"x; y\nz\"", "b"]);
    assert_eq!(split(""), Vec::<&str>::new());
    assert_eq!(split("\"never; closed"), ["\"never; closed"]);
}
