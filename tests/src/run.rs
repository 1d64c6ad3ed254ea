//! A guest that has ended.
//!
//! Owns: its status, its output and how long it took; the markers between the outputs of its commands.

use std::fmt;
use std::time::Duration;

use crate::{Host, Text};

/// What became of a [`crate::Guest`].
#[derive(Debug)]
pub struct Run {
    /// Where it ran; `None` if nothing was to be booted.
    pub host: Option<Host>,
    /// The command line.
    pub command: String,
    /// The exit status of `vmm`; `None` if a signal ended it.
    pub status: Option<i32>,
    /// Standard output: what the guest printed.
    pub stdout: String,
    /// Standard error: what `vmm` had to say.
    pub stderr: String,
    /// From the start of `vmm` to its end.
    pub elapsed: Duration,
    /// The text of the report, if there is one.
    pub(crate) report: Option<String>,
}

impl Run {
    /// The line that is printed before the output of command `n`.
    pub(crate) fn marker(n: usize) -> String {
        format!("=== {n} ===")
    }

    /// Fails unless the status is `status`.
    #[track_caller]
    pub fn assert_status(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "status\n{self}");
        self
    }

    /// Fails unless all went well: status 0, and `vmm` had nothing to say.
    #[track_caller]
    pub fn assert_ok(self) -> Self {
        let run = self.assert_status(0);
        assert_eq!(run.stderr, "", "standard error\n{run}");
        run
    }

    /// Everything that the guest printed.
    #[must_use]
    pub fn all(&self) -> Text<'_> {
        Text::new(&self.stdout)
    }

    /// What command `n` of [`crate::Guest::run`] printed, without the marker; up to the end if it was the last.
    #[track_caller]
    #[must_use]
    pub fn output(&self, n: usize) -> Text<'_> {
        let start = format!("{}\n", Self::marker(n));
        let Some((_, after)) = self.stdout.split_once(&start) else {
            panic!("command {n} did not run\n{self}");
        };
        Text::new(after.split_once(&Self::marker(n + 1)).map_or(after, |(output, _)| output))
    }

    /// The report of a run with [`crate::Guest::report`]; `docs/report.md` describes its fields. Fails if there is none.
    #[track_caller]
    #[must_use]
    pub fn report(&self) -> serde_json::Value {
        let text = self.report.as_ref().unwrap_or_else(|| panic!("no report\n{self}"));
        serde_json::from_str(text).unwrap_or_else(|error| panic!("a bad report: {error}\n{text}"))
    }

    /// A number of `/proc/vmstat` in the report, as it is when the machine ends and nothing is on its way any more.
    #[track_caller]
    #[must_use]
    pub fn vmstat_at_end(&self, name: &str) -> u64 {
        let number = self.report()["guest"]["vmstat"][name].as_u64();
        number.unwrap_or_else(|| panic!("no {name} in the report\n{self}"))
    }

    /// The one line that `vmm` printed to standard error, without its prefix. Fails if there is another number of
    /// lines, or if anything panicked.
    #[track_caller]
    #[must_use]
    pub fn error_line(&self) -> &str {
        assert!(!self.stderr.contains("panicked"), "{self}");
        assert_eq!(self.stderr.lines().count(), 1, "lines of standard error\n{self}");
        let line = self.stderr.trim_end();
        line.strip_prefix("vmm: ").unwrap_or_else(|| panic!("the line does not begin with 'vmm: '\n{self}"))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.map_or_else(|| String::from("no host"), |host| host.to_string());
        writeln!(f, "host: {host}\ncommand: {}", self.command)?;
        writeln!(f, "status: {:?} after {:?}", self.status, self.elapsed)?;
        write!(f, "--- standard output\n{}--- standard error\n{}---", self.stdout, self.stderr)
    }
}
