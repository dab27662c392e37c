//! Contents from and for peers: what is asked, where it is staged, how it is verified, what is given.

use super::Event;
use super::look::Nowhere;
use crate::scan::Digester;
use crate::site::{GatherSink, Intake, Outbox, Outgoing, Part, PartsSource, Target};
use crate::store::{Ready, Staged};
use farhaul_engine::disk::DiskFile;
use farhaul_engine::files::dir::Meta;
use farhaul_engine::files::stop::Stop;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::chunk::ContentKeys;
use farhaul_sync::seal::FolderKey;
use farhaul_sync::version::{Content, Version};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::sync::mpsc;

/// A file that is asked for.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) path: RelPath,
    pub(super) version: Version,
    pub(super) staged: Staged,
    pub(super) size: u64,
}

/// Files that were asked for together.
pub(super) struct Fetch {
    pub(super) folder: FolderKey,
    pub(super) keys: Arc<ContentKeys>,
    pub(super) wishes: Vec<Wish>,
    /// Whether the peer has each.
    pub(super) given: Vec<bool>,
    pub(super) events: mpsc::Sender<Event>,
}

impl Intake for Fetch {
    fn begin(&mut self, lens: &[Option<u64>]) -> Result<Arc<GatherSink>, String> {
        if lens.len() != self.wishes.len() {
            return Err("it answers other questions than were asked".to_owned());
        }
        let mut targets = Vec::new();
        for (wish, len) in self.wishes.iter().zip(lens) {
            match len {
                Some(len) if *len != wish.size => {
                    return Err(format!("it gives another length of {}", wish.path));
                }
                Some(len) => {
                    let file = wish.staged.file().try_clone();
                    let file = file.map_err(|error| format!("{}: {error}", wish.path))?;
                    let file = Arc::new(DiskFile::new(OwnedFd::from(file)));
                    targets.push(Target::File { file, offset: 0, len: *len });
                }
                None => {}
            }
        }
        self.given = lens.iter().map(Option::is_some).collect();
        Ok(Arc::new(GatherSink::new(targets)))
    }

    fn end(self: Box<Self>, outcome: Result<Option<Arc<GatherSink>>, String>) {
        // Hashing and flushing take a while, and whoever calls carries other things.
        let spawned = std::thread::Builder::new().name("farhaul-verify".to_owned());
        let spawned = spawned.spawn(move || self.verify(&outcome.map(drop)));
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread to verify what came; it is asked for again later");
        }
    }
}

impl Fetch {
    fn verify(self, outcome: &Result<(), String>) {
        let Self { folder, keys, wishes, given, events } = self;
        let mut digester = Digester::new(&keys, Stop::default());
        for (at, wish) in wishes.into_iter().enumerate() {
            let Wish { path, version, staged, .. } = wish;
            let is_given = given.get(at).copied().unwrap_or(false);
            let ready = match outcome {
                Ok(()) if is_given => verified(&mut digester, staged, &version),
                Ok(()) => Err("the peer does not have it".to_owned()),
                Err(why) => Err(why.clone()),
            };
            let version = Box::new(version);
            if events.blocking_send(Event::Fetched { folder, path, version, ready }).is_err() {
                return;
            }
        }
    }
}

/// A content that is here already, at another path or in the version store.
pub(super) struct LocalCopy {
    pub(super) folder: FolderKey,
    pub(super) keys: Arc<ContentKeys>,
    pub(super) wish: Wish,
    pub(super) file: File,
    pub(super) events: mpsc::Sender<Event>,
}

impl LocalCopy {
    /// Runs in a thread of its own. What came is verified like anything else.
    pub(super) fn run(self) {
        let Self { folder, keys, wish, mut file, events } = self;
        let Wish { path, version, staged, .. } = wish;
        let copied = std::io::copy(&mut file, &mut staged.file());
        let ready = match copied {
            Ok(_) => verified(&mut Digester::new(&keys, Stop::default()), staged, &version),
            Err(error) => Err(format!("cannot be copied from here: {error}")),
        };
        let version = Box::new(version);
        let _ = events.blocking_send(Event::Fetched { folder, path, version, ready });
    }
}

/// Nothing is taken from a peer that is not what its author signed.
fn verified(
    digester: &mut Digester<'_>,
    staged: Staged,
    version: &Version,
) -> Result<Ready, String> {
    let before = Meta::of(staged.file()).map_err(|errno| errno.to_string())?;
    let digested = digester.digest(staged.file(), &before, &mut Nowhere);
    let digested = digested.map_err(|error| error.to_string())?;
    let came = Content::File { manifest: digested.manifest, size: digested.size };
    if came != version.content {
        staged.discard();
        return Err("what came is not what its author signed".to_owned());
    }
    staged.finish(&version.meta).map_err(|error| error.to_string())
}

/// Gives files that were found, in the order in which they were asked for.
pub(super) fn give(id: u64, files: Vec<Option<(File, u64)>>, outbox: &Outbox) {
    let mut parts = Vec::new();
    let mut lens = Vec::with_capacity(files.len());
    for file in files {
        lens.push(file.as_ref().map(|(_, len)| *len));
        if let Some((file, len)) = file {
            let file = Arc::new(DiskFile::new(OwnedFd::from(file)));
            parts.push(Part::File { file, offset: 0, len });
        }
    }
    let source = PartsSource::new(parts);
    let _ = outbox.send(Outgoing::Give { id, lens, source });
}

/// For folders that are not here.
pub(super) fn give_nothing(id: u64, count: usize, outbox: &Outbox) {
    give(id, (0..count).map(|_| None).collect(), outbox);
}
