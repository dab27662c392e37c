//! A folder's state in memory: for simulations and tests.

use super::aside::{Aside, Look};
use super::brake::Brake;
use super::index::{Admitted, Arrival, CopyOf, Index, KeptRun, RunRef};
use super::item::{Item, Placed};
use super::state::Tombstone;
use crate::message::SealedRun;
use crate::reconcile::{Holdings, ListSum, Place, Range, Sum};
use crate::seal::{Proof, leaf};
use crate::version::{Author, Content, Dot, ManifestId, Serial, VersionSet};
use core::convert::Infallible;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::ranges::RangeSet;
use std::collections::{BTreeMap, BTreeSet};

/// A path as a key: what stands beneath a directory follows it.
type Key = Vec<Vec<u8>>;

/// Everything in maps. Cloning it is a snapshot, which is how transactions are rolled back.
#[derive(Clone, Debug, Default)]
pub struct MemoryIndex {
    items: BTreeMap<Key, Kept>,
    runs: BTreeMap<RunRef, KeptRun>,
    words: BTreeMap<Author, SealedRun>,
    arrivals: BTreeMap<u64, (Key, Dot)>,
    unsettled: BTreeSet<Key>,
    copies: BTreeMap<CopyOf, RelPath>,
    looks: BTreeMap<Key, Look>,
    asides: BTreeMap<Dot, Aside>,
    brake: Brake,
    floor: u64,
    dropped: RangeSet,
    last: u64,
    next: Option<Serial>,
}

#[derive(Clone, Debug, Default)]
struct Kept {
    versions: VersionSet,
    /// Arrival number, run, number there and bytes of each version.
    records: BTreeMap<Dot, Arrival>,
    placed: Option<Placed>,
    copy: Option<CopyOf>,
}

fn key(path: &RelPath) -> Key {
    path.components().map(<[u8]>::to_vec).collect()
}

fn path_of(key: &Key) -> RelPath {
    RelPath::parse(&key.join(&b'/')).expect("it came from a path")
}

impl MemoryIndex {
    /// A new one.
    pub fn new() -> Self {
        Self { next: Some(Serial::FIRST), ..Self::default() }
    }

    /// The next number of its author.
    pub const fn next(&self) -> Option<Serial> {
        self.next
    }

    /// Its author has another name from now on, and begins anew.
    pub fn forget_numbers(&mut self) {
        (self.next, self.floor) = (Some(Serial::FIRST), 0);
        self.dropped = RangeSet::new();
    }

    /// The paths at which something is to be done, directories before what is in them.
    pub fn unsettled(&self) -> Vec<RelPath> {
        self.unsettled.iter().map(path_of).collect()
    }

    /// The paths of which anything is known, directories before what is in them.
    pub fn paths(&self) -> Vec<RelPath> {
        self.items.keys().map(path_of).collect()
    }
}

impl MemoryIndex {
    /// Where its records stand, ascending, and their arrival numbers.
    fn held(&self) -> BTreeMap<Place, u64> {
        let records = self.items.iter().flat_map(|(at, kept)| {
            let path = path_of(at);
            let place = move |kept: &Arrival| (Place::of(&path, leaf(&kept.record)), kept.seq);
            kept.records.values().map(place)
        });
        records.collect()
    }
}

impl Holdings for MemoryIndex {
    type Error = Infallible;

    fn buckets(
        &self,
        first: u16,
        last: u16,
        each: &mut dyn FnMut(u16, Sum),
    ) -> Result<(), Infallible> {
        let mut lists: BTreeMap<u16, ListSum> = BTreeMap::new();
        for place in self.held().into_keys() {
            lists.entry(place.bucket()).or_default().add(place);
        }
        lists.range(first..=last).for_each(|(bucket, list)| each(*bucket, list.finish()));
        Ok(())
    }

    fn places(&self, range: Range, each: &mut dyn FnMut(Place, u64)) -> Result<(), Infallible> {
        let (first, last) = range.bounds();
        self.held().range(first..=last).for_each(|(place, seq)| each(*place, *seq));
        Ok(())
    }
}

impl Index for MemoryIndex {
    type Error = Infallible;

    fn item(&self, path: &RelPath) -> Result<Item, Infallible> {
        let has_children = self.has_children(path)?;
        let Some(kept) = self.items.get(&key(path)) else {
            return Ok(Item { has_children, ..Item::default() });
        };
        let copy = kept.copy.as_ref().and_then(|copy| {
            let origin = self.items.get(&key(&copy.origin))?;
            Some((copy.clone(), origin.versions.get(copy.dot)?.clone()))
        });
        let (versions, placed) = (kept.versions.clone(), kept.placed.clone());
        Ok(Item { versions, placed, has_children, copy })
    }

