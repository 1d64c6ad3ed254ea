//! `vmm image`: builds and inspects disk images.
//!
//! Owns: what the options mean, and what is printed. Stays outside: the images themselves (the `images` crate).

mod spec;

use std::io::{self, Write};

use images::{Existing, ImageError, SwapSpec};
use shared::disk::BLOCK;
use shared::exit::ExitStatus;

use crate::cli::image::{ImageCommand, InspectArgs, MkdataArgs, MkswapArgs};

pub use spec::SpecError;

/// Why `vmm image` failed; each text is a complete line.
#[derive(Debug, thiserror::Error)]
pub enum ImageFailure {
    /// An option cannot be read.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The image could not be built or read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The image was read and is damaged; the facts were printed.
    #[error("{0} is damaged, see the errors above; restore it from a copy, or build it again")]
    Damaged(String),
}

impl ImageFailure {
    /// The exit status of `vmm`.
    pub fn status(&self) -> ExitStatus {
        match self {
            Self::Spec(_) | Self::Image(_) => ExitStatus::Usage,
            Self::Damaged(_) => ExitStatus::CheckFailed,
        }
    }
}

/// Does what `command` says. Facts, and what is extracted, go to `out`.
pub fn run(command: &ImageCommand, out: &mut dyn Write) -> Result<(), ImageFailure> {
    match command {
        ImageCommand::Mkswap(args) => mkswap(args, out),
        ImageCommand::Mkdata(args) => mkdata(args, out),
        ImageCommand::Inspect(args) => inspect(args, out),
    }
}

fn mkswap(args: &MkswapArgs, out: &mut dyn Write) -> Result<(), ImageFailure> {
    let spec = SwapSpec {
        size: spec::size("--size", &args.size)?,
        label: args.label.clone(),
        uuid: spec::uuid(args.uuid.as_deref())?,
        bad_pages: args.bad_pages.clone(),
    };
    let header = images::make_swap(&args.out, &spec, existing(args.force))?;
    let (image, pages, uuid) = (args.out.display(), header.pages(), header.uuid());
    tell(out, &format!("image={image} bytes={} pages={pages} uuid={uuid}\n", pages * BLOCK))
}

fn mkdata(args: &MkdataArgs, out: &mut dyn Write) -> Result<(), ImageFailure> {
    let mut spec = spec::data(args)?;
    for directory in &args.dir {
        spec.files.extend(images::files_below(directory)?);
    }
    let facts = images::make_data(&args.out, &spec, existing(args.force))?;
    let (image, images::DataFacts { bytes, uuid, partitions, files, free }) = (args.out.display(), facts);
    let line = format!(
        "image={image} bytes={bytes} partitions={partitions} files={files} free_bytes={free} uuid={uuid}\n"
    );
    tell(out, &line)
}

fn inspect(args: &InspectArgs, out: &mut dyn Write) -> Result<(), ImageFailure> {
    if let Some(name) = &args.extract {
        return extract(args, name, out);
    }
    let found = images::inspect(&args.image)?;
    if args.json {
        // Numbers and texts only: nothing that JSON could not say.
        let json = serde_json::to_string_pretty(&found).unwrap_or_default();
        tell(out, &(json + "\n"))?;
    } else {
        tell(out, &found.to_string())?;
    }
    match found.errors.is_empty() {
        true => Ok(()),
        false => Err(ImageFailure::Damaged(found.image)),
    }
}

fn extract(args: &InspectArgs, name: &str, out: &mut dyn Write) -> Result<(), ImageFailure> {
    let extracted = images::extract(&args.image, name, out);
    extracted.and_then(|()| out.flush().map_err(ImageError::Output)).or_else(forgive)
}

/// Prints `text`.
fn tell(out: &mut dyn Write, text: &str) -> Result<(), ImageFailure> {
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(ImageError::Output).or_else(forgive)
}

/// A reader that went away is no failure.
fn forgive(error: ImageError) -> Result<(), ImageFailure> {
    match error {
        ImageError::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        error => Err(error.into()),
    }
}

fn existing(force: bool) -> Existing {
    if force { Existing::Replace } else { Existing::Keep }
}

#[cfg(test)]
mod tests;
