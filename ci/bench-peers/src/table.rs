//! The samples of all allocators, as a table with ratios, and the limits.
//!
//! Invariant: the first allocator is the one that the others are compared with.

use std::fmt::Write as _;

use crate::time::Spread;
use crate::work::Work;

/// One operation at one size.
struct Row {
    threads: usize,
    metric: &'static str,
    size: u32,
    /// For each allocator, nanoseconds by round.
    samples: Vec<Vec<f64>>,
}

/// See the module documentation.
pub struct Table {
    names: Vec<&'static str>,
    rows: Vec<Row>,
}

/// What must hold of an operation.
pub struct Limit {
    metric: &'static str,
    /// Of one size, or of all.
    size: Option<u32>,
    bar: Bar,
}

enum Bar {
    Ratio { peer: &'static str, must: f64, aim: f64 },
    Nanoseconds(f64),
}

impl Limit {
    /// At most `must` times the peer's time, at every size.
    pub fn ratio(metric: &'static str, peer: &'static str, must: f64, aim: f64) -> Self {
        Self { metric, size: None, bar: Bar::Ratio { peer, must, aim } }
    }

    /// At most so long at one size; of the smallest sample, because only a quiet machine counts.
    pub fn nanoseconds(metric: &'static str, size: u32, most: f64) -> Self {
        Self { metric, size: Some(size), bar: Bar::Nanoseconds(most) }
    }
}

impl Row {
    /// Our time over a peer's, round by round.
    fn ratio(&self, peer: usize) -> Spread {
        let (Some(ours), Some(theirs)) = (self.samples.first(), self.samples.get(peer)) else {
            return Spread::of(&[]);
        };
        Spread::of(&ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect::<Vec<_>>())
    }
}

impl Table {
    /// A table of these allocators.
    pub fn new(names: Vec<&'static str>) -> Self {
        Self { names, rows: Vec::new() }
    }

    /// Adds one round: for each allocator the times of each operation of `work`.
    pub fn add(&mut self, work: Work, samples: &[Vec<f64>]) {
        for (n, metric) in work.metrics().iter().enumerate() {
            let is_it = |row: &Row| (row.threads, row.metric, row.size) == (work.threads, *metric, work.size);
            let at = self.rows.iter().position(is_it).unwrap_or_else(|| {
                let samples = vec![Vec::new(); self.names.len()];
                self.rows.push(Row { threads: work.threads, metric, size: work.size, samples });
                self.rows.len() - 1
            });
            for (all, sample) in self.rows[at].samples.iter_mut().zip(samples) {
                all.push(sample[n]);
            }
        }
    }

    /// As Markdown: nanoseconds as `minimum / median [third quartile]`, and ratios of medians by round.
    pub fn render(&self, group: &str) -> String {
        let unit = if group == "pages" { "order" } else { "bytes" };
        let mut text = format!("| threads | {group} | {unit} |");
        self.names.iter().for_each(|name| text += &format!(" {name} |"));
        self.names.iter().skip(1).for_each(|name| text += &format!(" / {name} |"));
        text += "\n|---|---|---|";
        text += &"---|".repeat(self.names.len() * 2 - 1);
        for row in &self.rows {
            let _ = write!(text, "\n| {} | {} | {} |", row.threads, row.metric, row.size);
            for samples in &row.samples {
                let Spread { min, median, p75 } = Spread::of(samples);
                let _ = write!(text, " {min:.1} / {median:.1} [{p75:.1}] |");
            }
            for peer in 1..self.names.len() {
                let _ = write!(text, " {:.2} |", row.ratio(peer).median);
            }
        }
        text + "\n"
    }

    /// A line for each limit and whether all are kept. Limits hold for one thread.
    pub fn judge(&self, limits: &[Limit]) -> (String, bool) {
        let (mut text, mut kept) = (String::new(), true);
        for limit in limits {
            for row in self.rows.iter().filter(|row| row.threads == 1 && limit.is_about(row)) {
                let Row { metric, size, .. } = row;
                let (what, is_kept) = match limit.bar {
                    Bar::Ratio { peer, must, aim } => {
                        let Some(at) = self.names.iter().skip(1).position(|name| *name == peer) else {
                            continue;
                        };
                        let Spread { min, median, p75 } = row.ratio(at + 1);
                        let (kept, aimed) = (verdict(median, must), verdict(median, aim));
                        let ratio = format!("/ {peer} = {median:.2} [{min:.2}, {p75:.2}]");
                        (format!("{ratio} must={must} {kept} aim={aim} {aimed}"), median <= must)
                    }
                    Bar::Nanoseconds(most) => {
                        let min = row.samples.first().map_or(0.0, |ours| Spread::of(ours).min);
                        (format!("ns = {min:.1} must={most} {}", verdict(min, most)), min <= most)
                    }
                };
                kept &= is_kept;
                let _ = writeln!(text, "- {metric} {size}: {what}");
            }
        }
        (text, kept)
    }
}

/// Whether a number is within a limit, in a word.
pub fn verdict(number: f64, limit: f64) -> &'static str {
    if number <= limit { "ok" } else { "missed" }
}

impl Limit {
    fn is_about(&self, row: &Row) -> bool {
        self.metric == row.metric && self.size.is_none_or(|size| size == row.size)
    }
}
