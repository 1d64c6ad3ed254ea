use super::*;

#[test]
fn the_checksum_is_that_of_the_bytes_in_the_file() {
    let mut file = tempfile::tempfile().unwrap();
    let bytes = CHUNK as u64 * 2 + 512;
    let written = write_pattern(&mut file, bytes, 7).unwrap();
    assert_eq!(file.metadata().unwrap().len(), bytes);
    assert_eq!(crc32(&mut file, 0, bytes).unwrap(), written);
    let mut whole = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut whole).unwrap();
    assert_eq!(crc32fast::hash(&whole), written);
    assert_eq!(crc32(&mut file, 512, 1024).unwrap(), crc32fast::hash(&whole[512..1536]));
}

#[test]
fn the_checksum_is_the_one_everybody_uses() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"123456789").unwrap();
    assert_eq!(crc32(&mut file, 0, 9).unwrap(), 0xcbf4_3926);
}

#[test]
fn another_seed_or_place_gives_another_checksum() {
    let mut file = tempfile::tempfile().unwrap();
    let first = write_pattern(&mut file, 8192, 1).unwrap();
    let sectors: Vec<_> = (0..16).map(|n| crc32(&mut file, n * 512, 512).unwrap()).collect();
    for (n, crc) in sectors.iter().enumerate() {
        assert!(!sectors[..n].contains(crc), "sector {n}");
    }
    assert_ne!(write_pattern(&mut file, 8192, 2).unwrap(), first);
}

#[test]
fn a_region_behind_the_end_is_an_error() {
    let mut file = tempfile::tempfile().unwrap();
    write_pattern(&mut file, 1024, 1).unwrap();
    assert_eq!(crc32(&mut file, 512, 1024).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}
