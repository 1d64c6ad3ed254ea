use super::*;

const READ: u64 = 128 << 10;
/// Reads before the one that makes a stream and begins its first batch.
const BEFORE: u64 = BATCH / READ;
const IN_BATCH: u64 = BATCH / READ;
const SIZE: u64 = 14 << 20;

/// Begins reads `first` to `last - 1`, none of which has to wait or asks for a look.
fn begin(stream: &mut Stream, first: u64, last: u64) {
    for n in first..last {
        assert!(!stream.is_held(), "{n}");
        assert_eq!(stream.begin(n * READ, READ), None, "{n}");
    }
}

#[test]
fn a_batch_waits_for_a_read_of_the_last() {
    for which in 0..IN_BATCH {
        let mut stream = Stream::of(SIZE, 0);
        begin(&mut stream, 0, BEFORE + IN_BATCH);
        for n in 0..BEFORE {
            stream.end(n * READ);
            assert!(stream.is_held(), "{n} opens");
        }
        stream.end((BEFORE + which) * READ);
        begin(&mut stream, BEFORE + IN_BATCH, BEFORE + 2 * IN_BATCH);
        stream.end((BEFORE + (which + 1) % IN_BATCH) * READ);
        assert!(stream.is_held(), "the batch before opens");
        stream.end((BEFORE + IN_BATCH) * READ);
        assert!(!stream.is_held());
    }
}

#[test]
fn a_read_elsewhere_ends_the_stream() {
    let mut stream = Stream::of(SIZE, 0);
    begin(&mut stream, 0, BEFORE + IN_BATCH);
    assert!(stream.is_held());
    assert_eq!(stream.begin(0, READ), None);
    assert!(!stream.is_held());
    stream.end(BEFORE * READ);
    begin(&mut stream, 1, BEFORE + IN_BATCH);
    assert!(stream.is_held());
    stream.end(BEFORE * READ);
    assert!(!stream.is_held());
}

#[test]
fn long_reads_here_and_there_are_no_stream() {
    for ahead in [0, BATCH] {
        let mut stream = Stream::of(1 << 30, ahead);
        for n in 0..100 {
            assert_eq!(stream.begin((n * 7 + 1) % 100 * (4 << 20), 2 << 20), None);
            assert!(!stream.is_held());
        }
    }
}

#[test]
fn a_stream_whose_reads_end_at_once_never_waits() {
    let mut stream = Stream::of(SIZE, BATCH - 1);
    for n in 0..100 {
        begin(&mut stream, n, n + 1);
        stream.end(n * READ);
        assert!(!stream.is_held());
    }
}

#[test]
fn where_the_host_reads_ahead_a_batch_waits_until_all_of_it_is_there() {
    let mut stream = Stream::of(SIZE, BATCH);
    begin(&mut stream, 0, BEFORE);
    // The first look reaches to the end of the batch that the stream is in.
    for (first, byte) in [(BEFORE, 2 * BATCH), (2 * IN_BATCH - 1, 3 * BATCH), (3 * IN_BATCH - 1, SIZE)] {
        assert_eq!(stream.begin(first * READ, READ), Some(byte - 1));
        stream.end(first * READ);
        assert!(stream.is_held(), "the end of a read opens");
        stream.looked();
        begin(&mut stream, first + 1, (byte / READ) - 1);
        assert!(!stream.is_held());
    }
    // The disk ends here.
    begin(&mut stream, SIZE / READ - 1, SIZE / READ);
    assert!(!stream.is_held());
}

#[test]
fn a_stream_that_begins_again_is_looked_at_again() {
    let mut stream = Stream::of(SIZE, BATCH);
    begin(&mut stream, 0, BEFORE);
    assert_eq!(stream.begin(BEFORE * READ, READ), Some(2 * BATCH - 1));
    stream.looked();
    assert_eq!(stream.begin(0, READ), None, "elsewhere");
    begin(&mut stream, 1, BEFORE);
    assert_eq!(stream.begin(BEFORE * READ, READ), Some(2 * BATCH - 1));
}

#[test]
fn a_read_may_be_longer_than_a_batch() {
    let long = 2 * BATCH + READ;
    let mut stream = Stream::of(8 * BATCH, BATCH);
    assert_eq!(stream.begin(0, READ), None);
    assert_eq!(stream.begin(READ, long), Some(3 * BATCH - 1));
    let mut stream = Stream::of(8 * BATCH, 0);
    begin(&mut stream, 0, 1);
    assert_eq!(stream.begin(READ, long), None);
    assert!(stream.is_held());
    stream.end(READ);
    assert!(!stream.is_held());
}
