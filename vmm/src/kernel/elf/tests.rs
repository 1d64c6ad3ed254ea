//! Segments and notes of well-formed, foreign and broken files.

use super::*;

/// An ELF64 file with one note segment.
fn elf_with(notes: &[u8]) -> Vec<u8> {
    let mut elf = vec![0; 64 + 56];
    elf[..4].copy_from_slice(b"\x7fELF");
    elf[32] = 64; // e_phoff
    elf[54] = 56; // e_phentsize
    elf[56] = 1; // e_phnum
    elf[64] = PT_NOTE as u8;
    elf[64 + 8] = 120; // p_offset
    elf[64 + 32..64 + 40].copy_from_slice(&(notes.len() as u64).to_le_bytes());
    elf.extend_from_slice(notes);
    elf
}

fn note(name: &[u8], kind: u32, descriptor: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [name.len() as u32, descriptor.len() as u32, kind] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    for part in [name, descriptor] {
        bytes.extend_from_slice(part);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
    bytes
}

#[test]
fn notes_are_found_by_owner() {
    let bytes =
        [note(b"Xen\0", 18, &[1, 2, 3, 4]), note(b"Ballast\0", 7, &[9; 5]), note(b"Ballast\0", 8, &[])];
    let elf = elf_with(&bytes.concat());
    let expected = [Note { kind: 7, descriptor: &[9; 5] }, Note { kind: 8, descriptor: &[] }];
    assert_eq!(notes_of(&elf, "Ballast"), expected);
    assert_eq!(notes_of(&elf, "Xen").len(), 1);
    assert_eq!(notes_of(&elf, "Ball"), []);
}

#[test]
fn broken_files_have_no_notes() {
    let whole = elf_with(&note(b"Ballast\0", 1, &[1; 8]));
    for length in 0..whole.len() {
        assert_eq!(notes_of(&whole[..length], "Ballast"), []);
    }
    assert_eq!(notes_of(&whole, "Ballast").len(), 1);
    // Every byte of the headers set to all ones in turn: no panic, and at most the one note.
    for index in 0..140 {
        let mut broken = whole.clone();
        broken[index] = 0xff;
        assert!(notes_of(&broken, "Ballast").len() <= 1);
    }
}

#[test]
fn a_segment_outside_the_file_is_told() {
    let whole = elf_with(&[7; 8]);
    assert_eq!(segments(&whole, PT_NOTE).collect::<Vec<_>>(), [Some([7; 8].as_slice())]);
    assert_eq!(segments(&whole, PT_LOAD).count(), 0);
    assert_eq!(segments(&whole[..whole.len() - 1], PT_NOTE).collect::<Vec<_>>(), [None]);
    assert_eq!(segments(&whole[..70], PT_LOAD).count(), 0, "the type is still in the file");
    assert_eq!(segments(&whole[..66], PT_LOAD).collect::<Vec<_>>(), [None], "not even the type is");
    assert_eq!(segments(b"#!/bin/sh", PT_NOTE).count(), 0);
}

#[test]
fn impossible_tables_and_endless_notes_take_no_time() {
    let whole = elf_with(&note(b"Ballast\0", 1, &[]));
    for (at, value) in [(54, 0), (54, 55), (54, 57), (56, MAX_HEADERS + 1), (56, u16::MAX)] {
        let mut broken = whole.clone();
        broken[at..at + 2].copy_from_slice(&value.to_le_bytes());
        assert_eq!(segments(&broken, PT_NOTE).collect::<Vec<_>>(), [None], "{at} {value}");
        assert_eq!(notes_of(&broken, "Ballast"), []);
    }
    let many = elf_with(&note(b"Ballast\0", 1, &[]).repeat(10_000));
    assert_eq!(notes_of(&many, "Ballast").len(), MAX_NOTES / 20);
}
