//! A user of one site: plain calls of the standard library on its tree, chosen by a seed among what
//! it finds there.
//!
//! It knows nothing of the product but the name of its directory, which it leaves alone. It tells
//! the oracle what it makes and what it destroys.

mod contents;
mod metadata;
mod names;

use super::dice::Dice;
use super::oracle::Oracle;
use super::survey::RESERVED;
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Above so many entries more is removed than made.
const ENTRIES_MAX: usize = 220;
/// Directories are not made deeper than this.
const DEPTH_MAX: usize = 4;

/// Names that all sites use, so that they meet; some of them are awkward.
const NAMES: [&[u8]; 16] = [
    b"report.txt",
    b"notes",
    b"photo.jpg",
    b"data.bin",
    b"Makefile",
    b" spaces \t",
    b"invalid\xff\xfe",
    b"new\nline",
    "caf\u{e9}.md".as_bytes(),
    b"-rf",
    b".hidden",
    b"archive.tar.gz",
    b"quote'\"$(x)",
    b"a",
    b"b",
    b"c.conf",
];

/// What actors do, and how often.
const ACTS: [(&str, usize); 25] = [
    ("create", 14),
    ("rewrite", 10),
    ("append", 10),
    ("patch", 6),
    ("truncate", 3),
    ("replace", 14),
    ("delete", 8),
    ("write-delete-write", 4),
    ("rename", 7),
    ("move", 5),
    ("swap", 4),
    ("mkdir", 5),
    ("rename-directory", 4),
    ("remove-tree", 2),
    ("chmod", 5),
    ("link", 4),
    ("age", 3),
    ("attribute", 4),
    ("list-access", 3),
    ("chown", 3),
    ("copy", 2),
    ("file-to-directory", 1),
    ("directory-to-file", 1),
    ("file-to-link", 1),
    ("chmod-directory", 1),
];

/// What an entry of the tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
    Link,
}

/// What stands in a tree, as its user sees it.
#[derive(Debug, Default)]
struct Listing {
    files: Vec<PathBuf>,
    directories: Vec<PathBuf>,
    links: Vec<PathBuf>,
}

impl Listing {
    fn len(&self) -> usize {
        self.files.len() + self.directories.len() + self.links.len()
    }
}

/// A user of one site.
#[derive(Debug)]
pub struct Actor<'a> {
    site: usize,
    root: PathBuf,
    dice: Dice,
    oracle: &'a Oracle,
    /// Contents made so far: no two are equal.
    made: u64,
    /// Whether what is said of files beside their contents is changed by itself.
    metadata: bool,
}

impl<'a> Actor<'a> {
    /// The user of the tree at `root`.
    pub fn new(site: usize, root: &Path, seed: u64, oracle: &'a Oracle) -> Self {
        let dice = Dice::new(seed, 100 + site as u64);
        Self { site, root: root.to_owned(), dice, oracle, made: 0, metadata: true }
    }

    /// Which changes no mode, time, owner, list or attribute of a file by itself.
    #[must_use]
    pub fn without_metadata(self) -> Self {
        Self { metadata: false, ..self }
    }

    /// Does one thing. What it cannot do, because the tree has changed since it looked, is noted.
    ///
    /// # Errors
    /// If the journal cannot be written, or the disk fails.
    pub fn act(&mut self) -> io::Result<()> {
        let listing = self.list()?;
        let mut act = self.choose();
        if listing.len() > ENTRIES_MAX && self.dice.chance(60) {
            act = if self.dice.chance(80) { "delete" } else { "remove-tree" };
        }
        if !self.metadata && matches!(act, "chmod" | "age" | "attribute" | "list-access" | "chown")
        {
            act = "patch";
        }
        let Some(path) = self.subject(act, &listing) else { return Ok(()) };
        let done = self.do_it(act, &path, &listing);
        let result = match done {
            Ok(what) => what,
            Err(error) if is_of_the_disk(&error) => return Err(error),
            Err(error) => format!("refused: {error}"),
        };
        self.oracle.note(self.site, act, self.relative(&path), &result)
    }

