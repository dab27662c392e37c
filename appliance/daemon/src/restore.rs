//! What stood at a path at a time, from what was displaced there and what stands now; and, page by
//! page, what brings a tree back to it. It looks and changes nothing.
//!
//! A site has what it displaced itself. Of what a user wrote over or deleted in this tree it only knows
//! that it was: the bytes are kept where the edit arrived, if they are.

use crate::index::{Elsewhere, IndexError, Kept, Reading};
use crate::told;
use farhaul_api::RestoreAction;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::Item;
use farhaul_sync::version::{Content, Context, Meta, Version};
use std::collections::BTreeSet;

/// Paths that are looked at for one page.
pub const PAGE: usize = 256;

/// What stood at a path at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stood<'a> {
    /// Nothing.
    Nothing,
    /// Something that this site does not have: what came next was written over something, and that is
    /// kept where it was displaced.
    Unknown,
    /// What stands there now.
    Still(&'a Version),
    /// What was displaced later.
    Kept(&'a Kept),
    /// What a user of this site wrote over or deleted later.
    Elsewhere(&'a Elsewhere),
}

/// What stood at a path at `at_secs` (since 1970), by the clock of this site and those of authors.
/// `kept` is all that is kept of the path and `elsewhere` all that users of this site wrote over or
/// deleted there, the oldest first.
///
/// What stood is the first thing that went after that time, or what stands now if nothing did; unless it was made later: then there was nothing. Where versions in between were removed
/// because they were too many, it may be that something was.
pub fn stood_at<'a>(
    item: &'a Item,
    kept: &'a [Kept],
    elsewhere: &'a [Elsewhere],
    at_secs: u64,
) -> Stood<'a> {
    let was_made = |version: &Version| version.stamp.millis / 1000 <= at_secs;
    let before = |version: &Version| match version.context == Context::default() {
        true => Stood::Nothing,
        false => Stood::Unknown,
    };
    let mut later = kept.iter().enumerate().filter(|(_, kept)| kept.at_secs > at_secs);
    let kept = later.find(|(at, one)| !is_broken(item, one, &kept[at + 1..]));
    // In the same second what is here comes first.
    let kept_secs = kept.map_or(u64::MAX, |(_, kept)| kept.at_secs);
    let mut gone = elsewhere.iter().filter(|gone| gone.at_secs > at_secs);
    if let Some(gone) = gone.next().filter(|gone| gone.at_secs < kept_secs) {
        return match was_made(&gone.version) {
            true => Stood::Elsewhere(gone),
            false => before(&gone.version),
        };
    }
    if let Some((_, kept)) = kept {
        return match &kept.version {
            Some(version) if !was_made(version) => before(version),
            _ => Stood::Kept(kept),
        };
    }
    match &item.placed {
        Some(placed) if was_made(&placed.version) => Stood::Still(&placed.version),
        Some(placed) => before(&placed.version),
        None => Stood::Nothing,
    }
}

/// Whether what is kept is what a disk or a power cut made of its version: that came back later, with
/// another content (spec: S-103, S-110).
fn is_broken(item: &Item, kept: &Kept, later: &[Kept]) -> bool {
    let Some(version) = &kept.version else { return false };
    let later = later.iter().filter_map(|kept| kept.version.as_ref());
    let standing = item.placed.iter().map(|placed| &placed.version);
    let mut others = later.chain(standing).chain(item.versions.iter());
    others.any(|other| other.dot == version.dot && other.content != version.content)
}

/// What a restore does at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where.
    pub path: RelPath,
    /// What.
    pub action: RestoreAction,
    /// What stood there, if a version says so.
    pub version: Option<Version>,
    /// What is kept of it; `None`: it still stands, or its bytes are not here.
    pub kept: Option<Kept>,
    /// Whether a user of this site wrote over it or deleted it: if it is a file, others are to be
    /// asked for its bytes.
    pub is_elsewhere: bool,
}

/// What is to be brought back, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// At this path and beneath it; `None`: anywhere.
    pub within: Option<RelPath>,
    /// As at this time, in seconds since 1970.
    pub at_secs: u64,
    /// Whether what came later goes.
    pub exact: bool,
}

