//! Writing what is restored to another place than the folder: beneath one directory, whatever names
//! the site gives, and over nothing that stands there. It becomes what a site would put into the
//! folder: with its holes, its metadata and its names, and verified.

use super::super::client::{Client, encoded, of_folder, with_path};
use crate::farhaul::failure::{self, Failure, Kind};
use data_encoding::HEXLOWER;
use farhaul_api::{ItemKind, RestoreItem, RestorePage};
use farhaul_engine::files::Root;
use farhaul_engine::files::dir::{Dir, Meta as DiskMeta};
use farhaul_engine::files::stop::Stop;
use farhaul_files::people::{Directory, NameMap, People, can_travel};
use farhaul_files::{
    Digester, Nowhere, Principals, Subject, Undescribed, describe, digits_of, sparse, sparse::Taker,
};
use farhaul_proto::path_name::RelPath;
use farhaul_sync::chunk::ContentKeys;
use farhaul_sync::record::Record;
use farhaul_sync::seal::FolderKey;
use farhaul_sync::version::{Content, LinkGroup, Meta, Version};
use http_body_util::BodyExt;
use rustix::fs::fsync;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

/// A directory that is written into.
pub(super) struct Aside {
    root: Root,
    keys: ContentKeys,
    principals: People,
    /// Directories that were made here: what stood there before is left as it is.
    made: BTreeSet<RelPath>,
    /// Of those the ones that get their metadata when all is in them.
    dirs: Vec<(RelPath, Meta)>,
    /// Files that may have further names: the first name of each group, and what it says.
    links: BTreeMap<LinkGroup, (RelPath, Version)>,
}

impl Aside {
    /// Into the directory `to`, which is made if it is not there, of what stood in `folder`.
    pub(super) fn open(to: &Path, folder: &str) -> Result<Self, Failure> {
        let at = |error| failure::disk(to.display(), &error);
        std::fs::create_dir_all(to).map_err(at)?;
        let root = Root::open(to)
            .map_err(|error| Failure::new(Kind::Disk, error, "name another directory"))?;
        let principals = people((NameMap::default(), NameMap::default()));
        let keys = ContentKeys::of(&FolderKey::of_id(folder));
        let (made, dirs, links) = (BTreeSet::new(), Vec::new(), BTreeMap::new());
        Ok(Self { root, keys, principals, made, dirs, links })
    }

    /// Whose what comes next becomes: names in versions are those of all sites, which at this one may
    /// be somebody else's.
    pub(super) fn map(&mut self, page: &RestorePage) -> Result<(), Failure> {
        let maps = names("map_users", &page.map_users)
            .and_then(|users| Ok((users, names("map_groups", &page.map_groups)?)));
        let maps = maps.map_err(|why| {
            Failure::new(Kind::Peer, why, "see `map-users` and `map-groups` at the site")
        })?;
        self.principals = people(maps);
        Ok(())
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
        let version = match record_of(item, &path) {
            Ok(version) => version,
            Err(why) => return Ok(Some(why)),
        };
        let made = match version.as_ref().map(|version| &version.content) {
            Some(Content::Gone) => Ok(()),
            Some(Content::Dir) => {
                self.make_dir(&path, version.as_ref().map(|version| &version.meta))
            }
            Some(Content::Symlink { target }) => self.link(&path, target, version.as_ref()),
            Some(Content::File { .. }) | None => {
                return self.file(client, folder, (&path, item), version).await;
            }
        };
        Ok(made.err())
    }

    fn make_dir(&mut self, path: &RelPath, said: Option<&Meta>) -> Result<(), String> {
        self.dir(path, 0o700)?;
        if self.made.contains(path) {
            self.dirs.extend(said.map(|said| (path.clone(), said.clone())));
        }
        Ok(())
    }

