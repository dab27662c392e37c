//! Names on file systems that take different names for one (other case, other Unicode form): the bytes
//! of a name count here, so what stands under another spelling is not what was asked for
//! (F-22; spec: S-102).

use farhaul_engine::files::dir::Dir;
use farhaul_proto::path_name::RelPath;
use rustix::io::Result;

/// The reserved name as nobody spells it.
const OTHER_SPELLING: &[u8] = b".FARHAUL";

/// Whether the file system of a folder's root takes different names for one. Where a directory of
/// that other name was made it says so too, which costs time and nothing else.
pub(crate) fn folds(root: &Dir) -> Result<bool> {
    Ok(root.stat(OTHER_SPELLING)?.is_some())
}

/// The first part of `path` that stands beneath `root` under another spelling; `None` if all that
/// stands of it is spelled so. Reads the directories along the path.
pub(crate) fn misspelled(root: &Dir, path: &RelPath) -> Result<Option<Vec<u8>>> {
    let mut dir = root.clone();
    let mut components = path.components().peekable();
    while let Some(name) = components.next() {
        if dir.stat(name)?.is_none() {
            return Ok(None);
        }
        if !names_of(&dir)?.iter().any(|listed| listed == name) {
            return Ok(Some(name.to_vec()));
        }
        if components.peek().is_some() {
            dir = dir.open_dir(name)?;
        }
    }
    Ok(None)
}

#[cfg(not(test))]
fn names_of(dir: &Dir) -> Result<Vec<Vec<u8>>> {
    dir.names()
}

/// Without the names that a test hides: then they stand there under another spelling.
#[cfg(test)]
fn names_of(dir: &Dir) -> Result<Vec<Vec<u8>>> {
    let mut names = dir.names()?;
    let hidden = tests::HIDDEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    names.retain(|name| !hidden.contains(name));
    Ok(names)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    /// Names that no directory lists: of one test each, for tests run beside each other.
    pub(crate) static HIDDEN: Mutex<BTreeSet<Vec<u8>>> = Mutex::new(BTreeSet::new());
}
