//! The versions of one path of which none covers another: what all sites agree on.
//!
//! Merging is union minus what is covered, hence commutative, associative and idempotent: sites
//! that have heard of the same versions hold the same set, in whatever order they heard. That
//! rests on causality: a version may name in its context only what existed before it, which is
//! checked where versions come in.

use super::{Dot, Version};
use crate::limits::CONCURRENT_MAX;

/// Versions that do not cover each other, ascending (spec: S-002).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionSet {
    versions: Vec<Version>,
}

/// What became of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It was there, or a version that is there covers it.
    Old,
    /// It is there now, in place of those that it covers.
    New {
        /// What it covers, ascending.
        covered: Vec<Version>,
    },
}

impl Inserted {
    /// What was covered.
    pub fn into_covered(self) -> Vec<Version> {
        match self {
            Self::Old => Vec::new(),
            Self::New { covered } => covered,
        }
    }
}

/// More versions of one path than limits allow; the author of the newest is at fault, or too many
/// sites are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a path has {CONCURRENT_MAX} versions that do not cover each other already")]
pub struct TooManyVersions;

impl VersionSet {
    /// No version: the path was never heard of.
    pub const fn new() -> Self {
        Self { versions: Vec::new() }
    }

    /// A set of versions that were one: `None` where one of them covers another.
    pub fn of(mut versions: Vec<Version>) -> Option<Self> {
        versions.sort_unstable();
        let is_twice = versions.windows(2).any(|pair| pair[0] == pair[1]);
        let covers_none = |version: &Version| {
            let is_seen =
                |other: &Version| other.dot != version.dot && version.context.contains(other.dot);
            if version.context.runs_len() > versions.len() {
                return !versions.iter().any(is_seen);
            }
            // They are in the order of their names: each run of the context is a stretch of them.
            version.context.runs().all(|(author, first, last)| {
                let name = |held: &Version| (held.dot.author, held.dot.serial.get());
                let from = versions.partition_point(|held| name(held) < (author, first));
                let within = |held: &&Version| name(held) <= (author, last);
                !versions[from..].iter().take_while(within).any(is_seen)
            })
        };
        let is_one = !is_twice && versions.len() <= CONCURRENT_MAX;
        (is_one && versions.iter().all(covers_none)).then_some(Self { versions })
    }

    /// Takes in a version.
    ///
    /// # Errors
    /// [`TooManyVersions`]; the set is as it was.
    pub fn insert(&mut self, version: Version) -> Result<Inserted, TooManyVersions> {
        if self.versions.iter().any(|held| held.covers(&version)) {
            return Ok(Inserted::Old);
        }
        let is_covered = |held: &Version| version.covers(held);
        let stays = self.versions.iter().filter(|held| !is_covered(held)).count();
        if stays >= CONCURRENT_MAX {
            return Err(TooManyVersions);
        }
        let (covered, mut kept): (Vec<_>, Vec<_>) =
            core::mem::take(&mut self.versions).into_iter().partition(is_covered);
        let place = kept.partition_point(|held| *held < version);
        kept.insert(place, version);
        self.versions = kept;
        Ok(Inserted::New { covered })
    }

    /// Whether there is room for a version that is not in it.
    pub fn has_room_for(&self, version: &Version) -> bool {
        self.versions.len() < CONCURRENT_MAX
            || self.versions.iter().any(|held| version.covers(held))
    }

    /// Takes in all of another set.
    ///
    /// # Errors
    /// [`TooManyVersions`]; part of the other set may have been taken in.
    pub fn merge(&mut self, other: &Self) -> Result<(), TooManyVersions> {
        for version in &other.versions {
            self.insert(version.clone())?;
        }
        Ok(())
    }

    /// The versions, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Version> {
        self.versions.iter()
    }

    /// The version of that name.
    pub fn get(&self, dot: Dot) -> Option<&Version> {
        self.versions.iter().find(|version| version.dot == dot)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.versions.len()
    }

    /// Whether the path was never heard of.
    pub fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// Whether anything stands there.
    pub fn is_live(&self) -> bool {
        self.versions.iter().any(Version::is_live)
    }
}
