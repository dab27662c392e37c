//! Small files from peers: many in one question, each verified in memory and staged by itself, so that
//! one that does not come or is not what it should be takes none of the others with it. And contents
//! that are here already, copied.

use super::Event;
use super::contents::Contents;
use super::give::Source;
use super::givers::{Givers, HERE, Picked};
use super::patience::Miss;
use super::question::{Len, MemoryIntake, Parts};
use super::swarm::Swarms;
use crate::index::chunks::Home;
use crate::scan::Digester;
use crate::site::{Opens, Outgoing, Question};
use crate::store::{Ready, Staged, Store};
use farhaul_engine::files::dir::Meta;
use farhaul_engine::files::stop::Stop;
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::Bytes;
use farhaul_sync::chunk::{ContentKeys, Manifest};
use farhaul_sync::message::Wanted;
use farhaul_sync::seal::FolderKey;
use farhaul_sync::version::{Content, ManifestId, Version};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::mpsc;

/// A file that is wanted.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) path: RelPath,
    pub(super) version: Version,
    pub(super) manifest: ManifestId,
    pub(super) size: Bytes,
}

impl Wish {
    /// Who wrote it, and so has it, or had.
    pub(super) const fn author(&self) -> SiteId {
        self.version.dot.author.site
    }
}

/// What all who bring files of a folder share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) folder: FolderKey,
    pub(super) keys: Arc<ContentKeys>,
    pub(super) store: Store,
    pub(super) contents: Contents,
    pub(super) givers: Givers,
    pub(super) swarms: Swarms,
    pub(super) counts: Arc<Counts>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) stop: Stop,
    /// Whoever closes the folder waits until the last of these is gone.
    pub(super) _alive: Alive,
}

/// Held by every thread that works on the folder's disk.
#[derive(Clone)]
pub(super) struct Alive {
    pub(super) _ends: std::sync::mpsc::Sender<()>,
}

/// What was brought since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) received: AtomicU64,
    pub(super) reused: AtomicU64,
    pub(super) resumed: AtomicU64,
    pub(super) given: AtomicU64,
    pub(super) accused: AtomicU64,
}

impl Shared {
    /// Says what became of a wish. Not from within a runtime's own thread.
    pub(super) fn tell(&self, wish: Wish, ready: Result<Ready, String>) {
        let Wish { path, version, .. } = wish;
        let (folder, version) = (self.folder, Box::new(version));
        // If nobody hears it, this site stops: what is staged is taken up when it starts again.
        let _ = self.events.blocking_send(Event::Fetched { folder, path, version, ready });
    }
}

/// Whose a question is: the first to take it deals with what becomes of it, nobody else does.
#[derive(Clone, Debug, Default)]
pub(super) struct Claim(Arc<AtomicBool>);

impl Claim {
    /// Whether somebody took it.
    pub(super) fn is_taken(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Takes it, unless somebody did.
    pub(super) fn take(&self) -> bool {
        !self.0.swap(true, Ordering::SeqCst)
    }
}

/// Asks a peer for small files. What comes of it is told by a thread of its own.
pub(super) fn ask(shared: &Shared, picked: &Picked, wishes: Vec<Wish>, claim: Claim) {
    let wanted = wishes.iter().map(|wish| Wanted::Whole { manifest: wish.manifest }).collect();
    let lens = wishes.iter().map(|wish| Len::Is(wish.size.get())).collect();
    let (folder, from) = (shared.folder, picked.site());
    let arrival = Arrival { shared: shared.clone(), from, wishes, claim };
    let then = Box::new(move |answer| arrival.begin(answer));
    let intake = MemoryIntake::new(lens, picked.came(), then);
    let question = Question::new(Box::new(intake));
    // If it is refused it is dropped, and ends as one that nobody answered.
    let _ = picked.outbox.send(Outgoing::Ask { folder, wanted, question });
}

/// Small files that came together, or did not.
struct Arrival {
    shared: Shared,
    from: SiteId,
    wishes: Vec<Wish>,
    claim: Claim,
}

impl Arrival {
    /// Hashing and flushing take a while, and whoever calls carries other things.
    fn begin(self, answer: Result<Parts, Miss>) {
        if !self.claim.take() {
            return;
        }
        self.shared.givers.answered(self.from);
        let spawned = std::thread::Builder::new().name("farhaul-verify".to_owned());
        if let Err(error) = spawned.spawn(move || self.run(answer)) {
            tracing::error!(%error, "no thread to verify what came");
        }
    }

