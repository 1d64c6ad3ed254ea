use super::*;

const READ: u64 = 128 << 10;

#[test]
fn a_stream_has_enough_until_a_read_is_over() {
    let mut stream = Stream::default();
    for n in 0..8 {
        assert!(!stream.is_enough(), "{n}");
        stream.begin(n * READ, READ);
    }
    assert!(stream.is_enough());
    stream.end(READ);
    assert!(!stream.is_enough());
    stream.begin(8 * READ, READ);
    assert!(stream.is_enough());
    stream.begin(100 * READ, READ);
    assert!(!stream.is_enough(), "elsewhere");
}

#[test]
fn long_reads_here_and_there_are_no_stream() {
    let mut stream = Stream::default();
    for n in 0..100 {
        stream.begin((n * 7 + 1) % 100 * (4 << 20), 2 << 20);
        assert!(!stream.is_enough());
    }
}

#[test]
fn a_stream_whose_reads_end_at_once_never_waits() {
    let mut stream = Stream::default();
    for n in 0..100 {
        stream.begin(n * READ, READ);
        stream.end(READ);
        assert!(!stream.is_enough());
    }
}
