//! What a user sees at a path: a pure function of the set of its versions.
//!
//! Nothing here depends on which site asks, on what it had before or on the order in which
//! versions came: all sites that hold the same set show the same names and contents (invariant
//! I1). Comparing versions pairwise cannot promise that: such orders are easily intransitive.

use super::{Content, Version, VersionSet};
use core::cmp::Ordering;
use std::collections::BTreeSet;

/// What stands at the path itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown<'a> {
    /// Nothing.
    Absent,
    /// This version.
    Version(&'a Version),
    /// A directory that nobody describes any more but that something beneath needs.
    ImpliedDir,
}

impl<'a> Shown<'a> {
    /// The version that is shown, if one is.
    pub const fn version(self) -> Option<&'a Version> {
        match self {
            Self::Version(version) => Some(version),
            Self::Absent | Self::ImpliedDir => None,
        }
    }
}

/// What stands at a path, and what stands beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View<'a> {
    /// At the path itself.
    pub shown: Shown<'a>,
    /// Losers of a conflict that hold content which is not shown otherwise, the newest first.
    /// Their names are those of [`super::conflict_name`].
    pub copies: Vec<&'a Version>,
    /// Whether somebody deleted the path without having seen what is shown now.
    pub is_undeleted: bool,
}

/// The view of a path with the versions `set`. `has_children` says that something live stands
/// beneath: then the path is a directory whatever else it was to be, so that no edit is lost
/// because somebody deleted or replaced the directory around it (invariant I5; spec: S-010, S-011).
pub fn view(set: &VersionSet, has_children: bool) -> View<'_> {
    let mut live: Vec<&Version> = set.iter().filter(|version| version.is_live()).collect();
    live.sort_by(|a, b| rank(b, a));
    let is_candidate = |version: &&Version| !has_children || version.content == Content::Dir;
    let winner = live.iter().copied().find(is_candidate);
    let shown = match winner {
        Some(version) => Shown::Version(version),
        None if has_children => Shown::ImpliedDir,
        None => Shown::Absent,
    };
    let copies = copies_of(&live, winner);
    let is_undeleted = shown != Shown::Absent && set.iter().any(|version| !version.is_live());
    View { shown, copies, is_undeleted }
}

/// Losers worth a copy: a directory without children holds nothing, and equal contents are kept
/// once, so that two sites that did the same have no conflict.
fn copies_of<'a>(live: &[&'a Version], winner: Option<&'a Version>) -> Vec<&'a Version> {
    let mut kept: BTreeSet<&Content> = winner.iter().map(|version| &version.content).collect();
    let mut copies: Vec<&Version> = Vec::new();
    for version in live {
        if version.content != Content::Dir && kept.insert(&version.content) {
            copies.push(version);
        }
    }
    copies
}

/// Who wins: the newest by stamp, and where stamps are equal whatever all sites agree on.
fn rank(a: &Version, b: &Version) -> Ordering {
    let key = |version: &Version| (version.stamp, version.dot.author.site);
    key(a).cmp(&key(b)).then_with(|| a.content.cmp(&b.content)).then_with(|| a.cmp(b))
}
