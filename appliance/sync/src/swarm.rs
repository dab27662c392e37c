//! One frozen manifest from one or several origins to many sites: each chunk leaves its origin once
//! and spreads between the sites from then on (spec: S-210).
//!
//! [`Taker`] is what a site does about one job: it hears what its neighbours hold, asks for chunks,
//! offers what its body has verified, and, at an origin, decides which chunk goes out to whom
//! ([`lead`]). [`Giver`] is the queue of what others ask a site for. [`Planner`] is soft state at the
//! coordinator: who shall hear of whom, which origin gives which part, who lies. Without it the
//! takers go on with what they know. None of them does anything itself: `handle(input, now)`, then
//! what `effects` holds; every word of a peer is checked before it counts.

pub mod dice;
pub mod elect;
pub mod endgame;
pub mod giver;
pub mod holders;
pub mod lead;
pub mod peers;
pub mod picker;
pub mod pieces;
pub mod planner;
pub mod set;
pub mod taker;
pub mod words;

#[cfg(test)]
mod tests;

use core::fmt;
use minicbor::{Decode, Encode};

pub use dice::Dice;
pub use giver::{Answer, Giver};
pub use pieces::Pieces;
pub use planner::Planner;
pub use set::ChunkSet;
pub use taker::Taker;

/// Chunks of a manifest at most: a TB in chunks of 64 KiB has 16 million.
pub const CHUNKS_MAX: u32 = 1 << 24;
/// Sites of a job at most.
pub const SITES_MAX: usize = 4096;
/// Neighbours that a site has at most, whoever wants to be one.
pub const NEIGHBOURS_MAX: usize = 64;
/// Neighbours that a site looks for by itself.
pub const NEIGHBOURS_WANTED: usize = 20;
/// Runs in one message at most; more than that is told in several.
pub const RUNS_MAX: usize = 1024;

/// A site's place in the roster of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer(pub u16);

impl Peer {
    /// The place as an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer {}", self.0)
    }
}

/// Chunks that follow each other in the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Run {
    /// The first one.
    #[n(0)]
    pub first: u32,
    /// How many.
    #[n(1)]
    pub len: u32,
}

impl Run {
    /// One chunk.
    pub const fn one(chunk: u32) -> Self {
        Self { first: chunk, len: 1 }
    }

    /// The number after the last one.
    ///
    /// # Errors
    /// If the run is empty or leaves a manifest of `chunks` chunks: whoever said so lies.
    pub fn end(self, chunks: u32) -> Result<u32, OutOfRange> {
        let end = self.first.checked_add(self.len).filter(|end| *end <= chunks && self.len > 0);
        end.ok_or(OutOfRange { run: self, chunks })
    }
}

/// Somebody named chunks that the manifest does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{run:?} is no part of a manifest of {chunks} chunks: whoever names it is set aside")]
pub struct OutOfRange {
    /// What was named.
    pub run: Run,
    /// How many chunks there are.
    pub chunks: u32,
}

/// Bytes of a chunk: all of it, or what one of several holders is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// The chunk.
    pub chunk: u32,
    /// The first byte.
    pub from: u32,
    /// The byte after the last one.
    pub to: u32,
}

impl Part {
    /// How many bytes that is.
    pub fn bytes(self) -> u32 {
        self.to.saturating_sub(self.from)
    }
}

/// What is known of a site before anybody says anything: from the job and the signed roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// Appliances with one label stand behind one WAN link.
    pub label: u16,
    /// Links inside a region are cheaper than those between regions.
    pub region: u16,
    /// Whether it had everything before the job began.
    pub is_origin: bool,
}

/// What a job is about, the same at every site: the lengths of its chunks and its sites.
#[derive(Debug)]
pub struct Terms {
    lengths: Vec<u32>,
    sites: Vec<About>,
}

/// A job that no site takes part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// Too many chunks, or none.
    #[error("a manifest of {0} chunks: 1 to {CHUNKS_MAX} can be spread; cut it into larger ones")]
    Chunks(usize),
    /// Too many sites.
    #[error("a job of {0} sites: at most {SITES_MAX} can take part; make two jobs of it")]
    Sites(usize),
    /// A chunk without bytes.
    #[error("chunk {0} has no bytes: the manifest is damaged, have its source write it anew")]
    Empty(usize),
}

impl Terms {
    /// The terms of a job whose chunks have these lengths in bytes.
    ///
    /// # Errors
    /// If there are too many chunks or sites, no chunk, or an empty one.
    pub fn new(lengths: Vec<u32>, sites: Vec<About>) -> Result<Self, TermsError> {
        let is_countable = u32::try_from(lengths.len()).is_ok_and(|n| n <= CHUNKS_MAX);
        if lengths.is_empty() || !is_countable {
            return Err(TermsError::Chunks(lengths.len()));
        }
        if sites.len() > SITES_MAX {
            return Err(TermsError::Sites(sites.len()));
        }
        match lengths.iter().position(|len| *len == 0) {
            Some(at) => Err(TermsError::Empty(at)),
            None => Ok(Self { lengths, sites }),
        }
    }

    /// How many chunks there are.
    pub fn chunks(&self) -> u32 {
        u32::try_from(self.lengths.len()).unwrap_or(CHUNKS_MAX)
    }

    /// Bytes of a chunk; none of one that does not exist.
    pub fn bytes(&self, chunk: u32) -> u32 {
        self.lengths.get(chunk as usize).copied().unwrap_or(0)
    }

    /// The whole of a chunk.
    pub fn whole(&self, chunk: u32) -> Part {
        Part { chunk, from: 0, to: self.bytes(chunk) }
    }

    /// What is known of a site.
    pub fn about(&self, peer: Peer) -> Option<About> {
        self.sites.get(peer.index()).copied()
    }

    /// All sites, in the order of the roster.
    pub fn sites(&self) -> impl Iterator<Item = (Peer, About)> + '_ {
        (0u16..).map(Peer).zip(self.sites.iter().copied())
    }

    /// What a byte between two sites costs: 0 behind one link, 1 in a region, 2 elsewhere.
    pub fn cost(&self, a: Peer, b: Peer) -> u8 {
        match (self.about(a), self.about(b)) {
            (Some(a), Some(b)) if a.label == b.label => 0,
            (Some(a), Some(b)) if a.region == b.region => 1,
            _ => 2,
        }
    }
}

/// What the coordinator directs a site to do until it says something else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Whom to hear of and to tell.
    pub neighbours: Vec<Peer>,
    /// Who lies, or gives bytes that are something else.
    pub aside: Vec<Peer>,
    /// At an origin: what it gives from now on, besides what it was told before.
    pub part: Vec<Run>,
    /// At an origin: whom it gives to, with the spare uplink of each in bytes per second.
    pub leads: Vec<(Peer, u64)>,
}

/// Why a peer is named to the planner, and to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Fault {
    /// What it gave has another hash.
    #[n(0)]
    BadBytes,
    /// It spoke of what does not exist.
    #[n(1)]
    Nonsense,
    /// It does not give what it said to have.
    #[n(2)]
    Silent,
}
