//! What the author of a new version has seen: the one place where contexts come from.

use super::{Author, Content, Context, Dot, Serial, Version, VersionSet};
use crate::limits::CONTEXT_RUNS_MAX;
use core::cmp::Reverse;
use std::collections::BTreeSet;

/// The context of a version that `author` publishes over `shown`, the versions that its user could
/// see at the path. `set` is what the author's index holds of the path at this moment; it may have
/// learned of more than was shown.
///
/// Covered is what was seen, and what holds nothing that could be lost: versions with the very
/// content that was seen, and tombstones. Losers of a conflict that the user did not touch stay
/// (spec: S-004).
pub fn successor_context(set: &VersionSet, shown: &[&Version], author: Author) -> Context {
    let is_seen = |version: &Version| {
        version.content == Content::Gone
            || shown.iter().any(|seen| seen.dot == version.dot || seen.content == version.content)
    };
    let mut context = Context::new();
    let said = shown.iter().copied().filter(|version| version.dot != Dot::NOBODY);
    for version in said.chain(set.iter().filter(|version| is_seen(version))) {
        context.extend(&version.context);
        context.insert(version.dot);
    }
    context.close_gaps(author, set.iter().filter(|held| !is_seen(held)).map(|held| held.dot));
    context
}

/// The context of a tombstone for the conflict copy `loser` alone: what else stands at the path
/// goes on as if nothing had happened (spec: S-013).
pub fn dismissal_context(set: &VersionSet, loser: &Version, author: Author) -> Context {
    let mut context = loser.context.clone();
    context.insert(loser.dot);
    let is_same = |held: &&Version| held.content == loser.content;
    for version in set.iter().filter(is_same) {
        context.extend(&version.context);
        context.insert(version.dot);
    }
    let others = set.iter().filter(|held| !context.contains(held.dot)).map(|held| held.dot);
    let others: Vec<_> = others.collect();
    context.close_gaps(author, others.into_iter());
    context
}

/// The context of what `author` publishes instead of `refused`, which its index does not hold: that
/// version, and what it covers of those that the index holds. All else stays beside it (spec: S-066).
///
/// It has to name what `refused` had seen. Where `refused` was heard that is gone, and a version that
/// covers only `refused` itself would leave nothing there.
pub fn refusal_context(set: &VersionSet, refused: &Version, author: Author) -> Context {
    let mut context = refused.context.clone();
    context.insert(refused.dot);
    for version in set.iter().filter(|held| refused.covers(held)) {
        context.extend(&version.context);
    }
    let others = set.iter().filter(|held| !context.contains(held.dot)).map(|held| held.dot);
    let others: Vec<_> = others.collect();
    context.close_gaps(author, others.into_iter());
    context
}

/// The context with as many runs as a record may have. What goes first are the oldest numbers of
/// which `set` and `shown` hold no version: without them a version that is covered by then may come
/// to stand beside the new one again, and nothing is lost (spec: S-026).
pub fn bounded_context(context: Context, set: &VersionSet, shown: &[&Version]) -> Context {
    if context.runs_len() <= CONTEXT_RUNS_MAX {
        return context;
    }
    let seen: BTreeSet<Dot> = shown.iter().map(|version| version.dot).collect();
    let held: BTreeSet<Dot> = set.iter().map(|version| version.dot).collect();
    let has = |dots: &BTreeSet<Dot>, (author, first, last): (Author, u64, u64)| {
        let dot = |n| Serial::new(n).map(|serial| Dot { author, serial });
        let bounds = dot(first).zip(dot(last));
        bounds.is_some_and(|(first, last)| dots.range(first..=last).next().is_some())
    };
    let mut runs: Vec<_> = context.runs().collect();
    // What was on disk comes first, then what the index holds, then what is newest.
    runs.sort_by_cached_key(|&run| (!has(&seen, run), !has(&held, run), Reverse(run.2), run.0));
    let mut bounded = Context::new();
    for (author, first, last) in runs.into_iter().take(CONTEXT_RUNS_MAX) {
        bounded.insert_run(author, first, last);
    }
    bounded
}
