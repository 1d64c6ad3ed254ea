//! Runs a machine and notes when its output says what.
//!
//! Owns: the clock. Time 0 is just before the process is started; a time is taken when the bytes have been
//! read here, so it includes the way through the pipe. Invariant: no process outlives [`watch`].

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What was seen, as times since the process was started.
#[derive(Debug)]
pub struct Seen {
    /// The first byte on standard output.
    pub first_output: Duration,
    /// The marker on standard output.
    pub marker: Duration,
    /// All of standard output.
    pub output: String,
    /// How the process ended.
    pub status: ExitStatus,
}

/// Runs `command` to its end, at most `limit`. `at_marker` is called with the process id as soon as
/// `marker` has been seen, while the process goes on.
pub fn watch(
    command: &mut Command,
    marker: &str,
    limit: Duration,
    mut at_marker: impl FnMut(u32),
) -> Result<Seen> {
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", command.get_program().to_string_lossy()))?;
    let output = reader(child.stdout.take().context("no standard output")?);
    let errors = reader(child.stderr.take().context("no standard error")?);
    let pid = child.id();
    let mut text = Vec::new();
    let mut first_output = None;
    let mut seen = None;
    loop {
        match output.recv_timeout(limit.saturating_sub(start.elapsed())) {
            Ok((when, bytes)) => {
                first_output.get_or_insert(when - start);
                text.extend_from_slice(&bytes);
                if seen.is_none() && String::from_utf8_lossy(&text).contains(marker) {
                    seen = Some(when - start);
                    at_marker(pid);
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                end(&mut child);
                bail!("no end after {} s; its output was: {}", limit.as_secs(), tail(&text));
            }
        }
    }
    let status = wait(&mut child, start + limit)?;
    let (Some(first_output), Some(marker_at)) = (first_output, seen) else {
        let errors: Vec<u8> = errors.into_iter().flat_map(|(_, bytes)| bytes).collect();
        bail!(
            "'{marker}' was never printed; {status}: {}",
            tail(if errors.is_empty() { &text } else { &errors })
        );
    };
    let output = String::from_utf8_lossy(&text).into_owned();
    Ok(Seen { first_output, marker: marker_at, output, status })
}

/// Passes on what can be read, with the time it was read at.
fn reader(mut from: impl Read + Send + 'static) -> Receiver<(Instant, Vec<u8>)> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let now = Instant::now();
            if sender.send((now, buffer.get(..count).unwrap_or_default().to_vec())).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Waits for a process that has closed its output.
fn wait(child: &mut Child, deadline: Instant) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for the machine")? {
            return Ok(status);
        }
        if Instant::now() > deadline {
            end(child);
            bail!("it closed its output and did not end");
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself by now; either way it is gone after this.
    let _ = child.kill();
    let _ = child.wait();
}

/// The last line of an output, for an error message.
fn tail(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    text.trim_end().lines().last().unwrap_or("nothing").to_owned()
}

#[cfg(test)]
mod tests;
