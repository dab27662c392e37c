//! A folder's state and what happens to it: the disk was looked at, a peer told something, a task was
//! done. Everything is kept through an [`Index`], within one transaction of it; nothing is remembered
//! here but what is to be sealed before that ends.

mod collect;
mod copies;
mod harm;
mod learn;
mod local;
mod mass;

pub use collect::{Collected, Tombstone};
pub use learn::{ASIDE_MAX, Teller};

mod displaced;
mod forget;
mod refuse;
mod revise;

use super::aside::{Look, Why};
use super::brake::Brake;
use super::index::{Admitted, CopyOf, Index, KeptRun, RunRef};
use super::item::{Found, Item, Placed, Want};
use super::policy::Policy;
use super::publish::{Judged, Observed, Publisher, Unpublished, judge};
use crate::record::Record;
use crate::seal::{FolderKey, Hash, Proof, RUN_MAX, Statement, leaf, root};
use crate::version::{Author, Content, Dot, Meta, Serial, Version};
use copies::copy_on_disk;
use farhaul_proto::path_name::RelPath;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The state of one folder at one site.
#[derive(Debug)]
pub struct FolderState<I> {
    index: I,
    folder: FolderKey,
    publisher: Publisher,
    /// Records of ours that are kept and not signed yet.
    unsealed: Option<Unsealed>,
    policy: Arc<Policy>,
    /// What is counted of changes, once it was needed.
    brake: Option<Brake>,
    /// What others' versions that were taken in since the last weighing do to files here.
    heavy: Vec<mass::Heavy>,
    /// How far authors' numbers were known to go before what was told since then.
    known: BTreeMap<Author, Option<Serial>>,
}

#[derive(Debug)]
struct Unsealed {
    run: RunRef,
    leaves: Vec<Hash>,
}

/// What the body is to do at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Nothing.
    Settled,
    /// The content is right; permissions, times and owners of this version are to be set.
    SetMeta(Version),
    /// This version in place of what the index knows to be there, or of nothing.
    Place(Version),
    /// A directory that nobody describes, in place of what is there. Whoever makes it looks at it
    /// then, and so publishes it (spec: S-014).
    MakeDir,
    /// Nothing in place of what is there.
    Remove,
}

/// What became of what a peer told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Paths of which something new is known.
    pub changed: Vec<RelPath>,
    /// Paths of which a record is set aside ([`super::Aside`]).
    pub aside: Vec<RelPath>,
    /// How many records came to nothing because their author may not publish here (spec: S-140).
    pub refused: usize,
}

/// Why something cannot be taken in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError<E> {
    /// The index cannot be read or written.
    #[error("the index: {0}")]
    Index(E),
    /// As many records are set aside as may be: some of them have to be taken in or refused first.
    #[error(
        "{ASIDE_MAX} records are set aside, and no more are; see why, and accept or refuse them"
    )]
    TooManyAside,
    /// What was ordered cannot be published.
    #[error(transparent)]
    Unpublished(Unpublished),
    /// This site may not publish.
    #[error(
        "this site publishes nothing in this folder, by its role; do it at a site that does, or \
         change `role`"
    )]
    ReadOnly,
    /// Nothing is published before the neighbours were heard (spec: S-024).
    #[error("neighbours are heard first; try again when they were")]
    Listening,
    /// A run does not prove the records that came with it; who calls did not open it.
    #[error("a run does not prove its records")]
    Unproven,
    /// A record names a version whose author has not given that number, as far as is known: who
    /// sent it had to send the author's word first (spec: S-023).
    #[error("a record names a version that its author is not known to have published")]
    Ahead,
    /// A record of ours that this index never wrote: it was rolled back. It needs a new
    /// incarnation (spec: S-056).
    #[error("others hold records of this index that it does not: it was restored from a copy")]
    RolledBack,
}

impl<I: Index> FolderState<I> {
    /// The state that `index` keeps, with the next number that its site gives.
    pub fn new(index: I, folder: FolderKey, publisher: Publisher) -> Self {
        let (policy, heavy, known) = (Arc::default(), Vec::new(), BTreeMap::new());
        Self { index, folder, publisher, unsealed: None, policy, brake: None, heavy, known }
    }

