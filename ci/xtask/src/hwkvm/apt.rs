//! Apt: downloads packages, from this machine's package sources or from the backports of its release.
//!
//! Owns: the package sources. Stays outside: which packages (`debian`).
//! Invariant: nothing is installed, and this machine's own package sources stay as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Apt with one choice of package sources, downloading into a folder.
pub struct Apt<'a> {
    folder: &'a Path,
    config: Option<PathBuf>,
}

impl<'a> Apt<'a> {
    /// This machine's package sources.
    pub fn of_machine(folder: &'a Path) -> Self {
        Self { folder, config: None }
    }

    /// The backports of this machine's release, from where the release itself comes; lists and settings in `folder`.
    pub fn backports(folder: &'a Path) -> Result<Self> {
        let (source, config) = (folder.join("backports.list"), folder.join("apt.conf"));
        let lists = folder.join("lists");
        fs::create_dir_all(lists.join("partial")).context("cannot make a folder for apt's lists")?;
        fs::write(&source, backports_of(&release_targets()?)?).context("cannot write a package source")?;
        let config_text = format!(
            "Dir::Etc::SourceList \"{}\";\nDir::Etc::SourceParts \"-\";\nDir::State::Lists \"{}\";\n\
             Dir::Cache::PkgCache \"\";\nDir::Cache::SrcPkgCache \"\";\n",
            source.display(),
            lists.display()
        );
        fs::write(&config, config_text).context("cannot write settings for apt")?;
        Ok(Self { folder, config: Some(config) })
    }

    /// Reads the package lists again.
    pub fn update(&self) -> Result<()> {
        run(self.command("apt-get").args(["update", "-q"]))
    }

    /// Puts the newest of `packages` into the folder.
    pub fn download(&self, packages: &[&str]) -> Result<()> {
        println!("hwkvm: fetching {}", packages.join(" "));
        let mut download = self.command("apt-get");
        download.args(["download", "-q"]).args(packages);
        if run(&mut download).is_err() {
            // The lists may be older than the packages.
            self.update()?;
            run(&mut download)?;
        }
        Ok(())
    }

    /// The package that `package` depends on whose name begins with `start`; `None` if apt has not heard of it.
    pub fn dependency(&self, package: &str, start: &str) -> Result<Option<String>> {
        let text = output(self.command("apt-cache").args(["depends", package]))?;
        let mut dependencies = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        Ok(dependencies.find(|name| name.starts_with(start)).map(str::to_owned))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder);
        if let Some(config) = &self.config {
            command.env("APT_CONFIG", config);
        }
        command
    }
}

/// What apt knows of this machine's package sources, a line each: label, component, code name, address, keys.
fn release_targets() -> Result<String> {
    let format = "$(LABEL) $(COMPONENT) $(CODENAME) $(REPO_URI) $(SIGNED_BY)";
    output(Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]))
}

/// The package source with the backports of the release that `targets` tell of.
fn backports_of(targets: &str) -> Result<String> {
    let lines = targets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut releases = lines.filter_map(|words| match *words.as_slice() {
        // Updates and the like have a dash in their names.
        ["Debian", "main", codename, address, ref rest @ ..] if !codename.contains('-') => {
            let keys = rest.first().filter(|keys| keys.starts_with('/'));
            let keys = keys.map(|keys| format!("[signed-by={keys}] ")).unwrap_or_default();
            Some(format!("deb {keys}{address} {codename}-backports main\n"))
        }
        _ => None,
    });
    releases.next().context("apt knows no package source of a Debian release")
}

/// What `command` says, whatever it makes of it.
fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// How often something is fetched, and how long it is waited before it is fetched again.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_secs(15);

/// Fetches what `fetch` does; once more after a while where it fails: mirrors are out of reach now and then, or in the middle of
/// an update.
pub fn persistently(fetch: impl Fn() -> Result<()>) -> Result<()> {
    repeatedly(PAUSE, fetch)
}

fn repeatedly(pause: Duration, attempt: impl Fn() -> Result<()>) -> Result<()> {
    for _ in 1..TRIES {
        let Err(error) = attempt() else { return Ok(()) };
        println!("hwkvm: {error:#}; once more in {pause:?}");
        thread::sleep(pause);
    }
    attempt()
}

/// Runs `command` silently; what it said comes out if it fails.
pub fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use anyhow::bail;

    use super::{TRIES, backports_of, repeatedly};

    #[test]
    fn a_mirror_that_fails_is_asked_again_for_a_while() {
        let asked = |failures: u32| {
            let tries = Cell::new(0);
            let done = repeatedly(Duration::ZERO, || {
                tries.set(tries.get() + 1);
                if tries.get() <= failures { bail!("out of reach") } else { Ok(()) }
            });
            (tries.get(), done.is_ok())
        };
        assert_eq!(
            [0, 1, TRIES - 1, TRIES].map(asked),
            [(1, true), (2, true), (TRIES, true), (TRIES, false)]
        );
    }

    #[test]
    fn backports_come_from_where_the_release_comes_from() {
        let targets = "Debian-Security main bookworm-security http://b/security/ /keys.gpg\n\
                       Node main nodistro https://c/ /node.gpg\n\
                       Debian main bookworm-updates http://a/debian/ /keys.gpg\n\
                       Debian main bookworm http://a/debian/ /keys.gpg\n";
        let source = backports_of(targets).unwrap();
        assert_eq!(source, "deb [signed-by=/keys.gpg] http://a/debian/ bookworm-backports main\n");
        // Apt leaves the name of a fact that it does not have.
        let unsigned = backports_of("Debian main trixie http://a/ $(SIGNED_BY)\n").unwrap();
        assert_eq!(unsigned, "deb http://a/ trixie-backports main\n");
        assert!(backports_of("Ubuntu main noble http://a/\n").is_err());
    }
}
