//! What the leader of a job and those who take part say to each other. Both are absolute: the last
//! one counts, and whoever reconnects says it again (spec: S-230).

use super::giving::{GIVES_MAX, Giving, GivingWire};
use super::plan::{Finding, FindingWire, Question, QuestionWire};
use super::spec::{JobId, Spec, SpecWire};
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::Bytes;
use minicbor::{Decode, Encode};

/// Longest encoding of either. A job of a thousand sites with long paths has room in it.
pub const JOB_MESSAGE_MAX: usize = 1 << 20;
/// Longest reason for a human, in bytes.
const REASON_MAX: usize = 1024;
/// Legs of which an order says what is frozen.
const FROZEN_MAX: usize = 1024;

/// What is said of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobMessage {
    /// By its leader.
    Order(Box<Order>),
    /// To its leader.
    Report(Box<Report>),
    /// What would be done for a job that there is not yet, or for its next run?
    Question(Box<Question>),
    /// The answer to that.
    Finding(Box<Finding>),
}

/// What is to happen with a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// It goes on.
    #[default]
    Run,
    /// It waits.
    Pause,
    /// It is over: nobody does anything more for it.
    Stop,
}

/// What the leader wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What is to be done.
    pub spec: Spec,
    /// Whether.
    pub wish: Wish,
    /// The run that is to come to its end; from 1.
    pub run: u64,
    /// What its sources have frozen for it, as far as they have; by source.
    pub frozen: Vec<(SiteId, Frozen)>,
    /// When it becomes visible, in milliseconds since 1970, once the leader knows.
    pub switch_at: Option<u64>,
    /// What stood before the last switch is to stand again.
    pub back: bool,
    /// Grows with whatever the leader changes: of two orders the higher one counts.
    pub turn: u64,
}

/// What one source froze for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// The hash of all paths, contents and metadata (spec: S-232).
    pub root: [u8; 32],
    /// Files in it.
    pub files: u64,
    /// Their bytes together.
    pub bytes: Bytes,
    /// What of them takes room on the source's disk: holes do not. At most `bytes`.
    pub stored: Bytes,
    /// Whether it is a single file, and no directory.
    pub is_file: bool,
}

impl Frozen {
    /// Whether it is the same tree: how a disk stores it is no part of that.
    pub fn is_same_tree(&self, other: &Self) -> bool {
        Self { stored: other.stored, ..*self } == *other
    }
}

/// How far a site is with its part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SiteState {
    /// It has not begun: something is missing, the reason says what.
    #[default]
    Waiting,
    /// It works.
    Running,
    /// Somebody paused it.
    Paused,
    /// All is there and verified, and not visible yet.
    Staged,
    /// It is done with this run.
    Done,
    /// It cannot go on: the reason says why, and it is tried again where that may help.
    Failed,
}

impl SiteState {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Waiting, Self::Running, Self::Paused, Self::Staged, Self::Done, Self::Failed];

    const fn number(self) -> u8 {
        match self {
            Self::Waiting => 0,
            Self::Running => 1,
            Self::Paused => 2,
            Self::Staged => 3,
            Self::Done => 4,
            Self::Failed => 5,
        }
    }

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Staged => "staged",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// How far a site is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// With which job.
    pub job: JobId,
    /// As of which edit of it.
    pub revision: u64,
    /// In which run.
    pub run: u64,
    /// With what comes from this source; its own id, from a source.
    pub source: SiteId,
    /// How it is.
    pub state: SiteState,
    /// Why, for people.
    pub reason: Option<String>,
    /// Bytes that are there and verified.
    pub done: Bytes,
    /// What is frozen, said by a source.
    pub frozen: Option<Frozen>,
    /// That it is done, said by a target.
    pub receipt: Option<Receipt>,
    /// What it gives to whom at the moment; of a thousand sites at most.
    pub gives: Vec<Giving>,
}

/// What a target signs when it is done (spec: S-233).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// What stands there now.
    pub frozen: Frozen,
    /// Since when, in milliseconds since 1970, by its clock.
    pub at_millis: u64,
    /// Its public key, which its id is the name of.
    pub key: [u8; 32],
    /// Its signature.
    pub signature: [u8; 64],
}