    fn placed(&self, path: &RelPath) -> Result<Option<Placed>, Infallible> {
        Ok(self.items.get(&key(path)).and_then(|kept| kept.placed.clone()))
    }

    fn standing(&self, limit: u64) -> Result<u64, Infallible> {
        let standing = self.items.values().filter(|kept| kept.placed.is_some()).count();
        Ok(limit.min(standing as u64))
    }

    fn standing_with(
        &self,
        manifest: ManifestId,
        limit: usize,
    ) -> Result<Vec<RelPath>, Infallible> {
        let is_that = |kept: &Kept| match kept.placed.as_ref().map(|placed| &placed.version.content)
        {
            Some(Content::File { manifest: stands, .. }) => *stands == manifest,
            _ => false,
        };
        let with = self.items.iter().filter(|(_, kept)| is_that(kept)).take(limit);
        Ok(with.map(|(at, _)| path_of(at)).collect())
    }

    fn has_children(&self, path: &RelPath) -> Result<bool, Infallible> {
        Ok(!self.beneath(path, 1)?.is_empty())
    }

    fn beneath(&self, path: &RelPath, limit: usize) -> Result<Vec<RelPath>, Infallible> {
        let above = key(path);
        let beneath = self.items.range(above.clone()..).skip_while(|(at, _)| **at == above);
        let beneath = beneath.take_while(|(at, _)| at.starts_with(&above));
        let live = beneath.filter(|(_, kept)| kept.versions.is_live()).take(limit);
        Ok(live.map(|(at, _)| path_of(at)).collect())
    }

    fn set_placed(&mut self, path: &RelPath, placed: Option<&Placed>) -> Result<(), Infallible> {
        self.items.entry(key(path)).or_default().placed = placed.cloned();
        Ok(())
    }

    fn admit(&mut self, path: &RelPath, admitted: Admitted<'_>) -> Result<(), Infallible> {
        self.last += 1;
        let Admitted { version, record, run, number } = admitted;
        let arrival = Arrival { seq: self.last, run, number, record: record.to_vec() };
        let kept = self.items.entry(key(path)).or_default();
        kept.versions.insert(version.clone()).expect("its caller found room");
        kept.records.insert(version.dot, arrival);
        self.arrivals.insert(self.last, (key(path), version.dot));
        Ok(())
    }

    fn drop_version(&mut self, path: &RelPath, dot: Dot) -> Result<(), Infallible> {
        let kept = self.items.entry(key(path)).or_default();
        let mut left = VersionSet::new();
        for version in kept.versions.iter().filter(|version| version.dot != dot) {
            left.insert(version.clone()).expect("fewer than before");
        }
        kept.versions = left;
        if let Some(arrival) = kept.records.remove(&dot) {
            self.arrivals.remove(&arrival.seq);
        }
        Ok(())
    }

    fn next_run(&mut self) -> Result<RunRef, Infallible> {
        self.last += 1;
        Ok(RunRef(self.last))
    }

    fn add_run(&mut self, run: RunRef, kept: &KeptRun) -> Result<(), Infallible> {
        let KeptRun { key, statement, signature, .. } = kept.clone();
        let author = statement.author;
        let newer = |word: &SealedRun| word.statement.head >= statement.head;
        if !self.words.get(&author).is_some_and(newer) {
            let (records, proof) = (Vec::new(), Proof::default());
            self.words.insert(author, SealedRun { key, statement, signature, records, proof });
        }
        self.runs.insert(run, kept.clone());
        Ok(())
    }

    fn head(&self, author: Author) -> Result<Option<Serial>, Infallible> {
        Ok(self.words.get(&author).map(|word| word.statement.head))
    }

    fn statement(&self, author: Author) -> Result<Option<SealedRun>, Infallible> {
        Ok(self.words.get(&author).cloned())
    }

    fn run(&self, run: RunRef) -> Result<KeptRun, Infallible> {
        Ok(self.runs.get(&run).cloned().expect("runs are added with their records"))
    }

    fn arrivals(&self, after: u64, limit: usize) -> Result<Vec<Arrival>, Infallible> {
        let later = self.arrivals.range(after.saturating_add(1)..).take(limit);
        let arrival = |(path, dot): &(Key, Dot)| self.items.get(path)?.records.get(dot).cloned();
        Ok(later.filter_map(|(_, place)| arrival(place)).collect())
    }

    fn last_arrival(&self) -> Result<u64, Infallible> {
        Ok(self.last)
    }

    fn set_next(&mut self, next: Option<Serial>) -> Result<(), Infallible> {
        self.next = next;
        Ok(())
    }

