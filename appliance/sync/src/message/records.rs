//! Records on their way from site to site: parts of sealed runs, with what proves them.
//!
//! A run without records says only how far its author's numbers go: it comes before the first record
//! whose context names one of them (spec: S-023).

use crate::record::{Record, RecordError};
use crate::seal::{FolderKey, Hash, Proof, RUN_MAX, SealError, Statement, leaf, root_of_part};
use crate::version::{Author, Incarnation, Serial};
use farhaul_proto::ids::SiteId;
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};

/// Runs that travel at once.
const RUNS_MAX: usize = 8192;

/// Some records of one run, and what proves that their author signed them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedRun {
    /// The Ed25519 key of the author; its site is the hash of it.
    pub key: [u8; 32],
    /// What the author signed.
    pub statement: Statement,
    /// The signature, not yet verified.
    pub signature: [u8; 64],
    /// Numbers within the run, ascending, and the encoded records.
    pub records: Vec<(u16, Vec<u8>)>,
    /// What stands for the others; nothing if there are no records here at all.
    pub proof: Proof,
}

/// What travels at once (spec: S-053).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// In order.
    pub runs: Vec<SealedRun>,
}

/// Why bytes are no records; who sent them is at fault, for it had to check them before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordsError {
    /// Not the CBOR that is expected here.
    #[error("malformed records")]
    Malformed(#[from] minicbor::decode::Error),
    /// Bytes after the end.
    #[error("bytes after the end of the records")]
    TrailingBytes,
    /// Too many runs.
    #[error("{count} runs at once are refused")]
    Runs {
        /// How many.
        count: usize,
    },
    /// A number is out of its range.
    #[error("a run's {field} is out of range")]
    Range {
        /// Which.
        field: &'static str,
    },
    /// The records are no part of what was signed.
    #[error("a run does not hang together: {0}")]
    Seal(#[from] SealError),
    /// The records are not those that were signed.
    #[error("a run's records are not those that its author signed")]
    Root,
    /// A record breaks a rule.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A record is by somebody else than who signed it, or beyond the numbers that he gave.
    #[error("a run holds a record that its author cannot have written")]
    Author,
}

#[derive(Encode, Decode)]
struct Wire {
    #[n(0)]
    runs: Vec<RunWire>,
}

#[derive(Encode, Decode)]
struct RunWire {
    #[n(0)]
    key: ByteArray<32>,
    #[n(1)]
    #[cbor(with = "crate::cbor::name")]
    site: SiteId,
    #[n(2)]
    incarnation: u64,
    #[n(3)]
    head: u64,
    #[n(4)]
    count: u16,
    #[n(5)]
    #[cbor(with = "crate::cbor::name")]
    root: Hash,
    #[n(6)]
    signature: ByteArray<64>,
    #[n(7)]
    numbers: Vec<u16>,
    #[n(8)]
    records: Vec<ByteVec>,
    #[n(9)]
    #[cbor(with = "crate::cbor::names")]
    proof: Vec<Hash>,
}

impl Records {
    /// The bytes to send.
    pub fn encode(&self) -> Vec<u8> {
        let wire = Wire { runs: self.runs.iter().map(RunWire::of).collect() };
        match minicbor::to_vec(wire) {
            Ok(bytes) => bytes,
            Err(error) => unreachable!("encoding into memory: {error}"),
        }
    }

    /// Reads runs of `folder`. Their signatures are not verified and their records not read.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn decode(bytes: &[u8], folder: FolderKey) -> Result<Self, RecordsError> {
        let mut decoder = minicbor::Decoder::new(bytes);
        let wire: Wire = decoder.decode()?;
        if decoder.position() != bytes.len() {
            return Err(RecordsError::TrailingBytes);
        }
        let count = wire.runs.len();
        if count > RUNS_MAX {
            return Err(RecordsError::Runs { count });
        }
        let runs = wire.runs.into_iter().map(|run| run.check(folder)).collect::<Result<_, _>>()?;
        Ok(Self { runs })
    }
}

impl RunWire {
    fn of(run: &SealedRun) -> Self {
        let Statement { folder: _, author, head, count, root } = run.statement;
        Self {
            key: run.key.into(),
            site: author.site,
            incarnation: author.incarnation.get(),
            head: head.get(),
            count,
            root,
            signature: run.signature.into(),
            numbers: run.records.iter().map(|(number, _)| *number).collect(),
            records: run.records.iter().map(|(_, bytes)| bytes.clone().into()).collect(),
            proof: run.proof.0.clone(),
        }
    }

    fn check(self, folder: FolderKey) -> Result<SealedRun, RecordsError> {
        let author = Author { site: self.site, incarnation: Incarnation::new(self.incarnation) };
        let head = Serial::new(self.head).ok_or(RecordsError::Range { field: "head" })?;
        if !(1..=RUN_MAX).contains(&usize::from(self.count)) {
            return Err(RecordsError::Range { field: "count" });
        }
        if self.numbers.len() != self.records.len() {
            return Err(RecordsError::Range { field: "numbers" });
        }
        if self.numbers.is_empty() && !self.proof.is_empty() {
            return Err(RecordsError::Range { field: "proof" });
        }
        let statement = Statement { folder, author, head, count: self.count, root: self.root };
        let records = self.numbers.into_iter().zip(self.records.into_iter().map(Vec::from));
        Ok(SealedRun {
            key: self.key.into(),
            statement,
            signature: self.signature.into(),
            records: records.collect(),
            proof: Proof(self.proof),
        })
    }
}

impl SealedRun {
    /// What the run holds. Its signature has to be verified first.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn open(&self) -> Result<Vec<Record>, RecordsError> {
        if self.records.is_empty() {
            return Ok(Vec::new());
        }
        let leaves: Vec<(u16, Hash)> =
            self.records.iter().map(|(number, bytes)| (*number, leaf(bytes))).collect();
        if root_of_part(self.statement.count, &leaves, &self.proof)? != self.statement.root {
            return Err(RecordsError::Root);
        }
        let records = self.records.iter().map(|(_, bytes)| {
            let record = Record::decode(bytes)?;
            let dot = record.version.dot;
            let is_own = dot.author == self.statement.author && dot.serial <= self.statement.head;
            if is_own { Ok(record) } else { Err(RecordsError::Author) }
        });
        records.collect()
    }
}
