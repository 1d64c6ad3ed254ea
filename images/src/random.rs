//! Random identifiers.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use shared::disk::uuid::Uuid;

use crate::ImageError;

/// A UUID of version 4.
pub fn uuid() -> Result<Uuid, ImageError> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 16];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(ImageError::read(path))?;
    Ok(Uuid::from_random(bytes))
}