    fn set_unsettled(&mut self, path: &RelPath, unsettled: bool) -> Result<(), Infallible> {
        if unsettled {
            self.unsettled.insert(key(path));
        } else {
            self.unsettled.remove(&key(path));
        }
        Ok(())
    }

    fn unsettled_from(
        &self,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<RelPath>, Infallible> {
        let after = after.map(key);
        let behind = |at: &&Key| after.as_ref().is_none_or(|after| *at > after);
        Ok(self.unsettled.iter().filter(behind).take(limit).map(path_of).collect())
    }

    fn brake(&self) -> Result<Brake, Infallible> {
        Ok(self.brake.clone())
    }

    fn set_brake(&mut self, brake: &Brake) -> Result<(), Infallible> {
        // As it is read again.
        self.brake = Brake::decode(&brake.encode()).expect("as it was written");
        Ok(())
    }

    fn copies_of(&self, origin: &RelPath) -> Result<Vec<(RelPath, Dot)>, Infallible> {
        let copies = self.copies.iter().filter(|(copy, _)| copy.origin == *origin);
        Ok(copies.map(|(copy, at)| (at.clone(), copy.dot)).collect())
    }

    fn set_copy(&mut self, at: &RelPath, copy: Option<&CopyOf>) -> Result<(), Infallible> {
        let kept = self.items.entry(key(at)).or_default();
        if let Some(before) = core::mem::replace(&mut kept.copy, copy.cloned()) {
            self.copies.remove(&before);
        }
        if let Some(copy) = copy {
            self.copies.insert(copy.clone(), at.clone());
        }
        Ok(())
    }

    fn copies_beginning(&self, stem: &RelPath) -> Result<Vec<CopyOf>, Infallible> {
        let is_beside = |at: &RelPath| {
            at.parent() == stem.parent() && at.file_name().starts_with(stem.file_name())
        };
        let copies = self.copies.iter().filter(|(_, at)| is_beside(at));
        Ok(copies.map(|(copy, _)| copy.clone()).collect())
    }

    fn look(&self, path: &RelPath) -> Result<Option<Look>, Infallible> {
        Ok(self.looks.get(&key(path)).cloned())
    }

    fn looks(
        &self,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<(RelPath, Look)>, Infallible> {
        let after = after.map(key);
        let behind = |at: &Key| after.as_ref().is_none_or(|after| at > after);
        let looks = self.looks.iter().filter(|(at, _)| behind(at)).take(limit);
        Ok(looks.map(|(at, look)| (path_of(at), look.clone())).collect())
    }

    fn set_look(&mut self, path: &RelPath, look: Option<&Look>) -> Result<(), Infallible> {
        match look {
            Some(look) => self.looks.insert(key(path), look.clone()),
            None => self.looks.remove(&key(path)),
        };
        Ok(())
    }

    fn asides(&self, after: Option<Dot>, limit: usize) -> Result<Vec<Aside>, Infallible> {
        let behind = |dot: &Dot| after.is_none_or(|after| *dot > after);
        let asides = self.asides.iter().filter(|(dot, _)| behind(dot)).take(limit);
        Ok(asides.map(|(_, aside)| aside.clone()).collect())
    }

    fn aside_count(&self) -> Result<usize, Infallible> {
        Ok(self.asides.len())
    }

    fn set_aside(&mut self, dot: Dot, aside: Option<&Aside>) -> Result<(), Infallible> {
        match aside {
            Some(aside) => self.asides.insert(dot, aside.clone()),
            None => self.asides.remove(&dot),
        };
        Ok(())
    }

    fn tombstones(
        &self,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<Tombstone>, Infallible> {
        let after = after.map(key);
        let behind = |at: &Key| after.as_ref().is_none_or(|after| at > after);
        let items = self.items.iter().filter(|(at, _)| behind(at));
        let gone = items.flat_map(|(at, kept)| {
            let gone = kept.versions.iter().filter(|version| !version.is_live());
            gone.filter_map(move |version| {
                let seq = kept.records.get(&version.dot)?.seq;
                Some(Tombstone { path: path_of(at), dot: version.dot, seq })
            })
        });
        Ok(gone.take(limit).collect())
    }

    fn floor(&self) -> Result<u64, Infallible> {
        Ok(self.floor)
    }

    fn raise_floor(&mut self, seq: u64) -> Result<(), Infallible> {
        self.floor = self.floor.max(seq);
        Ok(())
    }

    fn dropped(&self) -> Result<RangeSet, Infallible> {
        Ok(self.dropped.clone())
    }

    fn set_dropped(&mut self, dropped: &RangeSet) -> Result<(), Infallible> {
        self.dropped = dropped.clone();
        Ok(())
    }
}
