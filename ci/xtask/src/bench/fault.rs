//! `bench fault`: page faults of contexts on this machine's KVM.
//!
//! Every fault pays for its trap, which software KVM makes expensive; what is ours is the handler's share of that, how
//! many traps huge pages save, and how fast what is mapped can be read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{guest, record};
use crate::repo::Repo;

/// The handler may take this part of a fault.
const SHARE: f64 = 5.0;
/// Touching memory with huge pages may take this part of the traps of small ones.
const TRAPS: f64 = 0.02;
/// What the guest runs: costs, faults of 64 MiB, random reads.
const SCRIPT: &str = "bench fault; vm touch 64M; vm leaves 512M";

/// The facts of one run, by key; the last line that has a key counts.
fn facts(repo: &Repo, vmm: &std::path::Path, pages: &str) -> Result<(String, BTreeMap<String, f64>)> {
    let mut command = Command::new(vmm);
    command.current_dir(repo.root()).args(["run", "--cpus", "1", "--mem", "1536M", "--prefault"]);
    command.arg(format!("--hugepages={pages}")).args(["--timeout", "120", "--run", SCRIPT]);
    let output = command.output().context("vmm does not start")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "the guest failed:\n{text}{}", String::from_utf8_lossy(&output.stderr));
    let words = text.split_whitespace().filter_map(|word| word.split_once('='));
    let number = |value: &str| value.trim_matches(|c: char| c == '+' || c == '%').parse().ok();
    let facts = words.filter_map(|(key, value)| Some((key.to_owned(), number(value)?))).collect();
    Ok((text, facts))
}

/// Measures and writes down; false if a limit is missed.
pub fn run(repo: &Repo) -> Result<bool> {
    let programs = guest::build(repo)?;
    let mut body = format!(
        "`cargo xtask bench fault` at {}: `vmm run --cpus 1 --mem 1536M --prefault`, least of the guest's rounds, mean \
         over 4096 pages, nanoseconds. The trap itself costs 15-16 us on an idle machine with software KVM.\n\n\
         | host pages | first touch | of it the handler | read of zeroes | copy | reuse | 2 MiB first touch | unmap, page | \
         clone, page | random read, 4 KiB leaves over 2 MiB leaves |\n|---|---|---|---|---|---|---|---|---|---|\n",
        record::commit(repo)
    );
    let mut right = true;
    for pages in ["thp", "off"] {
        let (text, facts) = facts(repo, &programs.vmm, pages)?;
        let fact = |key: &str| facts.get(key).copied().with_context(|| format!("no {key} in:\n{text}"));
        let khz = fact("tsc_khz")?;
        let ns = |key: &str| fact(key).map(|tsc| (tsc * 1e6 / khz).round());
        let (share, traps) = (fact("handler_share")?, fact("pgfault")? / fact("touched")?);
        let verdict = |fine: bool| if fine { "ok" } else { "missed" };
        let [share_fine, traps_fine] = [share < SHARE, traps < TRAPS];
        println!(
            "hugepages={pages} first_touch={} ns handler_share={share}% (limit {SHARE}) {}",
            ns("anon_fault")?,
            verdict(share_fine)
        );
        println!(
            "hugepages={pages} traps of 64 MiB: {:.2}% of those of small pages (limit {}) {}",
            traps * 100.0,
            TRAPS * 100.0,
            verdict(traps_fine)
        );
        println!("hugepages={pages} random reads, 4 KiB over 2 MiB leaves: {}", fact("ratio")?);
        right &= share_fine && traps_fine;
        let columns = ["zero_fault", "cow_fault", "reuse_fault", "thp_fault", "unmap", "clone"].map(ns);
        write!(body, "| {pages} | {} | {share} % |", ns("anon_fault")?)?;
        for column in columns {
            write!(body, " {} |", column?)?;
        }
        writeln!(body, " {} |", fact("ratio")?)?;
    }
    record::record(repo, "Faults, time", &body)?;
    Ok(right)
}
