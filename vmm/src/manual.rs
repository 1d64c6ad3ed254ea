//! Completions and manual pages, made from the definition of the command line.
//!
//! Stays outside: the words and their help (`cli`).

use clap::CommandFactory;
use clap_complete::Shell as Script;
use clap_mangen::Man;

use crate::cli::{Cli, Shell};

/// The path names no command.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no command `vmm {0}`; `vmm --help` lists the commands")]
pub struct NoCommand(String);

/// The script that completes words of `vmm` in `shell`.
pub fn completions(shell: Shell) -> String {
    let shell = match shell {
        Shell::Bash => Script::Bash,
        Shell::Zsh => Script::Zsh,
        Shell::Fish => Script::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "vmm", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The manual page of the subcommand that `path` names word by word, or of `vmm` itself.
pub fn page(path: &[String]) -> Result<String, NoCommand> {
    let mut command = Cli::command();
    // Gives every subcommand its full name.
    command.build();
    let mut found = &command;
    for name in path {
        found = found.find_subcommand(name).ok_or_else(|| NoCommand(path.join(" ")))?;
    }
    let mut page = Vec::new();
    // Writing to memory cannot fail.
    let version = command.render_version();
    let _ = Man::new(found.clone()).source(version.trim()).manual("Ballast").render(&mut page);
    // What follows the options are examples, everywhere.
    Ok(String::from_utf8_lossy(&page).replace("\n.SH EXTRA\n", "\n.SH EXAMPLES\n"))
}

#[cfg(test)]
mod tests;
