//! The files below a directory, as files of a data volume.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Content, FileSpec};
use crate::ImageError;

/// Every file below `directory`, named by its path from there, in the order of the names.
///
/// Symbolic links, devices and the like are refused: there is nothing on a data volume they could become.
pub fn files_below(directory: &Path) -> Result<Vec<FileSpec>, ImageError> {
    let mut files = Vec::new();
    let mut folders: Vec<(PathBuf, String)> = vec![(directory.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        let entries = fs::read_dir(&folder).map_err(ImageError::read(&folder))?;
        for entry in entries {
            let entry = entry.map_err(ImageError::read(&folder))?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(ImageError::read(&entry.path()))?);
            let name = entry.file_name();
            let Some(name) = name.to_str().map(|name| format!("{prefix}{name}")) else {
                let rule = "rename it so that its name is UTF-8";
                return Err(ImageError::Name(path.display().to_string(), "file", rule));
            };
            if kind.is_dir() {
                folders.push((path, format!("{name}/")));
            } else if kind.is_file() {
                files.push(FileSpec { name, content: Content::Host(path), room: 0, sparse: false });
            } else {
                return Err(ImageError::NotCopied(path));
            }
        }
    }
    files.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(files)
}
