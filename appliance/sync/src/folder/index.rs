//! What a folder's state is kept in: a database in the body, a map in tests and simulations.
//!
//! All methods act within whatever transaction the body has open; what one call wrote the next one
//! reads.

use super::aside::{Aside, Look};
use super::brake::Brake;
use super::item::{Item, Placed};
use super::state::Tombstone;
use crate::message::SealedRun;
use crate::seal::{Hash, Proof, Statement};
use crate::version::{Author, Dot, ManifestId, Serial, Version};
use farhaul_proto::path_name::RelPath;
use farhaul_proto::ranges::RangeSet;

/// The name of a sealed run in an index; given by whoever adds the run, never twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunRef(pub u64);

/// A run as it is kept: what proves the records of it that are still held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRun {
    /// The author's Ed25519 key.
    pub key: [u8; 32],
    /// What was signed.
    pub statement: Statement,
    /// The signature, verified.
    pub signature: [u8; 64],
    /// Number and leaf of each record that came with it.
    pub leaves: Vec<(u16, Hash)>,
    /// What stands for the others.
    pub proof: Proof,
}

/// A version as it is kept.
#[derive(Clone, Copy, Debug)]
pub struct Admitted<'a> {
    /// The version.
    pub version: &'a Version,
    /// Its record's bytes, as they were signed.
    pub record: &'a [u8],
    /// The run that proves it.
    pub run: RunRef,
    /// Its number there.
    pub number: u16,
}

/// Where the conflict copy of a version stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CopyOf {
    /// The path of which it is a version.
    pub origin: RelPath,
    /// Which.
    pub dot: Dot,
}

/// A version that is kept, in the order in which versions came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its arrival number.
    pub seq: u64,
    /// The run that proves it.
    pub run: RunRef,
    /// Its number there.
    pub number: u16,
    /// Its record's bytes.
    pub record: Vec<u8>,
}

/// A folder's state.
pub trait Index {
    /// Why it cannot be read or written: the disk, or what is on it.
    type Error: core::error::Error + 'static;

    /// What is known of a path; empty if nothing is.
    ///
    /// # Errors
    /// The index cannot be read.
    fn item(&self, path: &RelPath) -> Result<Item, Self::Error>;

    /// What stands on disk at a path, as far as is known.
    ///
    /// # Errors
    /// The index cannot be read.
    fn placed(&self, path: &RelPath) -> Result<Option<Placed>, Self::Error>;

    /// At how many paths something stands on disk; not more than `limit` is counted.
    ///
    /// # Errors
    /// The index cannot be read.
    fn standing(&self, limit: u64) -> Result<u64, Self::Error>;

    /// Where a content stands on disk: some of the paths, `limit` at most.
    ///
    /// # Errors
    /// The index cannot be read.
    fn standing_with(
        &self,
        manifest: ManifestId,
        limit: usize,
    ) -> Result<Vec<RelPath>, Self::Error>;

    /// Whether anything live stands beneath a path.
    ///
    /// # Errors
    /// The index cannot be read.
    fn has_children(&self, path: &RelPath) -> Result<bool, Self::Error>;

    /// Paths beneath one at which something live stands: some of them, `limit` at most.
    ///
    /// # Errors
    /// The index cannot be read.
    fn beneath(&self, path: &RelPath, limit: usize) -> Result<Vec<RelPath>, Self::Error>;

    /// Keeps what stands on disk at a path.
    ///
    /// # Errors
    /// The index cannot be written.
    fn set_placed(&mut self, path: &RelPath, placed: Option<&Placed>) -> Result<(), Self::Error>;

