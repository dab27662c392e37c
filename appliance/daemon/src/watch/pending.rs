//! Paths that wait until they are left alone.
//!
//! A path is handed out when nothing happened to it for a while: short once who wrote it has closed
//! it, longer while it is open, growing for one that is never left alone, and never longer than some
//! seconds in all. What happens beneath a directory that waits as a whole belongs to that.
//! spec: S-091

use super::Notice;
use farhaul_proto::path_name::RelPath;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::{Duration, Instant};

/// How long a path is left alone before it is looked at.
const QUIET: Duration = Duration::from_millis(50);
/// The same while somebody has it open and writes.
const QUIET_OPEN: Duration = Duration::from_millis(500);
/// What [`QUIET`] grows to for paths that change all the time.
const QUIET_MAX: Duration = Duration::from_millis(3200);
/// A path that is not left alone is looked at after this all the same.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// A file is read for at most one part in so many of the time, whatever is written into it.
const READ_SHARE: u32 = 4;

/// What is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Where.
    pub path: RelPath,
    /// Whether all beneath it as well.
    pub is_tree: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    /// When it began to wait.
    since: Instant,
    /// When it is handed out.
    due: Instant,
    quiet: Duration,
    is_tree: bool,
    is_open: bool,
}

/// Paths that wait, at most as many as it was made for. Where more come, those that lie deepest are
/// looked at by the directory; where that does not help, all of the folder is.
#[derive(Debug)]
pub struct Pending {
    limit: usize,
    entries: BTreeMap<RelPath, Entry>,
    order: BTreeSet<(Instant, RelPath)>,
    /// What was handed out a moment ago: when, and how long it had been left alone.
    warm: BTreeMap<RelPath, (Instant, Duration)>,
}

impl Pending {
    /// For at most `limit` paths, at least one.
    pub fn new(limit: usize) -> Self {
        let (entries, order, warm) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { limit: limit.max(1), entries, order, warm }
    }

    /// How many paths wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes in what happened. Returns whether it is kept: if not, all of the folder is to be looked
    /// at, and nothing waits any more.
    pub fn note(&mut self, notice: &Notice, now: Instant) -> bool {
        match notice {
            Notice::Entry(path) => self.wait_for(path, None, false, now),
            Notice::Written(path) => self.wait_for(path, Some(true), false, now),
            Notice::Closed(path) => self.wait_for(path, Some(false), false, now),
            Notice::Tree(path) => self.wait_for(path, None, true, now),
            Notice::Lost | Notice::Whole => return self.give_up(),
        }
        self.entries.len() <= self.limit || self.coarsen(now) || self.give_up()
    }

    /// A file changed while it was read for `took`.
    pub fn retry(&mut self, path: &RelPath, took: Duration, now: Instant) {
        let reading = took.saturating_mul(READ_SHARE);
        let (_, before) = self.warm.get(path).copied().unwrap_or((now, QUIET));
        self.warm.insert(path.clone(), (now, before.max(reading)));
        self.note(&Notice::Entry(path.clone()), now);
    }

    /// When the next path is due.
    pub fn next(&self) -> Option<Instant> {
        self.order.first().map(|(due, _)| *due)
    }

    /// What is due, at most `max` of it, in path order.
    pub fn take(&mut self, now: Instant, max: usize) -> Vec<Due> {
        let mut due = Vec::new();
        while due.len() < max && self.order.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, path)) = self.order.pop_first() else { break };
            let Some(entry) = self.entries.remove(&path) else { continue };
            self.warm.insert(path.clone(), (now, entry.quiet));
            due.push(Due { path, is_tree: entry.is_tree });
        }
        if self.warm.len() > self.limit {
            self.warm.retain(|_, (taken, quiet)| now < *taken + *quiet * 2);
        }
        due.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        due
    }

    fn wait_for(&mut self, path: &RelPath, open: Option<bool>, is_tree: bool, now: Instant) {
        let above = core::iter::successors(path.parent(), RelPath::parent);
        let mut above = above.filter(|dir| self.entries.get(dir).is_some_and(|dir| dir.is_tree));
        // What is beneath a directory that waits as a whole delays that.
        let path = above.next().unwrap_or_else(|| path.clone());
        let quiet = match self.warm.remove(&path) {
            // It was looked at a moment ago, and is not left alone.
            Some((taken, quiet)) if now < taken + quiet * 2 => {
                (quiet * 2).min(QUIET_MAX.max(quiet))
            }
            _ => QUIET,
        };
        let fresh = Entry { since: now, due: now, quiet, is_tree: false, is_open: false };
        let entry = self.entries.entry(path.clone()).or_insert(fresh);
        self.order.remove(&(entry.due, path.clone()));
        entry.is_tree |= is_tree;
        entry.is_open = open.unwrap_or(entry.is_open);
        let quiet = if entry.is_open { entry.quiet.max(QUIET_OPEN) } else { entry.quiet };
        let longest = entry.since + WAIT_MAX.max(entry.quiet * 2);
        entry.due = (now + quiet).min(longest);
        self.order.insert((entry.due, path.clone()));
        if is_tree {
            self.drop_beneath(&path);
        }
    }

    fn drop_beneath(&mut self, path: &RelPath) {
        let behind = (Bound::Excluded(path.clone()), Bound::Unbounded);
        let beneath = self.entries.range(behind).take_while(|(other, _)| other.starts_with(path));
        let beneath: Vec<RelPath> = beneath.map(|(other, _)| other.clone()).collect();
        for other in beneath {
            if let Some(entry) = self.entries.remove(&other) {
                self.order.remove(&(entry.due, other));
            }
        }
    }

    /// Looks at directories instead of what is in them, the deepest first, until half as many paths
    /// wait as may. Returns whether that came about.
    fn coarsen(&mut self, now: Instant) -> bool {
        while self.entries.len() > self.limit / 2 {
            let deepest = self.entries.keys().map(RelPath::depth).max().unwrap_or(0);
            if deepest <= 1 {
                return self.entries.len() <= self.limit;
            }
            let of_deepest = self.entries.keys().filter(|path| path.depth() == deepest);
            let dirs: BTreeSet<RelPath> = of_deepest.filter_map(RelPath::parent).collect();
            for dir in dirs {
                self.wait_for(&dir, None, true, now);
            }
        }
        true
    }

    fn give_up(&mut self) -> bool {
        self.entries.clear();
        self.order.clear();
        false
    }
}

#[cfg(test)]
mod tests;
