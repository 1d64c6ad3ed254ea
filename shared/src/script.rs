//! The form of a script of guest commands, so that the monitor counts commands as the guest runs them.

/// The commands of a script: split at `;` and line ends outside double quotes, trimmed, empty ones left out.
pub fn commands(script: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    script
        .split(move |c: char| {
            if c == '"' {
                quoted = !quoted;
            }
            !quoted && (c == ';' || c == '\n')
        })
        .map(str::trim)
        .filter(|line| !line.is_empty())
}
