//! Where the bytes of a file or a partition come from.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;

use shared::disk::BLOCK;

use crate::ImageError;
use crate::draft::Draft;

/// Bytes looked at in one go.
const CHUNK: usize = 1 << 20;

/// What is in a file or a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// This many zeros.
    Zeros(u64),
    /// What a file of the host has.
    Host(PathBuf),
}

impl Content {
    /// Opens and measures it.
    pub(super) fn open(&self) -> Result<Open, ImageError> {
        let path = match self {
            Self::Zeros(bytes) => return Ok(Open { bytes: *bytes, host: None }),
            Self::Host(path) => path,
        };
        // Looked at before opening: opening a pipe can hang.
        let metadata = std::fs::metadata(path).map_err(ImageError::read(path))?;
        if !metadata.is_file() {
            return Err(ImageError::NotAFile(path.clone()));
        }
        let file = File::open(path).map_err(ImageError::read(path))?;
        Ok(Open { bytes: metadata.len(), host: Some((path.clone(), file)) })
    }
}

/// Contents that are open and have a size.
#[derive(Debug)]
pub struct Open {
    bytes: u64,
    host: Option<(PathBuf, File)>,
}

impl Open {
    /// How many bytes there are.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there is anything but zeros.
    pub fn is_zeros(&self) -> bool {
        self.host.is_none()
    }

    /// Copies `length` bytes from byte `from` on to byte `to` of the image, which holds zeros there.
    pub fn copy(&self, draft: &Draft, from: u64, length: u64, to: u64) -> Result<(), ImageError> {
        let Some((path, mut file)) = self.host.as_ref().map(|(path, file)| (path, file)) else {
            return Ok(());
        };
        let mut image = draft.file();
        let copied = file
            .seek(SeekFrom::Start(from))
            .and_then(|_| image.seek(SeekFrom::Start(to)))
            .and_then(|_| io::copy(&mut file.take(length), &mut image));
        match copied.map_err(draft.error())? {
            copied if copied == length => Ok(()),
            _ => Err(ImageError::Changed(path.clone())),
        }
    }

    /// The runs of blocks that hold anything but zeros.
    pub fn runs(&self) -> Result<Vec<Range<u64>>, ImageError> {
        let Some((path, mut file)) = self.host.as_ref().map(|(path, file)| (path, file)) else {
            return Ok(Vec::new());
        };
        let mut runs: Vec<Range<u64>> = Vec::new();
        let (mut chunk, mut block) = (Vec::with_capacity(CHUNK), 0);
        file.seek(SeekFrom::Start(0)).map_err(ImageError::read(path))?;
        loop {
            chunk.clear();
            let mut part = Read::by_ref(&mut file).take(CHUNK as u64);
            if part.read_to_end(&mut chunk).map_err(ImageError::read(path))? == 0 {
                return Ok(runs);
            }
            for bytes in chunk.chunks(BLOCK as usize) {
                match runs.last_mut() {
                    _ if bytes.iter().all(|byte| *byte == 0) => {}
                    Some(run) if run.end == block => run.end += 1,
                    _ => runs.push(block..block + 1),
                }
                block += 1;
            }
        }
    }
}