    /// Holds a directory; where there is none it is made, and known to have been made here.
    fn dir(&mut self, path: &RelPath, mode: u32) -> Result<Dir, String> {
        let parent = match path.parent() {
            Some(parent) => self.dir(&parent, mode)?,
            None => self.root.dir().clone(),
        };
        match parent.make_dir(path.file_name(), mode) {
            Ok(()) => drop(self.made.insert(path.clone())),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.to_string()),
        }
        self.root.open_dir(path).map_err(|error| error.to_string())
    }

    fn parent(&mut self, path: &RelPath) -> Result<Dir, String> {
        match path.parent() {
            Some(parent) => self.dir(&parent, 0o755),
            None => Ok(self.root.dir().clone()),
        }
    }

    fn link(
        &mut self,
        path: &RelPath,
        target: &[u8],
        version: Option<&Version>,
    ) -> Result<(), String> {
        let parent = self.parent(path)?;
        parent.symlink(target, path.file_name()).map_err(|errno| errno.to_string())?;
        let dated = version.map(|said| parent.set_link_mtime(path.file_name(), said.meta.mtime));
        dated.unwrap_or(Ok(())).map_err(|errno| errno.to_string())
    }

    /// A further name of a file that was written before, if that is what it is and can be.
    fn further_name(&mut self, path: &RelPath, version: &Version) -> Result<bool, String> {
        let first = version.meta.link.and_then(|group| self.links.get(&group));
        let Some((first, _)) = first.filter(|(_, said)| said.is_one_file_with(version)) else {
            return Ok(false);
        };
        let first = first.clone();
        let (to, from) = (self.parent(path)?, self.parent(&first)?);
        // Where there can be no further name it becomes a copy.
        Ok(from.link(first.file_name(), &to, path.file_name()).is_ok())
    }

    async fn file(
        &mut self,
        client: &Client,
        folder: &str,
        (path, item): (&RelPath, &RestoreItem),
        version: Option<Version>,
    ) -> Result<Option<String>, Failure> {
        match version.as_ref().map(|version| self.further_name(path, version)) {
            Some(Ok(true)) => return Ok(None),
            Some(Err(why)) => return Ok(Some(why)),
            Some(Ok(false)) | None => {}
        }
        let parent = match self.parent(path) {
            Ok(parent) => parent,
            Err(why) => return Ok(Some(why)),
        };
        let file = match parent.create_file(path.file_name()) {
            Ok(file) => file,
            Err(errno) => return Ok(Some(errno.to_string())),
        };
        let written = match fetch(client, folder, item, &file).await {
            Ok(written) => written.and_then(|()| self.complete(&file, version.as_ref())),
            Err(failure) => {
                let _ = parent.remove_file(path.file_name());
                return Err(failure);
            }
        };
        if written.is_err() {
            let _ = parent.remove_file(path.file_name());
        } else if let Some(version) = version
            && let Some(group) = version.meta.link
        {
            self.links.entry(group).or_insert_with(|| (path.clone(), version));
        }
        Ok(written.err())
    }

    /// Verifies what was written, and gives it its metadata, durably (spec: S-176).
    fn complete(&self, file: &File, version: Option<&Version>) -> Result<(), String> {
        // What no version speaks of can be compared with nothing.
        let Some(version) = version else {
            return fsync(file).map_err(|errno| errno.to_string());
        };
        let before = DiskMeta::of(file).map_err(|errno| errno.to_string())?;
        let mut digester = Digester::new(&self.keys, Stop::default());
        let came =
            digester.digest(file, &before, &mut Nowhere).map_err(|error| error.to_string())?;
        let came = Content::File { manifest: came.manifest, size: came.size };
        if came != version.content {
            return Err(wrong(&came, &version.content));
        }
        self.principals.learn(&version.meta);
        describe(file, &version.meta, &Subject::Staged(None), &self.principals)
            .and_then(|()| fsync(file).map_err(Undescribed::from))
            .map_err(|why| why.to_string())
    }

    /// Gives directories that were made their metadata, the deepest first, and makes all of it durable.
    /// Gives those that could not have it, with why.
    pub(super) fn finish(self) -> Result<Vec<(RelPath, String)>, Failure> {
        let mut failed = Vec::new();
        for (path, said) in self.dirs.iter().rev() {
            if let Err(why) = self.describe_dir(path, said) {
                failed.push((path.clone(), why));
            }
        }
        let synced = self.root.dir().sync_file_system();
        synced.map_err(|errno| failure::disk("what was restored", &std::io::Error::from(errno)))?;
        Ok(failed)
    }

    fn describe_dir(&self, path: &RelPath, said: &Meta) -> Result<(), String> {
        let dir = self.root.open_dir(path).map_err(|error| error.to_string())?;
        // Its times say when it was made here: none travel.
        let mtime = dir.meta().map_err(|errno| errno.to_string())?.mtime();
        let said = Meta { mtime, ..said.clone() };
        self.principals.learn(&said);
        describe(&dir, &said, &Subject::Staged(None), &self.principals)
            .map_err(|why| why.to_string())
    }
}

fn people(maps: (NameMap, NameMap)) -> People {
    People::new(Directory::of_this_machine(), maps, false)
}

/// A map of names as the site gives it; in words, why it is none.
fn names(what: &str, pairs: &BTreeMap<String, String>) -> Result<NameMap, String> {
    for (said, here) in pairs {
        let is_said = can_travel(said.as_bytes()) || digits_of(said.as_bytes()).is_some();
        if !is_said || !can_travel(here.as_bytes()) {
            return Err(format!("the site gives something else than names in `{what}`"));
        }
    }
    let pairs = pairs.iter().map(|(said, here)| (said.as_bytes().into(), here.as_bytes().into()));
    NameMap::new(pairs).map_err(|_| format!("the site makes two names one in `{what}`"))
}

/// What the site says that stood at a path; `None` where no version says it.
fn record_of(item: &RestoreItem, path: &RelPath) -> Result<Option<Version>, String> {
    let Some(record) = &item.record else {
        let is_said = item.version.as_ref().is_some_and(|said| said.kind != ItemKind::Gone);
        return match is_said {
            true => Err("the site does not tell its version: use its own release".to_owned()),
            false => Ok(None),
        };
    };
    let bytes = HEXLOWER.decode(record.as_bytes()).map_err(|_| "the site gives no record")?;
    let record = Record::decode(&bytes).map_err(|error| error.to_string())?;
    if record.path != *path {
        return Err("the site gives the record of another path".to_owned());
    }
    Ok(Some(record.version))
}

