//! Rows that wait for a disk: the guest runs with a counter outside, and says what was between which marks.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};

use super::LIMIT;
use crate::bench::{guest::Programs, image, qemu, watch};
use crate::{cargo, repo::Repo};

/// What the guest runs: the first disk is read, to the second it swaps.
const RUN: &str = "swapon /dev/vdb; bench miss; bench swap";
/// Bytes of either disk.
const DISK_BYTES: u64 = 64 << 20;

/// The counts of all rows, as `key=count` on a line each.
pub fn measure(repo: &Repo, programs: &Programs) -> Result<String> {
    let plugin = plugin(repo)?;
    let folder = env::temp_dir().join(format!("ballast-counted-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let counts = run(programs, &plugin, &folder);
    // What is left behind is only in the way.
    let _ = fs::remove_dir_all(&folder);
    counts
}

fn run(programs: &Programs, plugin: &Path, folder: &Path) -> Result<String> {
    let [data, swap, marks] = ["data", "swap", "marks"].map(|name| folder.join(name));
    image::write(&data, DISK_BYTES)?;
    let mut mkswap = Command::new(&programs.vmm);
    mkswap.args(["image", "mkswap", "--size", "64M", "--out"]).arg(&swap);
    ensure!(mkswap.output().context("cannot run vmm")?.status.success(), "vmm makes no swap area");
    let mut command = qemu::counted(&programs.elf, "512M", &[&data, &swap], RUN, plugin, &marks);
    let seen = watch::watch(&mut command, "counted=", LIMIT, |_| {}).context("the guest with a counter")?;
    counts(&seen.output, &fs::read_to_string(&marks).context("the counter wrote nothing")?)
}

/// Builds the plugin.
fn plugin(repo: &Repo) -> Result<PathBuf> {
    let mut build = cargo::host(repo);
    build.args(["build", "--release", "--package", "counter"]);
    let messages = cargo::messages(&mut build)?;
    let mut files = messages.iter().filter_map(|message| message["filenames"][0].as_str());
    let file = files.find(|file| file.ends_with("libcounter.so")).context("cargo names no libcounter.so")?;
    Ok(PathBuf::from(file))
}

/// What each line `counted=KEY ops=N rounds=N` of the guest comes to, with counts at marks, two for each round.
fn counts(output: &str, marks: &str) -> Result<String> {
    let marks: Vec<u64> =
        marks.lines().map(str::parse).collect::<Result<_, _>>().context("a mark is no number")?;
    let mut pairs = marks.chunks_exact(2).map(|pair| pair[1] - pair[0]);
    let mut text = String::new();
    for line in output.lines().filter(|line| line.starts_with("counted=")) {
        let word = |key: &str| {
            let value = line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
            value.with_context(|| format!("no {key}= in {line}"))
        };
        let number = |key| word(key)?.parse::<usize>().with_context(|| format!("bad {key}= in {line}"));
        let (ops, rounds) = (number("ops")?, number("rounds")?);
        let counts: Vec<u64> = pairs.by_ref().take(rounds).collect();
        ensure!(rounds > 0 && counts.len() == rounds, "{} of {rounds} rounds of {line}", counts.len());
        // What is done for many at once, such as lists and batches of a CPU, is a part of each.
        let tenths = counts.iter().sum::<u64>() * 10 / (ops * rounds) as u64;
        text += &format!("\n{}={}.{}\n", word("counted")?, tenths / 10, tenths % 10);
    }
    ensure!(pairs.next().is_none(), "more marks than rounds");
    Ok(text)
}

#[cfg(test)]
mod tests;
