//! A walker of trees that shares no code with the product: what is there, bit by bit.
//!
//! It follows no links and knows nothing of owners, since ordinary users cannot set them.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// The product's own directory in a destination.
const RESERVED: &[u8] = b".farhaul";

/// One entry of a tree.
#[derive(Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is, and what it holds.
    pub content: Content,
    /// Permission bits; links have none of their own.
    pub mode: u32,
    /// Last modification: seconds and nanoseconds.
    pub modified: (i64, i64),
    /// Which incarnation of the file: inode, and time of the last change of any kind.
    pub incarnation: (u64, i64, i64),
    /// Bytes taken on disk.
    pub allocated: u64,
}

/// What an entry holds.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// The bytes of a file.
    File(Vec<u8>),
    /// A directory.
    Directory,
    /// Where a link leads.
    Link(Vec<u8>),
    /// A socket, pipe or device.
    Other,
}

/// All entries beneath a directory, by path; what the product keeps for itself is left out.
///
/// # Errors
/// If anything cannot be read.
pub fn walk(root: &Path) -> io::Result<BTreeMap<Vec<u8>, Node>> {
    let mut nodes = BTreeMap::new();
    let mut left = vec![(root.to_owned(), Vec::new())];
    while let Some((directory, prefix)) = left.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if prefix.is_empty() && name.as_bytes() == RESERVED {
                continue;
            }
            let path = [&prefix[..], name.as_bytes()].concat();
            let node = look(&entry.path())?;
            if node.content == Content::Directory {
                left.push((entry.path(), [&path[..], b"/"].concat()));
            }
            nodes.insert(path, node);
        }
    }
    Ok(nodes)
}

fn look(path: &Path) -> io::Result<Node> {
    let meta = fs::symlink_metadata(path)?;
    let kind = meta.file_type();
    let content = if kind.is_dir() {
        Content::Directory
    } else if kind.is_symlink() {
        Content::Link(fs::read_link(path)?.into_os_string().into_vec())
    } else if kind.is_file() {
        Content::File(fs::read(path)?)
    } else {
        Content::Other
    };
    let mode = if kind.is_symlink() { 0 } else { meta.permissions().mode() & 0o7777 };
    let modified = (meta.mtime(), meta.mtime_nsec());
    Ok(Node {
        content,
        mode,
        modified,
        incarnation: incarnation(&meta),
        allocated: allocated(&meta),
    })
}

fn incarnation(meta: &Metadata) -> (u64, i64, i64) {
    (meta.ino(), meta.ctime(), meta.ctime_nsec())
}

fn allocated(meta: &Metadata) -> u64 {
    meta.blocks() * 512
}

/// How `found` differs from `expected`, in words, one line each: names, kinds, bytes, modes,
/// times and link targets.
pub fn differences(
    expected: &BTreeMap<Vec<u8>, Node>,
    found: &BTreeMap<Vec<u8>, Node>,
) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, one) in expected {
        let name = path.escape_ascii();
        match found.get(path) {
            None => lines.push(format!("{name}: is missing")),
            Some(other) if one.content != other.content => {
                lines.push(format!("{name}: {} instead of {}", say(other), say(one)));
            }
            Some(other) if one.mode != other.mode => {
                lines.push(format!("{name}: mode {:o} instead of {:o}", other.mode, one.mode));
            }
            Some(other) if one.modified != other.modified => {
                let (one, other) = (one.modified, other.modified);
                lines.push(format!("{name}: time {other:?} instead of {one:?}"));
            }
            Some(_) => {}
        }
    }
    let surplus = found.keys().filter(|path| !expected.contains_key(*path));
    lines.extend(surplus.map(|path| format!("{}: should not be there", path.escape_ascii())));
    lines
}

fn say(node: &Node) -> String {
    match &node.content {
        Content::File(bytes) => format!("a file of {} bytes", bytes.len()),
        Content::Directory => "a directory".to_owned(),
        Content::Link(target) => format!("a link to {}", target.escape_ascii()),
        Content::Other => "something special".to_owned(),
    }
}

/// Fails the test unless the tree at `found` is that at `expected`.
///
/// # Panics
/// If it is not, or cannot be read; the message names up to ten differences.
#[track_caller]
pub fn assert_same(expected: &Path, found: &Path) {
    let [one, other] = [expected, found].map(|root| walk(root).expect("a readable tree"));
    let lines = differences(&one, &other);
    let shown = &lines[..lines.len().min(10)];
    assert!(lines.is_empty(), "{} differences, among them {shown:#?}", lines.len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::time::{Duration, SystemTime};

    fn planted(root: &Path) {
        fs::create_dir(root.join("d")).expect("made");
        fs::write(root.join("d/file"), "content").expect("made");
        symlink("nowhere", root.join("link")).expect("made");
        fs::create_dir(root.join(".farhaul")).expect("made");
    }

    #[test]
    fn each_kind_of_difference_is_found() {
        let directory = tempfile::tempdir().expect("a directory");
        planted(directory.path());
        let before = walk(directory.path()).expect("readable");
        assert_eq!(before.len(), 3);
        assert_eq!(differences(&before, &before), Vec::<String>::new());
        let file = directory.path().join("d/file");
        let says = |words: &str| {
            let lines = differences(&before, &walk(directory.path()).expect("readable"));
            assert!(lines.iter().any(|line| line.contains(words)), "{words}: {lines:?}");
        };
        let handle = fs::File::options().write(true).open(&file).expect("a file");
        handle.set_modified(SystemTime::UNIX_EPOCH + Duration::from_nanos(1)).expect("set");
        says("time (0, 1)");
        fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("set");
        says("mode 600");
        fs::write(&file, "contents").expect("written");
        says("a file of 8 bytes instead of a file of 7 bytes");
        fs::remove_file(&file).expect("removed");
        says("is missing");
        fs::write(directory.path().join("other"), "").expect("written");
        says("should not be there");
    }
}