impl Receipt {
    /// What it is signed for.
    pub const PURPOSE: &str = "farhaul receipt v1";

    /// The bytes to sign: of which job and run, from where, what, when. A fixed form.
    pub fn to_sign(
        job: JobId,
        run: u64,
        source: SiteId,
        frozen: &Frozen,
        at_millis: u64,
    ) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16 + 8 + 32 + 32 + 8 + 8 + 1 + 8);
        bytes.extend_from_slice(&job.0);
        bytes.extend_from_slice(&run.to_be_bytes());
        bytes.extend_from_slice(source.as_bytes());
        bytes.extend_from_slice(&frozen.root);
        bytes.extend_from_slice(&frozen.files.to_be_bytes());
        bytes.extend_from_slice(&frozen.bytes.get().to_be_bytes());
        bytes.push(u8::from(frozen.is_file));
        bytes.extend_from_slice(&at_millis.to_be_bytes());
        bytes
    }
}

#[derive(Encode, Decode)]
enum Wire {
    #[n(0)]
    Order {
        #[n(0)]
        spec: SpecWire,
        #[n(1)]
        wish: u8,
        #[n(2)]
        run: u64,
        #[n(3)]
        frozen: Vec<FrozenWire>,
        #[n(4)]
        switch_at: Option<u64>,
        #[n(5)]
        back: bool,
        #[n(6)]
        turn: u64,
    },
    #[n(1)]
    Report {
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        job: [u8; 16],
        #[n(1)]
        revision: u64,
        #[n(2)]
        run: u64,
        #[n(3)]
        #[cbor(with = "crate::cbor::name")]
        source: SiteId,
        #[n(4)]
        state: u8,
        #[n(5)]
        reason: Option<String>,
        #[n(6)]
        done: u64,
        #[n(7)]
        frozen: Option<FrozenWire>,
        #[n(8)]
        receipt: Option<Box<ReceiptWire>>,
        #[n(9)]
        gives: Option<Vec<GivingWire>>,
    },
    #[n(2)]
    Question(#[n(0)] QuestionWire),
    #[n(3)]
    Finding(#[n(0)] FindingWire),
}

#[derive(Encode, Decode)]
struct FrozenWire {
    #[n(0)]
    #[cbor(with = "crate::cbor::name")]
    source: SiteId,
    #[n(1)]
    #[cbor(with = "crate::cbor::name")]
    root: [u8; 32],
    #[n(2)]
    files: u64,
    #[n(3)]
    bytes: u64,
    #[n(4)]
    is_file: bool,
    /// Who kept an order without it takes the length for it.
    #[n(5)]
    stored: Option<u64>,
}

impl FrozenWire {
    fn of(source: SiteId, frozen: &Frozen) -> Self {
        let Frozen { root, files, bytes, stored, is_file } = *frozen;
        Self { source, root, files, bytes: bytes.get(), is_file, stored: Some(stored.get()) }
    }

    fn frozen(&self) -> Frozen {
        let Self { root, files, bytes, is_file, stored, .. } = *self;
        let stored = Bytes::new(stored.map_or(bytes, |stored| stored.min(bytes)));
        Frozen { root, files, bytes: Bytes::new(bytes), stored, is_file }
    }
}

#[derive(Encode, Decode)]
struct ReceiptWire {
    #[n(0)]
    frozen: FrozenWire,
    #[n(1)]
    at_millis: u64,
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    key: [u8; 32],
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    signature: [u8; 64],
}

impl JobMessage {
    /// As it travels and is kept.
    pub fn encode(&self) -> Vec<u8> {
        let wire = match self {
            Self::Order(order) => Wire::Order {
                spec: SpecWire::from(&order.spec),
                wish: match order.wish {
                    Wish::Run => 0,
                    Wish::Pause => 1,
                    Wish::Stop => 2,
                },
                run: order.run,
                frozen: order
                    .frozen
                    .iter()
                    .map(|(source, frozen)| FrozenWire::of(*source, frozen))
                    .collect(),
                switch_at: order.switch_at,
                back: order.back,
                turn: order.turn,
            },
            Self::Report(report) => Wire::Report {
                job: report.job.0,
                revision: report.revision,
                run: report.run,
                source: report.source,
                state: report.state.number(),
                reason: report.reason.clone().map(shortened),
                done: report.done.get(),
                frozen: report.frozen.map(|frozen| FrozenWire::of(report.source, &frozen)),
                receipt: report.receipt.as_ref().map(|receipt| {
                    Box::new(ReceiptWire {
                        frozen: FrozenWire::of(report.source, &receipt.frozen),
                        at_millis: receipt.at_millis,
                        key: receipt.key,
                        signature: receipt.signature,
                    })
                }),
                gives: (!report.gives.is_empty())
                    .then(|| report.gives.iter().take(GIVES_MAX).map(GivingWire::of).collect()),
            },
            Self::Question(question) => Wire::Question(QuestionWire::from(&**question)),
            Self::Finding(finding) => Wire::Finding(FindingWire::from(&**finding)),
        };
        match minicbor::to_vec(&wire) {
            Ok(bytes) => bytes,
            Err(error) => unreachable!("encoding into memory: {error}"),
        }
    }

    /// Reads and checks what came; `None` if it breaks a rule, and its sender is at fault.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > JOB_MESSAGE_MAX {
            return None;
        }
        let mut decoder = minicbor::Decoder::new(bytes);
        let wire: Wire = decoder.decode().ok()?;
        if decoder.position() != bytes.len() {
            return None;
        }
        match wire {
            Wire::Order { spec, wish, run, frozen, switch_at, back, turn } => {
                let spec = spec.check()?;
                let is_known = |one: &FrozenWire| spec.sources.iter().any(|s| s.site == one.source);
                let fits = run > 0 && frozen.len() <= FROZEN_MAX && frozen.iter().all(is_known);
                let frozen = frozen.iter().map(|one| (one.source, one.frozen())).collect();
                let wish = match wish {
                    0 => Wish::Run,
                    1 => Wish::Pause,
                    2 => Wish::Stop,
                    _ => return None,
                };
                let order = Order { spec, wish, run, frozen, switch_at, back, turn };
                fits.then(|| Self::Order(Box::new(order)))
            }
            Wire::Report {
                job,
                revision,
                run,
                source,
                state,
                reason,
                done,
                frozen,
                receipt,
                gives,
            } => {
                let state = SiteState::ALL.get(usize::from(state)).copied()?;
                let gives = gives.unwrap_or_default();
                let fits = gives.len() <= GIVES_MAX;
                let gives = gives.iter().filter_map(GivingWire::giving).collect();
                let reason = reason.as_deref().map(checked).transpose().ok()?;
                let (job, done) = (JobId(job), Bytes::new(done));
                let frozen = frozen.as_ref().map(FrozenWire::frozen);
                let receipt = receipt.map(|wire| Receipt {
                    frozen: wire.frozen.frozen(),
                    at_millis: wire.at_millis,
                    key: wire.key,
                    signature: wire.signature,
                });
                let report = Report {
                    job,
                    revision,
                    run,
                    source,
                    state,
                    reason,
                    done,
                    frozen,
                    receipt,
                    gives,
                };
                fits.then(|| Self::Report(Box::new(report)))
            }
            Wire::Question(wire) => Some(Self::Question(Box::new(wire.check()?))),
            Wire::Finding(wire) => Some(Self::Finding(Box::new(wire.check()?))),
        }
    }
}

/// Whether a character controls a terminal, or the direction in which people read.
fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

/// A reason that came, without what misleads people.
pub(super) fn checked(reason: &str) -> Result<String, TooLong> {
    if reason.len() > REASON_MAX { Err(TooLong) } else { Ok(reason.replace(misleads, "?")) }
}

/// A reason is longer than any may be.
pub(super) struct TooLong;

/// As much of a reason as travels.
pub(super) fn shortened(mut reason: String) -> String {
    let mut end = reason.len().min(REASON_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.truncate(end);
    reason
}
