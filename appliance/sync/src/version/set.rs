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