    fn run(self, answer: Result<Parts, Miss>) {
        let Self { shared, from, wishes, .. } = self;
        let mut parts = answer.map(Vec::into_iter);
        for wish in wishes {
            let part = match &mut parts {
                Ok(parts) => parts.next().flatten().ok_or(Miss::HasNot),
                Err(miss) => Err(miss.clone()),
            };
            let brought = part.and_then(|bytes| {
                shared.counts.received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                let name = Manifest::of(&shared.keys, &bytes).id(&shared.keys);
                if name == wish.manifest { Ok(bytes) } else { Err(Miss::Bad) }
            });
            let ready = match brought {
                Ok(bytes) => {
                    shared.givers.came(wish.manifest, from);
                    let staged = stage(&shared.store, &wish, &bytes);
                    if staged.is_err() {
                        shared.givers.missed(wish.manifest, HERE, &Miss::Bad);
                    }
                    staged
                }
                Err(miss) => {
                    shared.givers.missed(wish.manifest, from, &miss);
                    Err(format!("it did not come from {from}: {miss}"))
                }
            };
            shared.tell(wish, ready);
        }
    }
}

/// Writes verified bytes where the tree takes them from.
fn stage(store: &Store, wish: &Wish, bytes: &[u8]) -> Result<Ready, String> {
    let staged = store.stage(&wish.path, wish.manifest, wish.size, &[]);
    let staged = staged.map_err(|error| error.to_string())?;
    match staged.write_at(bytes, 0) {
        Ok(()) => staged.finish(&wish.version.meta).map_err(|error| error.to_string()),
        Err(error) => {
            staged.discard();
            Err(error.to_string())
        }
    }
}

/// A content that is here already, at another path or in the version store.
pub(super) struct LocalCopy {
    pub(super) shared: Shared,
    pub(super) wish: Wish,
    pub(super) source: Source,
}

impl LocalCopy {
    /// Runs in a thread of its own. What came is verified like anything else.
    pub(super) fn run(self) {
        let Self { shared, wish, source } = self;
        let file = match source.open() {
            Ok(file) => file,
            // It went to the version store, or somebody renamed it: nobody's fault.
            Err(_) if source.has_moved() => {
                let (folder, path) = (shared.folder, wish.path);
                let _ = shared.events.blocking_send(Event::MovedOn { folder, path });
                return;
            }
            Err(error) => return shared.copied(wish, Err(error.to_string())),
        };
        let ready = copy(&shared, &wish, &file);
        shared.copied(wish, ready);
    }
}

impl Shared {
    /// Says what became of a copy.
    fn copied(&self, wish: Wish, ready: Result<Ready, String>) {
        match &ready {
            Ok(_) => {
                self.counts.reused.fetch_add(wish.size.get(), Ordering::Relaxed);
                self.givers.came(wish.manifest, HERE);
            }
            Err(why) => {
                tracing::warn!(path = %wish.path, why, "cannot be copied from here");
                self.givers.missed(wish.manifest, HERE, &Miss::Bad);
            }
        }
        self.tell(wish, ready);
    }
}

fn copy(shared: &Shared, wish: &Wish, mut file: &File) -> Result<Ready, String> {
    let staged = shared.store.stage(&wish.path, wish.manifest, wish.size, &[]);
    let staged = staged.map_err(|error| error.to_string())?;
    match std::io::copy(&mut file, &mut staged.file()) {
        Ok(_) => verified(shared, wish, staged),
        Err(error) => {
            staged.discard();
            Err(error.to_string())
        }
    }
}

fn verified(shared: &Shared, wish: &Wish, staged: Staged) -> Result<Ready, String> {
    let before = Meta::of(staged.file()).map_err(|errno| errno.to_string())?;
    let mut filler = shared.contents.filler();
    let mut digester = Digester::new(&shared.keys, shared.stop.clone());
    let digested = digester.digest(staged.file(), &before, &mut filler);
    let digested = digested.map_err(|error| error.to_string())?;
    let came = Content::File { manifest: digested.manifest, size: digested.size };
    if came != wish.version.content {
        staged.discard();
        return Err("it is not what it was".to_owned());
    }
    filler.done(&Home::Staged(wish.manifest), (wish.manifest, wish.size));
    staged.finish(&wish.version.meta).map_err(|error| error.to_string())
}
