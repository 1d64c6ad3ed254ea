//! Output to readers that are slow, full or gone.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::*;
use crate::devices::virtio::VirtioDevice;
use crate::devices::virtio::console::Console;

fn output(file: Option<File>, console: Option<Written>) -> Output {
    Output { file, console, end: Arc::new(EndSignal::new().unwrap()), transcript: None }
}

fn pipe() -> (UnixStream, Output) {
    let (reader, writer) = UnixStream::pair().unwrap();
    writer.set_nonblocking(true).unwrap();
    let file = Some(File::from(OwnedFd::from(writer)));
    (reader, output(file, None))
}

#[test]
fn a_full_nonblocking_reader_gets_every_byte() {
    let (mut reader, mut output) = pipe();
    let sent = vec![7_u8; 3 << 20];
    let expected = sent.len();
    let writer = std::thread::spawn(move || output.write_all(&sent).unwrap());
    let mut got = Vec::new();
    reader.read_to_end(&mut got).unwrap();
    writer.join().unwrap();
    assert_eq!(got.len(), expected);
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let (reader, mut output) = pipe();
    drop(reader);
    for _ in 0..3 {
        output.write_all(b"nobody listens").unwrap();
    }
    assert!(output.file.is_none());
}

#[test]
fn what_the_console_took_before_comes_first() {
    let (mut reader, writer) = UnixStream::pair().unwrap();
    let file = File::from(OwnedFd::from(writer));
    let mut console = Console::new(file.try_clone().unwrap());
    console.start_writer(|| true).unwrap();
    // More than the socket holds, so that most of it is still to be written.
    let taken = 1 << 20;
    for _ in 0..taken {
        console.write_config(8, b"c");
    }
    let mut output = output(Some(file), Some(console.written()));
    let report = std::thread::spawn(move || output.write_all(b"report").unwrap());
    let mut got = vec![0; taken + 6];
    reader.read_exact(&mut got).unwrap();
    report.join().unwrap();
    assert!(got.ends_with(b"report"));
}