fn wrong(came: &Content, said: &Content) -> String {
    let lens = match (came, said) {
        (Content::File { size: came, .. }, Content::File { size: said, .. }) if came != said => {
            format!(" ({} bytes instead of {})", came.get(), said.get())
        }
        _ => String::new(),
    };
    format!(
        "what came is not what stood there by its hash{lens}: it changed just now, or a disk or a peer \
         gave something else; try again, and see `farhaul folder scrub`"
    )
}

/// Writes what the site has of a file; in words, why not.
async fn fetch(
    client: &Client,
    folder: &str,
    item: &RestoreItem,
    file: &File,
) -> Result<Result<(), String>, Failure> {
    let mut address = with_path(&of_folder(folder, "/content?sparse=true"), "path", &item.path);
    for (name, value) in [("kept", &item.kept), ("gone", &item.gone)] {
        if let Some(value) = value {
            address.push_str(&format!("&{name}={}", encoded(value)));
        }
    }
    let mut body = match client.open(&address).await {
        Ok(body) => body,
        // One that is gone meanwhile is no reason to leave the others.
        Err(failure) if failure.code() == Kind::Usage as u8 => return Ok(Err(failure.to_string())),
        Err(failure) => return Err(failure),
    };
    let mut taker = Taker::default();
    while let Some(frame) = body.frame().await {
        let taken = frame.map_err(|error| error.to_string()).and_then(|frame| {
            let bytes = frame.into_data().unwrap_or_default();
            let mut write = |at, data: &[u8]| sparse::write_data(file, at, data);
            taker.take(&bytes, &mut write).map_err(|error| error.to_string())
        });
        if let Err(why) = taken {
            return Ok(Err(why));
        }
    }
    let Some(size) = taker.size() else {
        return Ok(Err("the site broke off: its log says why".to_owned()));
    };
    Ok(file.set_len(size).map_err(|error| error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use farhaul_proto::units::FileTime;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn path(path: &str) -> RelPath {
        RelPath::parse(path.as_bytes()).expect("a path")
    }

    fn said(mode: u32, owner: Option<&[u8]>) -> Meta {
        Meta {
            mode,
            mtime: FileTime { secs: 0, nanos: 0 },
            owner: owner.map(Into::into),
            group: None,
            attrs: None,
            link: None,
        }
    }

    fn page(users: &[(&str, &str)]) -> RestorePage {
        let pairs = users.iter().map(|(said, here)| ((*said).to_owned(), (*here).to_owned()));
        let (items, next, map_groups) = (Vec::new(), None, BTreeMap::new());
        RestorePage { items, next, map_users: pairs.collect(), map_groups }
    }

    #[test]
    fn directories_that_stand_there_are_left_as_they_are() {
        let to = tempfile::tempdir().expect("a directory");
        fs::create_dir(to.path().join("d")).expect("made");
        fs::set_permissions(to.path().join("d"), Permissions::from_mode(0o711)).expect("own");
        let before = to.path().join("d").metadata().expect("there");
        let mut aside = Aside::open(to.path(), "docs").expect("opened");
        for (name, mode) in [("d", 0o750), ("d/e", 0o705)] {
            aside.make_dir(&path(name), Some(&said(mode, None))).expect("made");
        }
        assert_eq!(aside.finish().expect("durable"), []);
        let after = to.path().join("d").metadata().expect("there");
        assert_eq!(
            (after.mode(), after.uid(), after.gid()),
            (before.mode(), before.uid(), before.gid())
        );
        let made = to.path().join("d/e").metadata().expect("made");
        assert_eq!(made.mode() & 0o7777, 0o705);
    }

    #[test]
    fn a_directory_that_cannot_have_its_metadata_is_named() {
        let to = tempfile::tempdir().expect("a directory");
        let mut aside = Aside::open(to.path(), "docs").expect("opened");
        for name in ["a", "b"] {
            aside.make_dir(&path(name), Some(&said(0o750, None))).expect("made");
        }
        fs::remove_dir(to.path().join("a")).expect("there");
        let failed = aside.finish().expect("durable");
        assert!(failed.len() == 1 && failed[0].0 == path("a"), "{failed:?}");
        assert_eq!(to.path().join("b").metadata().expect("made").mode() & 0o7777, 0o750);
    }

    #[test]
    fn names_are_those_of_the_folder_and_not_those_of_this_machine() {
        let to = tempfile::tempdir().expect("a directory");
        let mut aside = Aside::open(to.path(), "docs").expect("opened");
        aside.map(&page(&[("alice", "root")])).expect("a map");
        for (name, number) in [(&b"alice"[..], Some(0)), (b"root", None)] {
            aside.principals.learn(&said(0, Some(name)));
            assert_eq!(aside.principals.user_id(name), number);
        }
        for bad in [&[("alice", "17")][..], &[("al:ice", "root")], &[("a", "b"), ("c", "b")]] {
            assert!(aside.map(&page(bad)).is_err(), "{bad:?}");
        }
    }
}
