//! Output to readers that are slow, full or gone.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::*;

fn pipe() -> (UnixStream, Output) {
    let (reader, writer) = UnixStream::pair().unwrap();
    writer.set_nonblocking(true).unwrap();
    (reader, Output::to_file(File::from(OwnedFd::from(writer))))
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