    /// What this site and others may do; without it all may do everything, and nothing is braked.
    #[must_use]
    pub fn under(mut self, policy: &Arc<Policy>) -> Self {
        self.policy = Arc::clone(policy);
        self
    }

    /// Its parts, when a transaction ends: the index to commit, and who publishes from there on. If
    /// it is rolled back, the publisher is that from before.
    pub fn into_parts(self) -> (I, Publisher) {
        (self.index, self.publisher)
    }

    /// What it is kept in.
    pub const fn index(&self) -> &I {
        &self.index
    }

    /// What it is kept in, for what is not this room's business.
    pub const fn index_mut(&mut self) -> &mut I {
        &mut self.index
    }

    /// Who publishes here.
    pub const fn author(&self) -> Author {
        self.publisher.author()
    }

    /// Of which folder.
    pub const fn folder(&self) -> FolderKey {
        self.folder
    }

    /// Takes in what was found at a path; `None`: nothing stands there. Whether something was
    /// published. What cannot be published, or is not to be yet, is remembered ([`Look`]) and the
    /// caller tries it again later (spec: S-024, S-025).
    ///
    /// # Errors
    /// [`StateError::Index`]; what was written to the index is to be rolled back.
    pub fn observe(
        &mut self,
        path: &RelPath,
        found: Option<Found>,
        wall_millis: u64,
    ) -> Result<bool, StateError<I::Error>> {
        let found = found.map(Found::without_noise);
        let before = self.index.look(path).map_err(StateError::Index)?;
        // Who waited to publish dates it by when it was first seen.
        let wall_millis = match &before {
            Some(look) if look.found == found => look.wall_millis,
            _ => wall_millis,
        };
        match self.take_look(path, found.clone(), wall_millis)? {
            Ok(published) => {
                if before.is_some() {
                    self.index.set_look(path, None).map_err(StateError::Index)?;
                }
                Ok(published)
            }
            Err(why) => {
                let look = Look { found, wall_millis, why };
                self.index.set_look(path, Some(&look)).map_err(StateError::Index)?;
                if why == Why::ReadOnly {
                    // What is to stand there may be something else already.
                    self.settle(path)?;
                }
                Ok(false)
            }
        }
    }

    /// Forgets what was found at a path and not taken in: it is no longer what stands there.
    ///
    /// # Errors
    /// [`StateError::Index`].
    pub fn forget_look(&mut self, path: &RelPath) -> Result<(), StateError<I::Error>> {
        self.index.set_look(path, None).map_err(StateError::Index)
    }

    /// The outer error is the index's; the inner one says why nothing was taken in.
    fn take_look(
        &mut self,
        path: &RelPath,
        found: Option<Found>,
        wall_millis: u64,
    ) -> Result<Result<bool, Why>, StateError<I::Error>> {
        let mut item = self.index.item(path).map_err(StateError::Index)?;
        let mut published = false;
        if let Some((copy, loser)) = copy_on_disk(&item) {
            if found.as_ref().is_some_and(|found| found.content == loser.content) {
                let placed = found.map(|Found { content: _, meta, identity }| Placed {
                    version: loser,
                    meta,
                    identity,
                });
                self.index.set_placed(path, placed.as_ref()).map_err(StateError::Index)?;
                // Its mode and times are those of the loser; another one is set back.
                self.settle(path)?;
                return Ok(Ok(false));
            }
            if let Some(why) = self.why_unpublished() {
                return Ok(Err(why));
            }
            // Whoever edits or removes a copy is done with it: what stands there now is a file of
            // its own (spec: S-013).
            if let Err(unpublished) = self.dismiss(&copy, wall_millis)? {
                return Ok(Err(unpublished.into()));
            }
            self.index.set_placed(path, None).map_err(StateError::Index)?;
            item = self.index.item(path).map_err(StateError::Index)?;
            published = true;
        }
        if judge(&item, found.as_ref()) == Judged::New {
            let why = self.why_unpublished().filter(|why| *why == Why::ReadOnly);
            let why = match why {
                None if self.is_braked(item.placed.as_ref(), found.as_ref())? => Some(Why::Braked),
                why => why.or_else(|| self.why_unpublished()),
            };
            if let Some(why) = why {
                return Ok(Err(why));
            }
        }
        let was_live = item.versions.is_live();
        let observed = match self.publisher.observe(&mut item, found, wall_millis) {
            Ok(observed) => observed,
            Err(unpublished) => return Ok(Err(unpublished.into())),
        };
        let placed = item.placed.as_ref();
        match observed {
            Observed::Same | Observed::Adopted(_) => {
                self.index.set_placed(path, placed).map_err(StateError::Index)?;
                self.settle(path)?;
            }
            Observed::Published { version, covered } => {
                published = true;
                // First of all the version: an index need not keep it twice when it is what stands there.
                self.keep_own(path, version, &covered)?;
                self.index.set_placed(path, placed).map_err(StateError::Index)?;
                self.changed(path, was_live)?;
            }
        }
        Ok(Ok(published))
    }

