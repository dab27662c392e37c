//! Where a pull goes: a directory of this machine, made when there is something to put in it.

use super::{TransferError, destination_code};
use crate::files::confine::{ConfineError, Root};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Holds the directory at `path`, which is made with its parents where they are missing.
pub(super) fn open(path: &Path) -> Result<Root, TransferError> {
    make(path).map_err(|error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        local(&ConfineError::at(path, errno))
    })?;
    Root::open(path).map_err(|error| local(&error))
}

fn local(error: &ConfineError) -> TransferError {
    TransferError::local(format_args!("destination {error}"), destination_code(error))
}

/// Makes a directory and its parents, each durable under its name.
fn make(path: &Path) -> io::Result<()> {
    let mut made = fs::create_dir(path);
    if made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        && let Some(parent) = path.parent()
    {
        make(parent)?;
        made = fs::create_dir(path);
    }
    match made {
        Ok(()) => {}
        Err(_) if path.is_dir() => return Ok(()),
        // What stands there is no directory, which says more than that it exists.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Errno::NOTDIR.into());
        }
        Err(error) => return Err(error),
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use farhaul_proto::wire::control::RefuseCode;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_destination_is_made_with_its_parents_and_may_be_there() {
        let home = tempfile::tempdir().unwrap();
        let deep = home.path().join("a/b/../b/c/");
        for _ in 0..2 {
            open(&deep).unwrap();
            assert!(home.path().join("a/b/c").is_dir());
        }
        symlink(home.path().join("a"), home.path().join("link")).unwrap();
        open(&home.path().join("link")).unwrap();
    }

    #[test]
    fn a_file_in_the_way_is_called_so() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        fs::write(&file, "in the way").unwrap();
        for path in [file.clone(), file.join("beneath")] {
            match open(&path) {
                Err(TransferError::Local { code, what }) => {
                    assert_eq!(code, RefuseCode::Exists, "{what}");
                    assert!(what.contains("not a directory"), "{what}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
