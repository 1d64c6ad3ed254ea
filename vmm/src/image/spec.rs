//! The values of `vmm image mkdata` and `mkswap`.
//!
//! Owns: their syntax. Stays outside: whether an image can be like that (`images`).

use std::path::PathBuf;

use images::{Content, DataSpec, FileSpec, PartitionContent, PartitionSpec};
use shared::disk::uuid::Uuid;
use shared::params::parse_size;

use crate::cli::image::MkdataArgs;

/// What is wrong with an option; each text is a complete line.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpecError {
    /// A size that is none.
    #[error("{option} {text:?} is not a size; write a number with K, M or G, like 64M")]
    Size {
        /// The option.
        option: &'static str,
        /// The value.
        text: String,
    },
    /// A UUID that is none.
    #[error("--uuid {0:?} is not a UUID; write it like 8d4f4b0e-5a53-4a8e-9f0e-2f6f2f4c1a7b")]
    Uuid(String),
    /// No name and value.
    #[error("{option} {text:?} has no NAME=; write {form}")]
    NoName {
        /// The option.
        option: &'static str,
        /// The value.
        text: String,
        /// What it should look like.
        form: &'static str,
    },
}

/// The size in `text`.
pub fn size(option: &'static str, text: &str) -> Result<u64, SpecError> {
    parse_size(text).ok_or_else(|| SpecError::Size { option, text: text.to_owned() })
}

/// The UUID in `text`, if there is any.
pub fn uuid(text: Option<&str>) -> Result<Option<Uuid>, SpecError> {
    text.map(|text| Uuid::parse(text).ok_or_else(|| SpecError::Uuid(text.to_owned()))).transpose()
}

/// The volume that the options ask for, without the files of directories.
pub fn data(args: &MkdataArgs) -> Result<DataSpec, SpecError> {
    let raw = args.raw.iter().map(|text| {
        let (name, value) = name_and_value("--raw", text, "NAME=HOSTFILE or NAME=SIZE, like log=8M")?;
        Ok(PartitionSpec { name, content: PartitionContent::Raw(content(value)) })
    });
    let swap = args.swap.iter().map(|text| {
        let (name, value) = name_and_value("--swap", text, "NAME=SIZE, like swap0=32M")?;
        Ok(PartitionSpec { name, content: PartitionContent::Swap(size("--swap", value)?) })
    });
    Ok(DataSpec {
        size: args.size.as_deref().map(|text| size("--size", text)).transpose()?,
        uuid: uuid(args.uuid.as_deref())?,
        files: args.file.iter().map(|text| file(text)).collect::<Result<_, _>>()?,
        partitions: raw.chain(swap).collect::<Result<_, SpecError>>()?,
    })
}

/// `NAME=HOSTFILE` or `NAME=SIZE`, then options. They are taken off the end, so a path may have commas.
fn file(text: &str) -> Result<FileSpec, SpecError> {
    let form = "NAME=HOSTFILE or NAME=SIZE, like db=./db.bin,room=8M";
    let (name, mut value) = name_and_value("--file", text, form)?;
    let (mut room, mut sparse) = (0, false);
    while let Some((rest, option)) = value.rsplit_once(',') {
        match option.split_once('=') {
            None if option == "sparse" => sparse = true,
            Some(("room", text)) => room = size("--file", text)?,
            _ => break,
        }
        value = rest;
    }
    Ok(FileSpec { name, content: content(value), room, sparse })
}

fn name_and_value<'t>(
    option: &'static str,
    text: &'t str,
    form: &'static str,
) -> Result<(String, &'t str), SpecError> {
    let parts = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
    match parts {
        Some((name, value)) => Ok((name.to_owned(), value)),
        None => Err(SpecError::NoName { option, text: text.to_owned(), form }),
    }
}

fn content(value: &str) -> Content {
    match parse_size(value) {
        Some(bytes) => Content::Zeros(bytes),
        None => Content::Host(PathBuf::from(value)),
    }
}