    /// Says that the user is done with a conflict copy (spec: S-013).
    fn dismiss(
        &mut self,
        copy: &CopyOf,
        wall_millis: u64,
    ) -> Result<Result<(), Unpublished>, StateError<I::Error>> {
        let mut item = self.index.item(&copy.origin).map_err(StateError::Index)?;
        let Some(loser) = item.versions.get(copy.dot).cloned() else { return Ok(Ok(())) };
        let was_live = item.versions.is_live();
        let (version, covered) = match self.publisher.dismiss(&mut item, &loser, wall_millis) {
            Ok(dismissed) => dismissed,
            Err(unpublished) => return Ok(Err(unpublished)),
        };
        self.keep_own(&copy.origin, version, &covered)?;
        self.changed(&copy.origin, was_live)?;
        Ok(Ok(()))
    }

    /// Keeps a version of ours; it is signed with the run that it is part of.
    fn keep_own(
        &mut self,
        path: &RelPath,
        version: Version,
        covered: &[Version],
    ) -> Result<(), StateError<I::Error>> {
        let index = &mut self.index;
        let unsealed = match &mut self.unsealed {
            Some(unsealed) => unsealed,
            none => {
                let run = index.next_run().map_err(StateError::Index)?;
                none.insert(Unsealed { run, leaves: Vec::new() })
            }
        };
        let record = Record { path: path.clone(), version };
        let bytes = record.encode();
        let number = u16::try_from(unsealed.leaves.len()).unwrap_or(u16::MAX);
        unsealed.leaves.push(leaf(&bytes));
        let run = unsealed.run;
        let version = &record.version;
        let admitted = Admitted { version, record: &bytes, run, number };
        self.replace(path, admitted, covered)?;
        self.index.set_next(self.publisher.next()).map_err(StateError::Index)
    }

    fn replace(
        &mut self,
        path: &RelPath,
        admitted: Admitted<'_>,
        covered: &[Version],
    ) -> Result<(), StateError<I::Error>> {
        if !covered.is_empty() {
            let dots: Vec<Dot> = covered.iter().map(|version| version.dot).collect();
            self.index.drop_versions(path, &dots).map_err(StateError::Index)?;
        }
        self.index.admit(path, admitted).map_err(StateError::Index)
    }

    /// Whether a run is full: it has to be sealed before anything else is published.
    pub fn is_run_full(&self) -> bool {
        // One look at the disk publishes two records at most.
        self.unsealed.as_ref().is_some_and(|unsealed| unsealed.leaves.len() + 2 > RUN_MAX)
    }

    /// What is to be signed before the transaction ends, if anything was published in it.
    pub fn to_seal(&self) -> Option<Statement> {
        let unsealed = self.unsealed.as_ref()?;
        let author = self.publisher.author();
        let head = match self.publisher.next() {
            Some(next) => Serial::new(next.get() - 1)?,
            None => Serial::new(u64::MAX)?,
        };
        let root = root(&unsealed.leaves).ok()?;
        let count = u16::try_from(unsealed.leaves.len()).ok()?;
        Some(Statement { folder: self.folder, author, head, count, root })
    }

    /// Keeps the signature of what was to be sealed, by the key of this site.
    ///
    /// # Errors
    /// [`StateError::Index`].
    pub fn sealed(
        &mut self,
        key: [u8; 32],
        signature: [u8; 64],
    ) -> Result<(), StateError<I::Error>> {
        let Some(statement) = self.to_seal() else { return Ok(()) };
        let Some(Unsealed { run, leaves }) = self.unsealed.take() else { return Ok(()) };
        let leaves = (0_u16..).zip(leaves).collect();
        let proof = Proof::default();
        let kept = KeptRun { key, statement, signature, leaves, proof };
        self.index.add_run(run, &kept).map_err(StateError::Index)
    }

