//! What stands on the disk of a site, by a walker that shares no code with the product.
//!
//! It follows no links, and keeps hashes in place of contents.

use rustix::fs::{lgetxattr, llistxattr};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The product's own directory in a tree.
pub const RESERVED: &[u8] = b".farhaul";

/// Attributes that are lists of access rights.
const LISTS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];
/// Bytes of all names of attributes of a file, and of one value: more the kernel has not.
const XATTR_LIST_MAX: usize = 64 << 10;
const XATTR_MAX: usize = 64 << 10;

/// The BLAKE3 hash of a content.
pub type Hash = blake3::Hash;

/// Owner, lists and attributes of a file or directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// User and group, by number: all sites are on one machine.
    pub owner: (u32, u32),
    /// Lists of access rights as the kernel gives them, and attributes that any user may set.
    pub attributes: BTreeMap<String, String>,
}

/// One entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A file: its content, length, permission bits, modification time in seconds and nanoseconds,
    /// and what else is said of it.
    File {
        /// Of all of its bytes.
        hash: Hash,
        /// In bytes.
        len: u64,
        /// Permission bits.
        mode: u32,
        /// When it was last modified.
        modified: (i64, i64),
        /// What else is said of it.
        said: Said,
    },
    /// A directory with its permission bits. Its time changes with what is in it.
    Directory {
        /// Permission bits.
        mode: u32,
        /// What else is said of it.
        said: Said,
    },
    /// A symbolic link and its target.
    Link(Vec<u8>),
    /// Something else, which nobody put there.
    Other,
}

/// A whole tree, by path; the product's own directory is left out.
pub type Survey = BTreeMap<Vec<u8>, Entry>;

/// Looks through the tree at `root`.
///
/// # Errors
/// If anything cannot be read, or goes away meanwhile.
pub fn survey(root: &Path) -> io::Result<Survey> {
    let mut found = Survey::new();
    let mut left = vec![(root.to_owned(), Vec::new())];
    while let Some((directory, prefix)) = left.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if prefix.is_empty() && name.as_bytes() == RESERVED {
                continue;
            }
            let path = [&prefix[..], name.as_bytes()].concat();
            let seen = look(&entry.path())?;
            if let Entry::Directory { .. } = seen {
                left.push((entry.path(), [&path[..], b"/"].concat()));
            }
            found.insert(path, seen);
        }
    }
    Ok(found)
}

fn look(path: &Path) -> io::Result<Entry> {
    let meta = fs::symlink_metadata(path)?;
    let (kind, mode) = (meta.file_type(), meta.mode() & 0o7777);
    Ok(if kind.is_dir() {
        Entry::Directory { mode, said: said_of(path, &meta)? }
    } else if kind.is_symlink() {
        Entry::Link(fs::read_link(path)?.into_os_string().into_vec())
    } else if kind.is_file() {
        let modified = (meta.mtime(), meta.mtime_nsec());
        let said = said_of(path, &meta)?;
        Entry::File { hash: hash_of(path)?, len: meta.len(), mode, modified, said }
    } else {
        Entry::Other
    })
}

fn said_of(path: &Path, meta: &fs::Metadata) -> io::Result<Said> {
    let mut names = vec![0; XATTR_LIST_MAX];
    let len = match llistxattr(path, &mut names) {
        // There are no attributes on that file system.
        Err(Errno::NOTSUP) => 0,
        listed => listed?,
    };
    let mut attributes = BTreeMap::new();
    for name in names[..len].split(|byte| *byte == 0) {
        if LISTS.contains(&name) || name.starts_with(b"user.") {
            let mut value = vec![0; XATTR_MAX];
            let len = lgetxattr(path, OsStr::from_bytes(name), &mut value)?;
            let name = name.escape_ascii().to_string();
            attributes.insert(name, value[..len].escape_ascii().to_string());
        }
    }
    Ok(Said { owner: (meta.uid(), meta.gid()), attributes })
}

fn hash_of(path: &Path) -> io::Result<Hash> {
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hasher.finalize())
}

/// The contents that the site at `root` keeps of what was displaced.
///
/// # Errors
/// If anything cannot be read.
pub fn kept(root: &Path) -> io::Result<BTreeSet<[u8; 32]>> {
    let mut hashes = BTreeSet::new();
    for path in files_beneath(&root.join(".farhaul/versions"))? {
        hashes.insert(*hash_of(&path)?.as_bytes());
    }
    Ok(hashes)
}

/// What the site at `root` has staged and not put in place, nor thrown away.
///
/// # Errors
/// If it cannot be listed.
pub fn staged(root: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for room in ["incoming", "staging"] {
        let paths = files_beneath(&root.join(".farhaul").join(room))?;
        names.extend(paths.iter().map(|path| path.display().to_string()));
    }
    Ok(names)
}

fn files_beneath(root: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    let (mut files, mut left) = (Vec::new(), vec![root.to_owned()]);
    while let Some(directory) = left.pop() {
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                left.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    Ok(files)
}

/// How `found` differs from `expected`, one line each.
pub fn differences(expected: &Survey, found: &Survey) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, one) in expected {
        match found.get(path) {
            None => lines.push(format!("{}: {one:?} is missing", path.escape_ascii())),
            Some(other) if one != other => {
                lines.push(format!("{}: {other:?} instead of {one:?}", path.escape_ascii()));
            }
            Some(_) => {}
        }
    }
    let surplus = found.iter().filter(|(path, _)| !expected.contains_key(*path));
    lines.extend(surplus.map(|(path, other)| format!("{}: {other:?} more", path.escape_ascii())));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::{Duration, SystemTime};

    #[test]
    fn each_kind_of_difference_is_found_and_the_time_of_a_directory_is_none() {
        let home = tempfile::tempdir().expect("a directory");
        let at = |name: &str| home.path().join(name);
        fs::create_dir(at("d")).expect("made");
        fs::write(at("d/file"), "content").expect("made");
        symlink("nowhere", at("link")).expect("made");
        fs::create_dir_all(at(".farhaul/versions")).expect("made");
        fs::write(at(".farhaul/versions/1"), "kept").expect("made");
        let before = survey(home.path()).expect("readable");
        assert_eq!(before.len(), 3);
        let says = |words: &str| {
            let lines = differences(&before, &survey(home.path()).expect("readable"));
            assert!(lines.iter().any(|line| line.contains(words)), "{words}: {lines:?}");
        };
        let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(1);
        File::open(at("d")).and_then(|dir| dir.set_modified(time)).expect("set");
        assert_eq!(differences(&before, &survey(home.path()).expect("readable")), [""; 0]);
        File::open(at("d/file")).and_then(|file| file.set_modified(time)).expect("set");
        says("modified: (0, 1)");
        fs::set_permissions(at("d"), PermissionsExt::from_mode(0o700)).expect("set");
        says("Directory { mode: 448, said: ");
        fs::remove_file(at("link")).expect("removed");
        says("link: Link(");
        fs::write(at("more"), "").expect("written");
        says("more: File");
        let kept = kept(home.path()).expect("readable");
        assert!(kept.contains(blake3::hash(b"kept").as_bytes()) && kept.len() == 1);
        assert!(staged(home.path()).expect("readable").is_empty());
    }
}
