//! Tests of the build script's own parts.

#[path = "ksyms.rs"]
mod ksyms;

use std::collections::BTreeMap;
use std::fs;

use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};

const BASE: u64 = 0xffff_ffff_8020_0000;
const FUNC: u8 = 2;
const NOTYPE: u8 = 0;

/// A symbol of a small image: name, type, section, address.
type Symbol = (&'static str, u8, u16, u64);

/// A static ELF file with one segment, 64 bytes of code at `BASE`, and `room` bytes for the table.
fn image(symbols: &[Symbol], room: usize) -> Vec<u8> {
    let mut names = vec![0];
    let mut table = vec![0; 24];
    for (name, kind, section, address) in symbols {
        table.extend((names.len() as u32).to_le_bytes());
        table.extend([*kind, 0]);
        table.extend(section.to_le_bytes());
        table.extend(address.to_le_bytes());
        table.extend(8u64.to_le_bytes());
        names.extend(name.bytes());
        names.push(0);
    }
    let section_names = b"\0.text\0.ksyms\0.symtab\0.strtab\0.shstrtab\0".to_vec();
    let contents = [vec![0xc3; 64], vec![0; room], table, names, section_names];
    // name, type, flags, address, link, entry size
    let heads: [(u32, u32, u64, u64, u32, u64); 5] = [
        (1, 1, 6, BASE, 0, 0),
        (7, 1, 2, BASE + 0x1000, 0, 0),
        (14, 2, 0, 0, 4, 24),
        (22, 3, 0, 0, 0, 0),
        (30, 3, 0, 0, 0, 0),
    ];
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    let start: u64 = 64 + 56;
    let section_headers = start + contents.iter().map(Vec::len).sum::<usize>() as u64;
    for word in [BASE, 64, section_headers] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 64, 6, 5] {
        file.extend(half.to_le_bytes());
    }
    // One LOAD segment over the code.
    file.extend([1u32, 5].map(u32::to_le_bytes).concat());
    for word in [start, BASE, 0x20_0000, 64, 64, 4096] {
        file.extend(word.to_le_bytes());
    }
    let mut headers = vec![0; 64];
    for (content, (name, kind, flags, address, link, entry)) in contents.iter().zip(heads) {
        headers.extend([name, kind].map(u32::to_le_bytes).concat());
        for word in [flags, address, file.len() as u64, content.len() as u64] {
            headers.extend(word.to_le_bytes());
        }
        headers.extend([link, 0].map(u32::to_le_bytes).concat());
        for word in [1, entry] {
            headers.extend(u64::to_le_bytes(word));
        }
        file.extend(content);
    }
    file.extend(headers);
    file
}

fn word(table: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(table[at..at + 4].try_into().expect("four bytes"))
}

/// The table in an image, read as the guest reads it: pairs of offset and name.
fn table_of(image: &[u8]) -> Vec<(u32, String)> {
    let file = ElfFile64::<Endianness>::parse(image).expect("an ELF file");
    let table = file.section_by_name(".ksyms").expect("a section").data().expect("its bytes");
    assert_eq!(word(table, 0), ksyms::MAGIC);
    let count = word(table, 4) as usize;
    let names = &table[8 + 8 * count..];
    let pair = |n: usize| {
        let name = &names[word(table, 12 + 8 * n) as usize..];
        let end = name.iter().position(|byte| *byte == 0).expect("an end");
        (word(table, 8 + 8 * n), String::from_utf8(name[..end].to_vec()).expect("text"))
    };
    (0..count).map(pair).collect()
}

#[test]
fn functions_are_sorted_and_end_with_the_code() {
    let mut image = image(
        &[
            ("_ZN5guest4task5yield17h0123456789abcdefE", FUNC, 1, BASE + 32),
            ("first", FUNC, 1, BASE),
            ("label_at_first", NOTYPE, 1, BASE),
            ("stub", NOTYPE, 1, BASE + 16),
            ("physical", NOTYPE, 1, 0x20_0000),
            ("data", FUNC, 2, BASE + 0x1000),
        ],
        256,
    );
    let before = image.clone();
    assert_eq!(ksyms::embed(&mut image), Ok(3));
    let names: Vec<_> = table_of(&image);
    let expected = [(0, "first"), (16, "stub"), (32, "guest::task::yield"), (64, "")];
    assert_eq!(names, expected.map(|(offset, name)| (offset, String::from(name))));
    let changed: Vec<_> = (0..image.len()).filter(|at| image[*at] != before[*at]).collect();
    let section = 120 + 64..120 + 64 + 256;
    assert!(!changed.is_empty() && changed.iter().all(|at| section.contains(at)), "{changed:?}");
}

#[test]
fn what_does_not_fit_is_an_error() {
    let symbols = [("first", FUNC, 1, BASE), ("second", FUNC, 1, BASE + 8)];
    let need = 8 + 3 * 8 + "first\0second\0\0".len();
    assert_eq!(ksyms::embed(&mut image(&symbols, need)), Ok(2));
    let mut small = image(&symbols, need - 1);
    let before = small.clone();
    let error = ksyms::embed(&mut small).expect_err("too little room");
    assert!(error.contains(&format!("room for {} bytes, 2 functions need {need}", need - 1)), "{error}");
    assert_eq!(small, before);
}

#[test]
fn images_without_what_is_needed_are_refused() {
    let error = ksyms::embed(&mut image(&[], 256)).expect_err("no symbols");
    assert!(error.contains("names no function"), "{error}");
    let whole = image(&[("first", FUNC, 1, BASE)], 256);
    let mut renamed = whole.clone();
    let at = whole.windows(6).position(|bytes| bytes == b".ksyms").expect("the name");
    renamed[at + 1] = b'x';
    let error = ksyms::embed(&mut renamed).expect_err("no section");
    assert!(error.contains("no section .ksyms"), "{error}");
    assert!(ksyms::embed(&mut b"no ELF file".to_vec()).is_err());
    for length in 0..whole.len() {
        assert!(ksyms::embed(&mut whole[..length].to_vec()).is_err(), "{length} bytes of {}", whole.len());
    }
}

/// The image that the monitor really carries has every function at its address.
#[test]
fn the_built_in_guest_has_its_names() {
    let image = fs::read(concat!(env!("OUT_DIR"), "/guest.elf")).expect("the built-in guest");
    let table = table_of(&image);
    assert!(table.is_sorted_by(|(a, _), (b, _)| a < b));
    assert_eq!(table.last().map(|(_, name)| name.as_str()), Some(""));
    let by_offset: BTreeMap<_, _> = table.into_iter().collect();
    for name in ["guest::kernel_main", "guest::report::exit", "task_switch", "start_rust", "gate"] {
        assert!(by_offset.values().any(|known| known == name), "{name}");
    }
    let file = ElfFile64::<Endianness>::parse(&*image).expect("an ELF file");
    let code = file.sections().filter(|section| section.kind() == SectionKind::Text).map(|s| s.index());
    let code: Vec<_> = code.collect();
    let mut functions = 0;
    for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
        if symbol.section_index().is_some_and(|section| code.contains(&section)) {
            functions += 1;
            assert!(by_offset.contains_key(&((symbol.address() - BASE) as u32)), "{:?}", symbol.name());
        }
    }
    assert!(functions > 100, "{functions} functions");
}