    /// Keeps a version, with the next arrival number.
    ///
    /// # Errors
    /// The index cannot be written.
    fn admit(&mut self, path: &RelPath, admitted: Admitted<'_>) -> Result<(), Self::Error>;

    /// Forgets a version that another one covers.
    ///
    /// # Errors
    /// The index cannot be written.
    fn drop_version(&mut self, path: &RelPath, dot: Dot) -> Result<(), Self::Error>;

    /// Forgets several of one path.
    ///
    /// # Errors
    /// The index cannot be written.
    fn drop_versions(&mut self, path: &RelPath, dots: &[Dot]) -> Result<(), Self::Error> {
        dots.iter().try_for_each(|dot| self.drop_version(path, *dot))
    }

    /// A name for the next run.
    ///
    /// # Errors
    /// The index cannot be written.
    fn next_run(&mut self) -> Result<RunRef, Self::Error>;

    /// Keeps a run, and its statement as its author's newest if its head is the highest.
    ///
    /// # Errors
    /// The index cannot be written.
    fn add_run(&mut self, run: RunRef, kept: &KeptRun) -> Result<(), Self::Error>;

    /// How far an author's numbers are known to go.
    ///
    /// # Errors
    /// The index cannot be read.
    fn head(&self, author: Author) -> Result<Option<Serial>, Self::Error>;

    /// The newest statement of an author, as a run without records.
    ///
    /// # Errors
    /// The index cannot be read.
    fn statement(&self, author: Author) -> Result<Option<SealedRun>, Self::Error>;

    /// A run that is kept.
    ///
    /// # Errors
    /// The index cannot be read, or does not hold the run.
    fn run(&self, run: RunRef) -> Result<KeptRun, Self::Error>;

    /// Versions with arrival numbers above `after`, ascending, `limit` at most; none that is not
    /// durable, for they are told (invariant I12).
    ///
    /// # Errors
    /// The index cannot be read.
    fn arrivals(&self, after: u64, limit: usize) -> Result<Vec<Arrival>, Self::Error>;

    /// The highest arrival number that was given and is durable.
    ///
    /// # Errors
    /// The index cannot be read.
    fn last_arrival(&self) -> Result<u64, Self::Error>;

    /// Keeps the next number that this site gives; durable with the transaction.
    ///
    /// # Errors
    /// The index cannot be written.
    fn set_next(&mut self, next: Option<Serial>) -> Result<(), Self::Error>;

    /// Keeps whether something is to be done about a path.
    ///
    /// # Errors
    /// The index cannot be written.
    fn set_unsettled(&mut self, path: &RelPath, unsettled: bool) -> Result<(), Self::Error>;

    /// Paths at which something is to be done, in the order of a walk through the tree: from behind
    /// `after`, `limit` at most.
    ///
    /// # Errors
    /// The index cannot be read.
    fn unsettled_from(
        &self,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<RelPath>, Self::Error>;

    /// What is counted of changes, and what waits ([`Brake`](super::Brake)).
    ///
    /// # Errors
    /// The index cannot be read.
    fn brake(&self) -> Result<Brake, Self::Error>;

    /// Keeps that; durable with the transaction.
    ///
    /// # Errors
    /// The index cannot be written.
    fn set_brake(&mut self, brake: &Brake) -> Result<(), Self::Error>;

    /// Where the conflict copies of a path stand.
    ///
    /// # Errors
    /// The index cannot be read.
    fn copies_of(&self, origin: &RelPath) -> Result<Vec<(RelPath, Dot)>, Self::Error>;

    /// Whether something live is at a path or beneath it, and which conflict copy has its place there:
    /// what is asked of each copy of a path, however many there are.
    ///
    /// # Errors
    /// The index cannot be read.
    fn taken(&self, path: &RelPath) -> Result<(bool, Option<CopyOf>), Self::Error> {
        let item = self.item(path)?;
        let is_live = item.versions.is_live() || item.has_children;
        Ok((is_live, item.copy.map(|(copy, _)| copy)))
    }

    /// Keeps that a path is where a conflict copy stands, or that it is no longer.
    ///
    /// # Errors
    /// The index cannot be written.
    fn set_copy(&mut self, at: &RelPath, copy: Option<&CopyOf>) -> Result<(), Self::Error>;

    /// Where conflict copies stand at all paths that begin with the bytes of `stem`, in one directory.
    ///
    /// # Errors
    /// The index cannot be read.
    fn copies_beginning(&self, stem: &RelPath) -> Result<Vec<CopyOf>, Self::Error>;

    /// What was found at a path and is not taken in yet.
    ///
    /// # Errors
    /// The index cannot be read.
    fn look(&self, path: &RelPath) -> Result<Option<Look>, Self::Error>;

    /// All of that, in the order of a walk through the tree: from behind `after`, `limit` at most.
    ///
    /// # Errors
    /// The index cannot be read.
    fn looks(
        &self,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<(RelPath, Look)>, Self::Error>;

    /// Keeps what was found at a path and is not taken in yet, or forgets it.
    ///
    /// # Errors
    /// The index cannot be written.
    fn set_look(&mut self, path: &RelPath, look: Option<&Look>) -> Result<(), Self::Error>;

    /// Records that are set aside, by the names of their versions: from behind `after`, `limit` at
    /// most.
    ///
    /// # Errors
    /// The index cannot be read.
    fn asides(&self, after: Option<Dot>, limit: usize) -> Result<Vec<Aside>, Self::Error>;

    /// How many records are set aside.
    ///
    /// # Errors
    /// The index cannot be read.
    fn aside_count(&self) -> Result<usize, Self::Error>;

    /// Sets a record aside, or forgets it.
    ///
    /// # Errors
    /// The index cannot be written.
    fn set_aside(&mut self, dot: Dot, aside: Option<&Aside>) -> Result<(), Self::Error>;

    /// Tombstones of paths behind `after`, in the order of a walk through the tree, `limit` at most.
    ///
    /// # Errors
    /// The index cannot be read.
    fn tombstones(
        &self,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<Tombstone>, Self::Error>;

    /// The highest arrival number of a tombstone that was dropped; 0: none was.
    ///
    /// # Errors
    /// The index cannot be read.
    fn floor(&self) -> Result<u64, Self::Error>;

    /// Keeps that a tombstone with this arrival number was dropped.
    ///
    /// # Errors
    /// The index cannot be written.
    fn raise_floor(&mut self, seq: u64) -> Result<(), Self::Error>;

    /// Numbers of this author's own tombstones that were dropped; empty in a new incarnation.
    ///
    /// # Errors
    /// The index cannot be read.
    fn dropped(&self) -> Result<RangeSet, Self::Error>;

    /// Keeps those; durable with the transaction.
    ///
    /// # Errors
    /// The index cannot be written.
    fn set_dropped(&mut self, dropped: &RangeSet) -> Result<(), Self::Error>;
}
