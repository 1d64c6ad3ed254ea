//! A guest to be: options of `vmm run`, and how it is run.
//!
//! Invariants: the time limit is `vmm`'s own, and a `vmm` that does not keep it is killed a while later.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::{Host, Run, vmm};

/// What a guest may take by default; far more than any needs, because test machines are busy.
const LIMIT: Duration = Duration::from_secs(120);
/// How much longer `vmm` may take to end a guest whose time is over.
const GRACE: Duration = Duration::from_secs(30);
/// How often to look whether it has ended.
const POLL: Duration = Duration::from_millis(2);

/// Options of `vmm run`, in the order in which they are given.
#[derive(Debug, Clone)]
#[must_use]
pub struct Guest {
    host: Option<Host>,
    words: Vec<String>,
    limit: Duration,
    reported: bool,
}

impl Guest {
    /// The default machine on `host`.
    pub fn on(host: Host) -> Self {
        let words = host.options().iter().map(|&word| word.to_owned()).collect();
        Self { host: Some(host), words, limit: LIMIT, reported: false }
    }

    /// The default machine as a user gets it, with no host selected: for runs that never boot.
    pub fn unbooted() -> Self {
        Self { host: None, words: Vec::new(), limit: LIMIT, reported: false }
    }

    /// Adds an option and its value.
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.words.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// Adds an option without a value.
    pub fn flag(mut self, name: &str) -> Self {
        self.words.push(name.to_owned());
        self
    }

    /// The number of vCPUs.
    pub fn cpus(self, count: u32) -> Self {
        self.option("--cpus", &count.to_string())
    }

    /// The memory, as `--mem` takes it.
    pub fn mem(self, size: &str) -> Self {
        self.option("--mem", size)
    }

    /// One more NUMA node, as `--numa` takes it.
    pub fn numa(self, node: &str) -> Self {
        self.option("--numa", node)
    }

    /// One more data disk; `options` begins with a comma or is empty.
    pub fn disk(self, path: &Path, options: &str) -> Self {
        let value = format!("{}{options}", path.display());
        self.option("--disk", &value)
    }

    /// Boot parameters.
    pub fn append(self, parameters: &str) -> Self {
        self.option("--append", parameters)
    }

    /// Another kernel.
    pub fn kernel(self, path: &Path) -> Self {
        let path = path.display().to_string();
        self.option("--kernel", &path)
    }

    /// What the guest may take, in the guest and in all.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The script as it is.
    pub fn script(self, script: &str) -> Self {
        self.option("--run", script)
    }

    /// Commands whose outputs are wanted one by one: see [`Run::output`].
    pub fn run(self, commands: &[&str]) -> Self {
        let marked: Vec<_> = commands
            .iter()
            .enumerate()
            .map(|(n, command)| format!("echo {}; {command}", Run::marker(n)))
            .collect();
        self.script(&marked.join("; "))
    }

    /// Keeps the guest's `/proc` in `directory`, for the host.
    pub fn procfs(self, directory: &Path) -> Self {
        let directory = directory.display().to_string();
        self.option("--procfs", &directory)
    }

    /// Has the run reported: see [`Run::report`].
    pub fn report(mut self) -> Self {
        self.reported = true;
        self
    }

    /// The command that runs it, for whoever types into it or watches it. The time limit is set.
    #[must_use]
    pub fn command(mut self) -> Command {
        if self.host.is_some() {
            let seconds = self.limit.as_secs_f64().to_string();
            self = self.option("--timeout", &seconds);
        }
        let mut command = Command::new(vmm());
        command.arg("run").args(&self.words);
        command
    }

    /// Runs it to its end. Panics when it cannot be started or does not end.
    pub fn start(mut self) -> Run {
        let reports = self
            .reported
            .then(|| tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary directory: {error}")));
        let report = reports.as_ref().map(|directory| directory.path().join("report.json"));
        if let Some(path) = &report {
            let path = path.display().to_string();
            self = self.option("--report", &path);
        }
        let (host, limit) = (self.host, self.limit + GRACE);
        let mut run = finish(self.command(), host, limit);
        run.report = report.and_then(|path| std::fs::read_to_string(path).ok());
        run
    }
}

/// Runs `command` to its end, its output going to files, which no guest can fill up and be held by.
fn finish(mut command: Command, host: Option<Host>, limit: Duration) -> Run {
    let (mut stdout, mut stderr) = (scratch(), scratch());
    command.stdin(Stdio::null()).stdout(copy(&stdout)).stderr(copy(&stderr));
    let start = Instant::now();
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let status = wait(&mut child, limit);
    let elapsed = start.elapsed();
    let run = Run {
        host,
        command: format!("{command:?}"),
        status: status.and_then(|status| status.code()),
        stdout: read(&mut stdout),
        stderr: read(&mut stderr),
        elapsed,
        report: None,
    };
    eprintln!("{:?}: {}", run.elapsed, run.command);
    assert!(status.is_some(), "vmm did not end within {limit:?}\n{run}");
    run
}

/// Waits until the child has ended; kills it at the limit.
fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        let ended = child.try_wait().unwrap_or_else(|error| panic!("cannot wait for vmm: {error}"));
        if ended.is_some() {
            return ended;
        }
        if start.elapsed() > limit {
            // It may have ended just now, and then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(POLL);
    }
}

fn scratch() -> File {
    tempfile::tempfile().unwrap_or_else(|error| panic!("no temporary file: {error}"))
}

fn copy(file: &File) -> File {
    file.try_clone().unwrap_or_else(|error| panic!("no second descriptor: {error}"))
}

/// Line ends are those of the file; serial lines end in CR LF.
fn read(file: &mut File) -> String {
    let mut bytes = Vec::new();
    let done = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
    done.unwrap_or_else(|error| panic!("cannot read an output: {error}"));
    String::from_utf8_lossy(&bytes).replace('\r', "")
}
