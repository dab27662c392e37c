//! Acts that change what things are called, and what kinds of things there are.
//!
//! No rename replaces anything that its actor has not looked at.

use super::{Actor, DEPTH_MAX, Listing};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

impl Actor<'_> {
    /// Another name in the same directory.
    pub(super) fn rename(&mut self, path: &Path) -> io::Result<String> {
        let to = path.with_file_name(OsStr::from_bytes(&self.name()));
        self.go(path, &to)
    }

    /// The same name in another directory.
    pub(super) fn move_away(&mut self, path: &Path, listing: &Listing) -> io::Result<String> {
        let root = self.root.clone();
        let directory = self.dice.pick(&listing.directories).cloned().unwrap_or(root);
        self.go(path, &directory.join(path.file_name().unwrap_or_default()))
    }

    /// Renames, unless something is there.
    fn go(&self, from: &Path, to: &Path) -> io::Result<String> {
        self.claim(to);
        renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?;
        Ok(format!("to {}", self.relative(to).escape_ascii()))
    }

    /// Two files get each other's names (S-16): at once, or by a third name.
    pub(super) fn swap(&mut self, path: &Path, listing: &Listing) -> io::Result<String> {
        let Some(other) = self.dice.pick(&listing.files).cloned() else {
            return Ok("alone".to_owned());
        };
        if other == path {
            return Ok("the same".to_owned());
        }
        self.claim(&other);
        self.claim(path);
        if self.dice.chance(30) {
            renameat_with(CWD, path, CWD, &other, RenameFlags::EXCHANGE)?;
        } else {
            self.made += 1;
            let third = path.with_file_name(format!("swap-{}-{}", self.site, self.made));
            self.go(path, &third)?;
            self.go(&other, path)?;
            self.go(&third, &other)?;
        }
        Ok(format!("with {}", self.relative(&other).escape_ascii()))
    }

    pub(super) fn make_directory(&mut self, path: &Path) -> io::Result<String> {
        if self.depth(path) > DEPTH_MAX {
            return Ok("too deep".to_owned());
        }
        self.claim(path);
        fs::create_dir(path)?;
        Ok("made".to_owned())
    }

    /// A directory with all that is in it, perhaps into another one.
    pub(super) fn rename_directory(
        &mut self,
        path: &Path,
        listing: &Listing,
    ) -> io::Result<String> {
        let root = self.root.clone();
        let parent = match self.dice.chance(50) {
            true => path.parent().map_or(root, Path::to_owned),
            false => self.dice.pick(&listing.directories).cloned().unwrap_or(root),
        };
        if self.depth(&parent) >= DEPTH_MAX {
            return Ok("too deep".to_owned());
        }
        let to = parent.join(OsStr::from_bytes(&self.name()));
        self.go(path, &to)
    }

    /// A directory and what was in it at that time; what comes in meanwhile keeps it.
    pub(super) fn remove_tree(&self, path: &Path) -> io::Result<()> {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                self.remove_tree(&entry.path())?;
            } else {
                self.delete(&entry.path())?;
            }
        }
        fs::remove_dir(path)
    }

    pub(super) fn link(&mut self, path: &Path) -> io::Result<String> {
        self.claim(path);
        self.made += 1;
        let target = match self.dice.chance(50) {
            true => format!("nowhere-{}-{}", self.site, self.made),
            false => "report.txt".to_owned(),
        };
        symlink(&target, path)?;
        Ok(format!("to {target}"))
    }

    pub(super) fn file_to_directory(&mut self, path: &Path) -> io::Result<String> {
        if self.depth(path) > DEPTH_MAX {
            return Ok("too deep".to_owned());
        }
        self.delete(path)?;
        fs::create_dir(path)?;
        self.rewrite(&path.join("inside"), true)
    }

    pub(super) fn directory_to_file(&mut self, path: &Path) -> io::Result<String> {
        self.remove_tree(path)?;
        self.rewrite(path, true)
    }

    pub(super) fn file_to_link(&mut self, path: &Path) -> io::Result<String> {
        self.delete(path)?;
        self.link(path)
    }
}
