//! Files that stay open between commands: readahead goes on where it was, and each has its own view of errors.

use super::{failed, path};
use crate::commands::support::parse;
use crate::commands::{Args, Outcome, fail};
use crate::console;
use crate::files::{self, File};
use crate::task::Mutex;
use mm::cache::FileMode;
use mm::errno::Errno;
use shared::exit::ExitStatus;

/// Files that can be open at once.
const MAX_OPEN: usize = 1024;

static OPEN: Mutex<[Option<File>; MAX_OPEN]> = Mutex::new([const { None }; MAX_OPEN]);

/// Whether `file` is open on inode `number` of the file system at `fs`.
fn is_on(file: &File, fs: *const (), number: u64) -> bool {
    file.inode().number() == number && core::ptr::from_ref(file.inode().fs()).cast::<()>() == fs
}

/// Does `work` with the file at `path`, open since a command before or from now on.
pub fn with<T>(path: &str, work: impl FnOnce(&File) -> T) -> Result<T, ExitStatus> {
    let (fs, number, _) = files::find(path).map_err(|error| failed(path, error))?;
    let fs = core::ptr::from_ref(fs).cast::<()>();
    let mut open = OPEN.lock();
    if let Some(file) = open.iter().flatten().find(|file| is_on(file, fs, number)) {
        return Ok(work(file));
    }
    let slot = open.iter_mut().find(|slot| slot.is_none());
    let slot = slot.ok_or_else(|| failed(path, Errno::Enfile))?;
    Ok(work(slot.insert(files::open_for_all(path).map_err(|error| failed(path, error))?)))
}

/// As [`with`], of a file that can be written.
pub fn with_writable<T>(path: &str, work: impl FnOnce(&File) -> T) -> Result<T, ExitStatus> {
    with(path, |file| match file.mode().contains(FileMode::WRITE) {
        true => Ok(work(file)),
        false => Err(failed(path, Errno::Erofs)),
    })?
}

/// `file open PATH [count=N]`
pub fn open(args: &mut Args<'_>) -> Outcome {
    let path = path(args)?;
    let count = args.take_key("count").map_or(Ok(1), |text| parse::count("count", text))?;
    let mut open = OPEN.lock();
    for done in 0..count {
        let Some(slot) = open.iter_mut().find(|slot| slot.is_none()) else {
            return Err(fail(
                ExitStatus::CheckFailed,
                format_args!("{path}: {} opened={done}", Errno::Enfile),
            ));
        };
        *slot = Some(files::open_for_all(path).map_err(|error| failed(path, error))?);
    }
    console::print(format_args!("opened={count}\n"));
    Ok(())
}

/// `file close PATH|all`
pub fn close(args: &mut Args<'_>) -> Outcome {
    let path = path(args)?;
    let which = match path {
        "all" => None,
        _ => Some(files::find(path).map_err(|error| failed(path, error))?),
    };
    let mut closed = 0;
    for slot in OPEN.lock().iter_mut() {
        let is_it = |file: &File| {
            which.is_none_or(|(fs, number, _)| is_on(file, core::ptr::from_ref(fs).cast(), number))
        };
        if slot.as_ref().is_some_and(is_it) {
            *slot = None;
            closed += 1;
        }
    }
    console::print(format_args!("closed={closed}\n"));
    Ok(())
}

/// Whether somebody has inode `number` of the file system at `fs` open.
pub fn is_open(fs: *const (), number: u64) -> bool {
    OPEN.lock().iter().flatten().any(|file| is_on(file, fs, number))
}