/// The steps at the next paths behind `after`, and the path to go on behind; `None` at the end.
///
/// # Errors
/// [`IndexError`].
pub fn steps(
    reading: Reading<'_>,
    wish: &Wish,
    after: Option<&RelPath>,
) -> Result<(Vec<Step>, Option<RelPath>), IndexError> {
    let within = wish.within.as_ref();
    let standing = reading.standing(within, after, PAGE)?;
    let mut paths: BTreeSet<RelPath> = standing.iter().map(|one| one.path.clone()).collect();
    let mut horizon = standing.get(PAGE - 1).map(|last| last.path.clone());
    if after.is_none() {
        paths.extend(within.cloned());
    }
    let kept = reading.kept_from(after.or(within), PAGE)?;
    let is_within = |path: &RelPath| within.is_none_or(|within| path.starts_with(within));
    if let Some(last) = kept.get(PAGE - 1).filter(|last| is_within(&last.path)) {
        let nearer = horizon.filter(|horizon| *horizon < last.path);
        horizon = Some(nearer.unwrap_or_else(|| last.path.clone()));
    }
    paths.extend(kept.into_iter().map(|kept| kept.path).filter(|path| is_within(path)));
    let gone = reading.elsewhere_from(after.or(within), PAGE)?;
    if let Some(last) = gone.get(PAGE - 1).filter(|last| is_within(&last.path)) {
        let nearer = horizon.filter(|horizon| *horizon < last.path);
        horizon = Some(nearer.unwrap_or_else(|| last.path.clone()));
    }
    paths.extend(gone.into_iter().map(|gone| gone.path).filter(|path| is_within(path)));
    let mut steps = Vec::new();
    for path in paths.into_iter().take_while(|path| horizon.as_ref().is_none_or(|end| path <= end))
    {
        steps.extend(step(reading, wish, path)?);
    }
    Ok((steps, horizon))
}

fn step(reading: Reading<'_>, wish: &Wish, path: RelPath) -> Result<Option<Step>, IndexError> {
    let item = reading.item(&path)?;
    let (all, gone) = (reading.kept_of(&path)?, reading.elsewhere_of(&path)?);
    let now = item.placed.as_ref().map(|placed| (&placed.version.content, &placed.meta));
    let (action, version, kept) = match stood_at(&item, &all, &gone, wish.at_secs) {
        Stood::Still(version) => (RestoreAction::Same, Some(version), None),
        Stood::Nothing if now.is_none() => return Ok(None),
        Stood::Unknown => (RestoreAction::Unavailable, None, None),
        Stood::Nothing if wish.exact => (RestoreAction::Remove, None, None),
        Stood::Nothing => (RestoreAction::Newer, None, None),
        Stood::Elsewhere(Elsewhere { version, .. }) => (back_to(version, now), Some(version), None),
        Stood::Kept(kept) => match &kept.version {
            None => (RestoreAction::Unavailable, None, Some(kept)),
            Some(version) => match back_to(version, now) {
                RestoreAction::Same => (RestoreAction::Same, Some(version), None),
                action => (action, Some(version), Some(kept)),
            },
        },
    };
    let is_elsewhere = kept.is_none()
        && version.is_some_and(|version| gone.iter().any(|gone| gone.version.dot == version.dot))
        && action != RestoreAction::Same;
    let (version, kept) = (version.cloned(), kept.cloned());
    Ok(Some(Step { path, action, version, kept, is_elsewhere }))
}

/// What brings back at a path what is kept of it under a name, or what a user of this site wrote over
/// or deleted there and [`told::dot`] names; `None`: there is no such thing.
///
/// # Errors
/// [`IndexError`].
pub fn named(reading: Reading<'_>, path: &RelPath, name: &str) -> Result<Option<Step>, IndexError> {
    let placed = reading.item(path)?.placed;
    let now = placed.as_ref().map(|placed| (&placed.version.content, &placed.meta));
    let path = path.clone();
    if let Some(kept) = reading.kept_of(&path)?.into_iter().find(|kept| kept.name == name) {
        let version = kept.version.clone();
        let action = version.as_ref().map_or(RestoreAction::Unavailable, |is| back_to(is, now));
        let kept = Some(kept).filter(|_| action != RestoreAction::Same);
        return Ok(Some(Step { path, action, version, kept, is_elsewhere: false }));
    }
    let gone = reading.elsewhere_of(&path)?.into_iter();
    let gone = gone.map(|gone| gone.version).find(|gone| told::dot(gone.dot) == name);
    Ok(gone.map(|version| {
        let action = back_to(&version, now);
        let is_elsewhere = action != RestoreAction::Same;
        Step { path, action, version: Some(version), kept: None, is_elsewhere }
    }))
}

/// What brings a path back to a version, where `now` stands.
fn back_to(version: &Version, now: Option<(&Content, &Meta)>) -> RestoreAction {
    match now {
        Some(now) if now == (&version.content, &version.meta) => RestoreAction::Same,
        // Whatever is beneath would have to go first.
        Some((Content::Dir, _)) if version.content != Content::Dir => RestoreAction::Unavailable,
        _ => RestoreAction::Restore,
    }
}

#[cfg(test)]
mod tests;
