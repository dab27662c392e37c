//! The brake: whether so much is deleted or rewritten in so short a time that a person is to be asked.
//!
//! Counted for each origin apart: this site's own disk, each site that is known by name, and all
//! others together, so that nobody gets past it under many names. What is counted is bounded and
//! durable (spec: S-150).

use core::fmt;
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use std::collections::{BTreeMap, VecDeque};

/// Parts in which a window goes by.
const PARTS: u64 = 10;
/// Paths that are shown of what is held.
const EXAMPLES_MAX: usize = 8;
/// With so many files gone at once, and nothing left, it is one as well.
const ALL_LEAST: u64 = 8;

/// From when on it is a mass change. What counts is a number within a window: alone beyond `most`,
/// and beyond `least` if it is also more than `share` of what stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Percent of all paths.
    pub share: u8,
    /// Fewer files than this never are, but for all that there are.
    pub least: u64,
    /// More always are.
    pub most: u64,
    /// How long a change counts, in milliseconds.
    pub window_millis: u64,
}

impl Default for Limits {
    /// A quarter, from 20 files on, or more than 1000 within 10 minutes.
    fn default() -> Self {
        Self { share: 25, least: 20, most: 1000, window_millis: 600_000 }
    }
}

impl Limits {
    /// How many paths have to be counted at most to tell whether `count` is more than the share of
    /// them.
    pub(super) fn enough(&self, count: u64) -> u64 {
        count.saturating_mul(100).div_ceil(u64::from(self.share.max(1))).saturating_add(1)
    }

    /// Whether `count` changes of `of` paths are a mass change.
    pub(super) fn is_mass(&self, count: u64, of: u64) -> bool {
        let is_large_share = count.saturating_mul(100) > of.saturating_mul(u64::from(self.share));
        count > self.most || (count >= self.least && is_large_share)
    }
}

/// Where a change comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// Found on this site's disk.
    Disk,
    /// Made by a site that is known by name.
    Site(SiteId),
    /// Made by any other site.
    Others,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk => f.write_str("disk"),
            Self::Site(site) => site.fmt(f),
            Self::Others => f.write_str("others"),
        }
    }
}

/// What happens to files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Files and links that go.
    pub deleted: u64,
    /// Those that get another content.
    pub rewritten: u64,
    /// Some of them.
    pub examples: Vec<RelPath>,
    /// Whether nothing stands afterwards.
    pub is_all: bool,
}

impl Load {
    /// Adds one file.
    pub(super) fn add(&mut self, path: &RelPath, is_deleted: bool) {
        if is_deleted {
            self.deleted += 1;
        } else {
            self.rewritten += 1;
        }
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(path.clone());
        }
    }

    /// Of how many.
    pub(super) const fn count(&self) -> u64 {
        self.deleted.saturating_add(self.rewritten)
    }
}

/// A mass change that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trip {
    /// Since when, by this site's clock: milliseconds since 1970.
    pub since_millis: u64,
    /// Files that are to go, with those that went within the window before.
    pub deleted: u64,
    /// Files that are to get another content, counted likewise.
    pub rewritten: u64,
    /// How many of both were not held: they came before there were too many.
    pub passed: u64,
    /// Of so many paths.
    pub of: u64,
    /// Whether nothing would be left.
    pub is_all: bool,
    /// Some of those that are held.
    pub examples: Vec<RelPath>,
}

/// Deletions and rewrites in a part of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    number: u64,
    deleted: u64,
    rewritten: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counted {
    parts: VecDeque<Part>,
    trip: Option<Trip>,
}

impl Trip {
    /// Whether it still is one if `held` files are left of what is held.
    pub(super) fn is_mass(&self, limits: &Limits, held: u64) -> bool {
        let is_all = self.is_all && held >= ALL_LEAST;
        held > 0 && (is_all || limits.is_mass(self.passed.saturating_add(held), self.of))
    }
}

/// What is counted, and what waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brake {
    origins: BTreeMap<Origin, Counted>,
}

impl Brake {
    /// Whether what comes from there waits.
    pub fn is_on(&self, origin: Origin) -> bool {
        self.origins.get(&origin).is_some_and(|counted| counted.trip.is_some())
    }

    /// What waits.
    pub fn trips(&self) -> impl Iterator<Item = (Origin, &Trip)> {
        let trips = self.origins.iter();
        trips.filter_map(|(origin, counted)| Some((*origin, counted.trip.as_ref()?)))
    }

    /// How many files changed within the window, and of them how many went.
    pub(super) fn counted(&self, origin: Origin, limits: &Limits, now_millis: u64) -> (u64, u64) {
        let now = part_of(limits, now_millis);
        let Some(counted) = self.origins.get(&origin) else { return (0, 0) };
        // A clock that was set back makes nothing count for longer than a window.
        let parts = counted.parts.iter().filter(|part| part.number.abs_diff(now) < PARTS);
        parts.fold((0, 0), |(all, gone), part| {
            (all + part.deleted + part.rewritten, gone + part.deleted)
        })
    }

