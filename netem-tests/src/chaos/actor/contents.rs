//! Acts that change what a file holds.
//!
//! A file is read and written by one descriptor, so that it is certain what was destroyed and what
//! was finished, whatever the product puts under the name meanwhile.

use super::Actor;
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Longest pause between two writes into a file.
const PAUSE_MAX: Duration = Duration::from_millis(60);

/// A step of an edit: where which bytes are written.
struct Piece {
    offset: usize,
    bytes: Vec<u8>,
}

impl Actor<'_> {
    /// Bytes that no other content begins with, of mixed lengths: most are small.
    pub(super) fn bytes(&mut self) -> Vec<u8> {
        self.made += 1;
        let head = format!("site {} content {} ", self.site, self.made).into_bytes();
        let len = match self.dice.below(100) {
            0..4 => 0,
            4..70 => self.dice.between(1, 4096),
            70..92 => self.dice.between(4096, 100_000),
            92..99 => self.dice.between(100_000, 600_000),
            _ => self.dice.between(600_000, 3_000_000),
        };
        let seed = self.dice.roll();
        [head, crate::content::bytes(seed, len)].concat()
    }

    /// Writes anew what the file holds, in some pieces.
    pub(super) fn rewrite(&mut self, path: &Path, create: bool) -> io::Result<String> {
        let bytes = if create && self.dice.chance(4) { Vec::new() } else { self.bytes() };
        let pieces = self.cut(&bytes);
        self.edit(path, create, Some(0), |_| pieces)
    }

    pub(super) fn append(&mut self, path: &Path) -> io::Result<String> {
        let bytes = self.bytes();
        self.edit(path, false, None, |before| vec![Piece { offset: before.len(), bytes }])
    }

    /// Overwrites a part in the middle.
    pub(super) fn patch(&mut self, path: &Path) -> io::Result<String> {
        let (bytes, at) = (self.bytes(), self.dice.below(1000));
        self.edit(path, false, None, |before| {
            vec![Piece { offset: before.len() * at / 1000, bytes }]
        })
    }

    /// Cuts the file, and writes something of its own behind what stays.
    pub(super) fn truncate(&mut self, path: &Path) -> io::Result<String> {
        let len = usize::try_from(fs::symlink_metadata(path)?.len()).unwrap_or_default();
        let stays = len * self.dice.below(1000) / 1000;
        self.made += 1;
        let bytes = format!("end {} of site {}", self.made, self.site).into_bytes();
        self.edit(path, false, Some(stays), |_| vec![Piece { offset: stays, bytes }])
    }

    /// Some pieces, one behind the other.
    fn cut(&mut self, bytes: &[u8]) -> Vec<Piece> {
        let len = bytes.len().div_ceil(self.dice.between(1, 4)).max(1);
        let pieces = bytes.chunks(len).enumerate();
        pieces.map(|(n, b)| Piece { offset: n * len, bytes: b.to_vec() }).collect()
    }

    /// Edits a file in place: cut to `stays` bytes if that is given, then piece by piece.
    fn edit(
        &mut self,
        path: &Path,
        create: bool,
        stays: Option<usize>,
        pieces: impl FnOnce(&[u8]) -> Vec<Piece>,
    ) -> io::Result<String> {
        self.claim(path);
        let mut file = open(path, create)?;
        let mut model = read(&mut file)?;
        self.oracle.destroys(&model);
        let pieces = pieces(&model);
        if let Some(stays) = stays {
            model.truncate(stays);
            self.oracle.passes(&model);
            file.set_len(model.len() as u64)?;
        }
        for (n, piece) in pieces.iter().enumerate() {
            if n > 0 {
                thread::sleep(self.dice.span(Duration::ZERO, PAUSE_MAX));
            }
            let end = piece.offset + piece.bytes.len();
            model.resize(model.len().max(end), 0);
            model[piece.offset..end].copy_from_slice(&piece.bytes);
            self.oracle.passes(&model);
            file.write_all_at(&piece.bytes, piece.offset as u64)?;
        }
        if self.dice.chance(20) {
            file.sync_all()?;
        }
        self.finish(path, &mut file, &model)
    }

    /// Tells the oracle what stands in the file now.
    fn finish(&self, path: &Path, file: &mut File, model: &[u8]) -> io::Result<String> {
        if read(file)? != *model {
            let path = self.relative(path).escape_ascii();
            self.oracle.surprise(format!("{path}: somebody else wrote into a file in use"));
        }
        self.oracle.wrote(self.site, self.relative(path), model);
        Ok(format!("{} bytes {}", model.len(), blake3::hash(model)))
    }

    /// As editors save: a temporary file beside it, renamed over it.
    pub(super) fn replace(&mut self, path: &Path) -> io::Result<String> {
        let bytes = self.bytes();
        let temporary = path.with_file_name(format!(".save-{}-{}~", self.site, self.made));
        self.claim(&temporary);
        self.claim(path);
        let mut file = File::options().read(true).write(true).create_new(true).open(&temporary)?;
        for piece in self.cut(&bytes) {
            let end = piece.offset + piece.bytes.len();
            self.oracle.passes(&bytes[..end]);
            file.write_all_at(&piece.bytes, piece.offset as u64)?;
        }
        if self.dice.chance(50) {
            file.sync_all()?;
        }
        if self.dice.chance(30) {
            thread::sleep(self.dice.span(Duration::ZERO, PAUSE_MAX));
        }
        if let Err(error) = self.put_over(&temporary, path) {
            // It would stay for good, as that of an editor that was killed; sometimes it does.
            if self.dice.chance(80) {
                self.delete(&temporary)?;
            }
            return Err(error);
        }
        self.finish(path, &mut file, &bytes)
    }

    /// Renames over what is there, and knows what that was.
    fn put_over(&self, temporary: &Path, path: &Path) -> io::Result<()> {
        let mut old = match open(path, false) {
            Ok(old) => Some(old),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let Some(old) = &mut old else {
            return Ok(renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE)?);
        };
        let before = read(old)?;
        fs::rename(temporary, path)?;
        self.destroyed(path, old, &before)
    }

    /// What was unlinked is what was looked at, unless something else was put there in between.
    fn destroyed(&self, path: &Path, old: &File, before: &[u8]) -> io::Result<()> {
        if old.metadata()?.nlink() == 0 {
            self.oracle.destroys(before);
        } else {
            self.oracle.blind(self.relative(path));
        }
        Ok(())
    }

    /// Deletes a file or a link.
    pub(super) fn delete(&self, path: &Path) -> io::Result<()> {
        if fs::symlink_metadata(path)?.is_symlink() {
            return fs::remove_file(path);
        }
        let mut old = open(path, false)?;
        let before = read(&mut old)?;
        fs::remove_file(path)?;
        self.destroyed(path, &old, &before)
    }

    /// Within a moment (S-01).
    pub(super) fn write_delete_write(&mut self, path: &Path) -> io::Result<String> {
        self.rewrite(path, true)?;
        self.delete(path)?;
        self.rewrite(path, true)
    }

    /// Another file with the same content.
    pub(super) fn copy(&mut self, path: &Path, listing: &super::Listing) -> io::Result<String> {
        let Some(to) = self.place(listing) else { return Ok("no place".to_owned()) };
        let content = read(&mut open(path, false)?)?;
        self.claim(&to);
        self.oracle.passes(&content);
        let mut file = File::options().read(true).write(true).create_new(true).open(&to)?;
        file.write_all_at(&content, 0)?;
        self.finish(&to, &mut file, &content)
    }
}

pub(super) fn open_as(flags: OFlags) -> fs::OpenOptions {
    let mut options = File::options();
    options.read(true).custom_flags(i32::try_from(flags.bits()).unwrap_or_default());
    options
}

pub(super) fn open(path: &Path, create: bool) -> io::Result<File> {
    open_as(OFlags::NOFOLLOW).write(true).create(create).open(path)
}

fn read(file: &mut File) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut content)?;
    Ok(content)
}