    fn choose(&mut self) -> &'static str {
        let all: usize = ACTS.iter().map(|(_, weight)| weight).sum();
        let mut at = self.dice.below(all);
        for (act, weight) in ACTS {
            if at < weight {
                return act;
            }
            at -= weight;
        }
        "create"
    }

    /// What an act is about.
    fn subject(&mut self, act: &str, listing: &Listing) -> Option<PathBuf> {
        let among = match act {
            "create" | "mkdir" | "link" => return self.place(listing),
            "rename-directory" | "remove-tree" | "directory-to-file" | "chmod-directory" => {
                &listing.directories
            }
            "delete" | "rename" if self.dice.chance(10) => &listing.links,
            // Most files are new ones otherwise.
            "replace" if self.dice.chance(20) => return self.place(listing),
            "attribute" | "list-access" | "chown" if self.dice.chance(20) => &listing.directories,
            _ => &listing.files,
        };
        self.dice.pick(among).cloned()
    }

    fn do_it(&mut self, act: &str, path: &Path, listing: &Listing) -> io::Result<String> {
        match act {
            "create" | "rewrite" => self.rewrite(path, act == "create"),
            "append" => self.append(path),
            "patch" => self.patch(path),
            "truncate" => self.truncate(path),
            "replace" => self.replace(path),
            "delete" => self.delete(path).map(|()| "gone".to_owned()),
            "write-delete-write" => self.write_delete_write(path),
            "rename" => self.rename(path),
            "move" => self.move_away(path, listing),
            "swap" => self.swap(path, listing),
            "mkdir" => self.make_directory(path),
            "rename-directory" => self.rename_directory(path, listing),
            "remove-tree" => self.remove_tree(path).map(|()| "gone".to_owned()),
            "chmod" | "chmod-directory" => self.chmod(path),
            "link" => self.link(path),
            "age" => self.age(path),
            "attribute" => self.attribute(path),
            "list-access" => self.list_access(path),
            "chown" => self.chown(path),
            "copy" => self.copy(path, listing),
            "file-to-directory" => self.file_to_directory(path),
            "directory-to-file" => self.directory_to_file(path),
            _ => self.file_to_link(path),
        }
    }

    /// A path in some directory, whether there is something or not.
    fn place(&mut self, listing: &Listing) -> Option<PathBuf> {
        let root = self.root.clone();
        // The top is chosen as often as all other directories together.
        let directory = match self.dice.chance(50) {
            true => root,
            false => self.dice.pick(&listing.directories).cloned().unwrap_or(root),
        };
        Some(directory.join(OsStr::from_bytes(&self.name())))
    }

    fn name(&mut self) -> Vec<u8> {
        match self.dice.below(10) {
            0..6 => self.dice.pick(&NAMES).map(|name| name.to_vec()).unwrap_or_default(),
            6..9 => format!("file-{}", self.dice.below(40)).into_bytes(),
            _ => format!("site-{}-{}", self.site, self.dice.below(1000)).into_bytes(),
        }
    }

    /// As the oracle calls a path.
    fn relative<'p>(&self, path: &'p Path) -> &'p [u8] {
        path.strip_prefix(&self.root).unwrap_or(path).as_os_str().as_bytes()
    }

    fn depth(&self, path: &Path) -> usize {
        path.strip_prefix(&self.root).map_or(0, |beneath| beneath.components().count())
    }

    /// Tells the oracle that this name is one of ours.
    fn claim(&self, path: &Path) {
        self.oracle.names(self.relative(path));
    }

    /// Directories that go away while they are read are as good as empty.
    fn list(&self) -> io::Result<Listing> {
        let mut listing = Listing::default();
        let mut left = vec![self.root.clone()];
        while let Some(directory) = left.pop() {
            let entries = match fs::read_dir(&directory) {
                Err(error) if is_of_the_disk(&error) => return Err(error),
                Err(_) => continue,
                Ok(entries) => entries,
            };
            for entry in entries.flatten() {
                if entry.file_name().as_bytes() == RESERVED && directory == self.root {
                    continue;
                }
                let path = entry.path();
                match entry.file_type().ok().and_then(kind_of) {
                    Some(Kind::File) => listing.files.push(path),
                    Some(Kind::Link) => listing.links.push(path),
                    Some(Kind::Directory) => {
                        left.push(path.clone());
                        listing.directories.push(path);
                    }
                    None => {}
                }
            }
        }
        // The order of a file system is nobody's choice.
        for list in [&mut listing.files, &mut listing.directories, &mut listing.links] {
            list.sort();
        }
        Ok(listing)
    }
}

fn kind_of(kind: fs::FileType) -> Option<Kind> {
    if kind.is_dir() {
        Some(Kind::Directory)
    } else if kind.is_symlink() {
        Some(Kind::Link)
    } else {
        kind.is_file().then_some(Kind::File)
    }
}

/// Whether an error is of the disk or the process, and not of what stands in the tree.
fn is_of_the_disk(error: &io::Error) -> bool {
    let of_it = [Errno::IO, Errno::NOSPC, Errno::ROFS, Errno::DQUOT, Errno::MFILE, Errno::NFILE];
    Errno::from_io_error(error).is_some_and(|errno| of_it.contains(&errno))
}