    /// Counts a load that comes at once. `of`: paths that stand, with those that went within the
    /// window. Whether all of it is to wait.
    pub(super) fn weigh(
        &mut self,
        origin: Origin,
        load: &Load,
        of: u64,
        (limits, now_millis): (&Limits, u64),
    ) -> bool {
        if load.count() == 0 {
            return self.is_on(origin);
        }
        let (before, gone_before) = self.counted(origin, limits, now_millis);
        let number = part_of(limits, now_millis);
        let counted = self.origins.entry(origin).or_default();
        counted.parts.retain(|part| part.number.abs_diff(number) < PARTS);
        match counted.parts.iter_mut().find(|part| part.number == number) {
            Some(part) => {
                part.deleted += load.deleted;
                part.rewritten += load.rewritten;
            }
            None => {
                let Load { deleted, rewritten, .. } = *load;
                counted.parts.push_back(Part { number, deleted, rewritten });
            }
        }
        if let Some(trip) = &mut counted.trip {
            trip.deleted += load.deleted;
            trip.rewritten += load.rewritten;
            let room = EXAMPLES_MAX.saturating_sub(trip.examples.len());
            trip.examples.extend(load.examples.iter().take(room).cloned());
            return true;
        }
        let count = before.saturating_add(load.count());
        let is_all = load.is_all && load.deleted >= ALL_LEAST;
        if !is_all && !limits.is_mass(count, of) {
            return false;
        }
        counted.trip = Some(Trip {
            since_millis: now_millis,
            deleted: gone_before + load.deleted,
            rewritten: (before - gone_before) + load.rewritten,
            passed: before,
            of,
            is_all,
            examples: load.examples.clone(),
        });
        true
    }

    /// Keeps of how many paths a trip is, once they were counted to the end.
    pub(super) fn set_of(&mut self, origin: Origin, of: u64) {
        if let Some(trip) = self.origins.get_mut(&origin).and_then(|counted| counted.trip.as_mut())
        {
            trip.of = of;
        }
    }

    /// Lets go what waits, and counts from 0 again. What waited, if anything did.
    pub(super) fn release(&mut self, origin: Origin) -> Option<Trip> {
        self.origins.remove(&origin)?.trip
    }

    /// As it is kept.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORM];
        for (origin, counted) in &self.origins {
            match origin {
                Origin::Disk => bytes.push(0),
                Origin::Others => bytes.push(1),
                Origin::Site(site) => {
                    bytes.push(2);
                    bytes.extend(site.0);
                }
            }
            bytes.push(u8::try_from(counted.parts.len()).unwrap_or(u8::MAX));
            for part in &counted.parts {
                put(&mut bytes, &[part.number, part.deleted, part.rewritten]);
            }
            let Some(trip) = &counted.trip else {
                bytes.push(0);
                continue;
            };
            bytes.push(1);
            put(&mut bytes, &[trip.since_millis, trip.deleted, trip.rewritten]);
            put(&mut bytes, &[trip.passed, trip.of]);
            bytes.push(u8::from(trip.is_all));
            bytes.push(u8::try_from(trip.examples.len()).unwrap_or(u8::MAX));
            for path in &trip.examples {
                put(&mut bytes, &[path.as_bytes().len() as u64]);
                bytes.extend(path.as_bytes());
            }
        }
        bytes
    }

    /// Reads what was kept; `None` if it was not written by this program.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&[FORM])?;
        let mut brake = Self::default();
        while !rest.is_empty() {
            let origin = match byte(&mut rest)? {
                0 => Origin::Disk,
                1 => Origin::Others,
                2 => Origin::Site(SiteId(take(&mut rest, 32)?.try_into().ok()?)),
                _ => return None,
            };
            let mut counted = Counted::default();
            for _ in 0..byte(&mut rest)? {
                let [number, deleted, rewritten] = numbers(&mut rest)?;
                counted.parts.push_back(Part { number, deleted, rewritten });
            }
            counted.trip = match byte(&mut rest)? {
                0 => None,
                1 => Some(read_trip(&mut rest)?),
                _ => return None,
            };
            if brake.origins.last_key_value().is_some_and(|(last, _)| *last >= origin) {
                return None;
            }
            brake.origins.insert(origin, counted);
        }
        Some(brake)
    }
}

/// The form in which it is kept.
const FORM: u8 = 1;

fn read_trip(rest: &mut &[u8]) -> Option<Trip> {
    let [since_millis, deleted, rewritten, passed, of] = numbers(rest)?;
    let is_all = match byte(rest)? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let mut examples = Vec::new();
    for _ in 0..byte(rest)? {
        let [len] = numbers(rest)?;
        examples.push(RelPath::parse(take(rest, usize::try_from(len).ok()?)?).ok()?);
    }
    Some(Trip { since_millis, deleted, rewritten, passed, of, is_all, examples })
}

fn part_of(limits: &Limits, millis: u64) -> u64 {
    millis / (limits.window_millis / PARTS).max(1)
}

fn put(bytes: &mut Vec<u8>, numbers: &[u64]) {
    numbers.iter().for_each(|number| bytes.extend(number.to_be_bytes()));
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    take(rest, 1).map(|bytes| bytes[0])
}

fn numbers<const N: usize>(rest: &mut &[u8]) -> Option<[u64; N]> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = u64::from_be_bytes(take(rest, 8)?.try_into().ok()?);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests;
