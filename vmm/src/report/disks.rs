//! What a disk did during a run: its requests by kind with their latencies, and the last of them.

use std::time::Duration;

use serde::Serialize;

use crate::devices::virtio::blk::{BlkCounters, LogEntry, RequestKind};

/// The fields of a disk.
#[derive(Debug, Serialize)]
pub struct DiskActivity {
    id: String,
    errors: u64,
    requests: Vec<RequestReport>,
    log: Vec<LogReport>,
}

/// Requests of one kind that succeeded.
#[derive(Debug, Serialize)]
struct RequestReport {
    kind: &'static str,
    count: u64,
    bytes: u64,
    p50_ns: u64,
    p99_ns: u64,
    latencies: Vec<Bucket>,
}

#[derive(Debug, Serialize)]
struct Bucket {
    below_ns: u64,
    count: u64,
}

#[derive(Debug, Serialize)]
struct LogReport {
    at_ns: u64,
    kind: &'static str,
    sector: u64,
    bytes: u64,
    took_ns: u64,
    ok: bool,
}

impl DiskActivity {
    /// What the disk called `id` has counted.
    pub fn new(id: &str, counters: &BlkCounters) -> Self {
        let kinds = RequestKind::ALL.into_iter().map(|kind| RequestReport::new(kind, counters));
        Self {
            id: id.to_owned(),
            errors: counters.totals().errors,
            requests: kinds.filter(|request| request.count > 0).collect(),
            log: counters.log().iter().map(LogReport::new).collect(),
        }
    }
}

impl RequestReport {
    fn new(kind: RequestKind, counters: &BlkCounters) -> Self {
        let (count, bytes) = counters.done(kind);
        let latencies = counters.latencies(kind);
        let buckets = latencies.buckets().into_iter();
        Self {
            kind: kind.name(),
            count,
            bytes,
            p50_ns: ns(latencies.quantile(500)),
            p99_ns: ns(latencies.quantile(990)),
            latencies: buckets.map(|(below, count)| Bucket { below_ns: ns(below), count }).collect(),
        }
    }
}

impl LogReport {
    fn new(entry: &LogEntry) -> Self {
        let &LogEntry { at, kind, sector, bytes, took, ok } = entry;
        Self { at_ns: ns(at), kind: kind.name(), sector, bytes, took_ns: ns(took), ok }
    }
}

fn ns(time: Duration) -> u64 {
    time.as_nanos().try_into().unwrap_or(u64::MAX)
}