    /// What is to be done at a path. What costs nothing is done here.
    ///
    /// # Errors
    /// [`StateError::Index`].
    pub fn task(&mut self, path: &RelPath) -> Result<Task, StateError<I::Error>> {
        // Something else stands there than the index knows of. Where somebody told of it meanwhile
        // it is that; else nothing is done before it is published.
        if let Some(look) = self.index.look(path).map_err(StateError::Index)? {
            let item = self.index.item(path).map_err(StateError::Index)?;
            if judge(&item, look.found.as_ref()) != Judged::New {
                self.observe(path, look.found, look.wall_millis)?;
            } else if self.policy.rights.own().publishes() {
                return Ok(Task::Settled);
            } else if self.held_by(path, &item)?.is_none() && self.is_overtaken(&item) {
                self.give_way(path, look)?;
            }
        }
        let item = self.index.item(path).map_err(StateError::Index)?;
        if self.held_by(path, &item)?.is_some() {
            // It stays to be done: once a person has said that it is meant.
            return Ok(Task::Settled);
        }
        let task = match self.allowed(&item) {
            Want::Settled => Task::Settled,
            Want::Adopt(version) => {
                let version = version.clone();
                let adopted = item.placed.clone().map(|placed| Placed { version, ..placed });
                self.index.set_placed(path, adopted.as_ref()).map_err(StateError::Index)?;
                Task::Settled
            }
            Want::SetMeta(version) => Task::SetMeta(version.clone()),
            Want::Place(version) => Task::Place(version.clone()),
            Want::MakeDir => Task::MakeDir,
            Want::Remove => Task::Remove,
        };
        let unsettled = task != Task::Settled;
        self.index.set_unsettled(path, unsettled).map_err(StateError::Index)?;
        Ok(task)
    }

    /// The body put something in place, or took it away.
    ///
    /// # Errors
    /// [`StateError::Index`].
    pub fn placed(
        &mut self,
        path: &RelPath,
        placed: Option<&Placed>,
    ) -> Result<(), StateError<I::Error>> {
        self.index.set_placed(path, placed).map_err(StateError::Index)?;
        self.settle(path)
    }

    /// Keeps whether something is to be done.
    fn settle(&mut self, path: &RelPath) -> Result<(), StateError<I::Error>> {
        let item = self.index.item(path).map_err(StateError::Index)?;
        let unsettled = self.allowed(&item) != Want::Settled;
        self.index.set_unsettled(path, unsettled).map_err(StateError::Index)
    }

    /// What follows from new versions of a path: what is to be done there, at its copies and above.
    fn changed(&mut self, path: &RelPath, was_live: bool) -> Result<(), StateError<I::Error>> {
        self.settle(path)?;
        self.move_copies(path)?;
        let item = self.index.item(path).map_err(StateError::Index)?;
        if item.versions.is_live() == was_live {
            return Ok(());
        }
        self.rename_copies(path)?;
        let mut above = path.parent();
        while let Some(parent) = above {
            self.settle(&parent)?;
            self.move_copies(&parent)?;
            self.rename_copies(&parent)?;
            // What stands there by itself is something live for all above it, whatever is beneath.
            let item = self.index.item(&parent).map_err(StateError::Index)?;
            above = if item.versions.is_live() { None } else { parent.parent() };
        }
        Ok(())
    }
}

impl From<Unpublished> for Why {
    fn from(unpublished: Unpublished) -> Self {
        match unpublished {
            Unpublished::Crowded(_) => Self::Crowded,
            Unpublished::NumbersUsedUp => Self::NumbersUsedUp,
        }
    }
}

impl Publisher {
    /// A tombstone for the conflict copy `loser` of a path, and what it covers.
    fn dismiss(
        &mut self,
        item: &mut Item,
        loser: &Version,
        wall_millis: u64,
    ) -> Result<(Version, Vec<Version>), Unpublished> {
        let context = crate::version::dismissal_context(&item.versions, loser, self.author());
        self.publish_over(item, context, (Content::Gone, Meta::default()), &[], wall_millis)
    }
}

#[cfg(test)]
mod tests;
