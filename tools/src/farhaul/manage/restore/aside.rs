//! Writing what is restored to another place than the folder: beneath one directory, whatever names
//! the site gives, and over nothing that stands there.

use super::super::client::{Client, encoded, of_folder, with_path};
use crate::farhaul::failure::{self, Failure, Kind};
use farhaul_api::{ItemKind, RestoreItem, VersionInfo};
use farhaul_engine::files::Root;
use farhaul_engine::files::dir::Dir;
use farhaul_proto::path_name::RelPath;
use http_body_util::BodyExt;
use rustix::fs::{Mode, Timespec, Timestamps, fchmod, fsync, futimens};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Permission bits that are taken over; a set-user-id bit would be the caller's.
const MODE_MASK: u32 = 0o1777;

/// A directory that is written into.
pub(super) struct Aside {
    root: Root,
    /// Directories that get their modes and times when all is in them.
    dirs: Vec<(RelPath, u32)>,
}

impl Aside {
    pub(super) fn open(to: &Path) -> Result<Self, Failure> {
        let at = |error| failure::disk(to.display(), &error);
        std::fs::create_dir_all(to).map_err(at)?;
        let root = Root::open(to)
            .map_err(|error| Failure::new(Kind::Disk, error, "name another directory"))?;
        Ok(Self { root, dirs: Vec::new() })
    }

    /// Writes one path; in words, why it could not be. What breaks the conversation with the site is a
    /// failure of the whole.
    pub(super) async fn write(
        &mut self,
        client: &Client,
        folder: &str,
        item: &RestoreItem,
    ) -> Result<Option<String>, Failure> {
        let path = item.path.to_bytes().ok().and_then(|bytes| RelPath::parse(&bytes).ok());
        let Some(path) = path else { return Ok(Some("the site gives no path".to_owned())) };
        let kind = item.version.as_ref().map_or(ItemKind::File, |version| version.kind);
        let made = match kind {
            ItemKind::Gone => Ok(()),
            ItemKind::Dir => self.make_dir(&path, item.version.as_ref()),
            ItemKind::Link => self.link(&path, item.version.as_ref()),
            ItemKind::File => return self.file(client, folder, (&path, item)).await,
        };
        Ok(made.err())
    }

    fn make_dir(&mut self, path: &RelPath, version: Option<&VersionInfo>) -> Result<(), String> {
        self.root.make_dirs(path, 0o700).map_err(|error| error.to_string())?;
        self.dirs.push((path.clone(), version.map_or(0o755, |version| version.mode)));
        Ok(())
    }

    fn parent(&self, path: &RelPath) -> Result<Dir, String> {
        match path.parent() {
            Some(parent) => self.root.make_dirs(&parent, 0o755).map_err(|error| error.to_string()),
            None => Ok(self.root.dir().clone()),
        }
    }

    fn link(&self, path: &RelPath, version: Option<&VersionInfo>) -> Result<(), String> {
        let target = version.and_then(|version| version.target.as_ref());
        let target = target.and_then(|target| target.to_bytes().ok()).unwrap_or_default();
        let parent = self.parent(path)?;
        parent.symlink(&target, path.file_name()).map_err(|errno| errno.to_string())
    }

    async fn file(
        &self,
        client: &Client,
        folder: &str,
        (path, item): (&RelPath, &RestoreItem),
    ) -> Result<Option<String>, Failure> {
        let mut address = with_path(&of_folder(folder, "/content"), "path", &item.path);
        if let Some(kept) = &item.kept {
            address.push_str(&format!("&kept={}", encoded(kept)));
        }
        let parent = match self.parent(path) {
            Ok(parent) => parent,
            Err(why) => return Ok(Some(why)),
        };
        let mut body = match client.open(&address).await {
            Ok(body) => body,
            // One that is gone meanwhile is no reason to leave the others.
            Err(failure) if failure.code() == Kind::Usage as u8 => {
                return Ok(Some(failure.to_string()));
            }
            Err(failure) => return Err(failure),
        };
        let mut file = match parent.create_file(path.file_name()) {
            Ok(file) => file,
            Err(errno) => return Ok(Some(errno.to_string())),
        };
        let mut written = 0;
        while let Some(frame) = body.frame().await {
            let chunk = frame.map_err(|error| error.to_string());
            let chunk = chunk.map(|frame| frame.into_data().unwrap_or_default());
            let chunk = chunk.and_then(|chunk| {
                written += chunk.len() as u64;
                file.write_all(&chunk).map_err(|error| error.to_string())
            });
            if let Err(why) = chunk {
                let _ = parent.remove_file(path.file_name());
                return Ok(Some(why));
            }
        }
        let is_whole =
            item.version.as_ref().and_then(|v| v.size).is_none_or(|size| size == written);
        let described = match is_whole {
            true => describe(&file, item.version.as_ref()).map_err(|errno| errno.to_string()),
            false => Err(format!("{written} bytes came, which is not its length")),
        };
        if described.is_err() {
            let _ = parent.remove_file(path.file_name());
        }
        Ok(described.err())
    }

    /// Gives directories their modes, the deepest first, and makes all of it durable.
    pub(super) fn finish(self) -> Result<(), Failure> {
        for (path, mode) in self.dirs.iter().rev() {
            // One that is not there any more was taken by somebody else.
            if let Ok(dir) = self.root.open_dir(path) {
                let _ = fchmod(&dir, Mode::from_raw_mode(mode & MODE_MASK));
            }
        }
        self.root
            .dir()
            .sync_file_system()
            .map_err(|errno| failure::disk("what was restored", &std::io::Error::from(errno)))
    }
}

fn describe(file: &File, version: Option<&VersionInfo>) -> rustix::io::Result<()> {
    let Some(version) = version else { return Ok(()) };
    fchmod(file, Mode::from_raw_mode(version.mode & MODE_MASK))?;
    let modified = version.modified.as_ref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    if let Some(modified) = modified {
        // Rounded down, so that the part behind the point is never below zero.
        let nanos = modified.as_nanosecond();
        let time = Timespec {
            tv_sec: i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or(0),
            tv_nsec: i64::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or(0),
        };
        futimens(file, &Timestamps { last_access: time, last_modification: time })?;
    }
    fsync(file)
}
