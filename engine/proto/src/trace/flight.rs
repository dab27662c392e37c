//! The flight record: what a session did, ten times a second, as lines of JSON.
//!
//! ```text
//! {"farhaul_flight":2,"agent":"farhaul 0.1.0", ...}             the header, one line
//! {"event":{"at_us":0,"what":{"started":{...}}}}                what happened
//! {"sample":{"at_us":100000,"span_us":100000,"sent":..., ...}}  what was measured since the last
//! ```
//! Times are microseconds since the session began and never go back. Every field of a sample that
//! counts is a count since the sample before; what is a state (round trip, rate, phase, limit) is
//! the state at its end. A pause in which nothing moved has no samples. Readers refuse a version,
//! a field or an event that they do not know: see [`Flight::parse`]. Reading and writing files is
//! the body's.

mod parse;
mod recorder;
#[cfg(test)]
mod tests;

use super::{Closed, Limit, Way};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;

pub use parse::{FlightError, FlightReader};
pub use recorder::{Recorder, event_of};

/// The version of the format. It changes with every change that an older reader would refuse.
pub const VERSION: u32 = 2;
/// The oldest that is read: it had no floor.
const VERSION_MIN: u32 = 1;
/// The longest line, its end included, in bytes.
pub const LINE_MAX: usize = 2048;
/// Lines that a reader takes, and a writer writes: at ten a second, four days.
pub const LINES_MAX: usize = 4 << 20;
/// Longest text in a header or an event, in bytes.
pub const TEXT_MAX: usize = 128;
/// Time between two samples, in microseconds.
pub const SAMPLE_US: u64 = 100_000;

/// What is usually a word of this program; of a record that was read, a text.
pub type Word = Cow<'static, str>;

/// Which end of the transfer wrote the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It sent the files, and knows all about the path.
    Sender,
    /// It received them: what arrived, and what the sender told.
    Receiver,
    /// Both, in turn (a server).
    Server,
    /// The sender of a simulated transfer.
    Simulated,
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlightHeader {
    /// [`VERSION`].
    pub farhaul_flight: u32,
    /// The program and its version.
    pub agent: String,
    /// Which end this is.
    pub role: Role,
    /// The site that wrote the record.
    pub site: String,
    /// The other site.
    pub peer: String,
    /// What was carried, in words.
    pub title: String,
    /// Wall clock at the start, in microseconds since 1970.
    pub started_unix_us: u64,
    /// How the path is shared.
    pub policy: String,
    /// Never faster than this, at IP level.
    pub cap_bps: Option<u64>,
    /// Not slower than this, at IP level; version 1 had none.
    pub floor_bps: Option<u64>,
    /// Usual time between two samples.
    pub sample_us: u64,
}

/// Every other line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlightLine {
    /// What was measured.
    Sample(FlightSample),
    /// What happened.
    Event(FlightEvent),
}

impl FlightLine {
    /// Microseconds since the session began.
    pub const fn at_us(&self) -> u64 {
        match self {
            Self::Sample(sample) => sample.at_us,
            Self::Event(event) => event.at_us,
        }
    }

    /// Changes when it was.
    pub const fn set_at_us(&mut self, at_us: u64) {
        match self {
            Self::Sample(sample) => sample.at_us = at_us,
            Self::Event(event) => event.at_us = at_us,
        }
    }
}

/// What was measured over one interval. Bytes are at IP level, except `written` and `backlog`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlightSample {
    /// The end of the interval, in microseconds since the session began.
    pub at_us: u64,
    /// Its length.
    pub span_us: u64,
    /// Bytes that left.
    pub sent: u64,
    /// Bytes that the peer reported.
    pub delivered: u64,
    /// Packets that the peer reported.
    pub acked: u64,
    /// Packets declared lost, less those that arrived after all.
    pub lost: u64,
    /// Repair symbols that left.
    pub repair: u64,
    /// Source symbols that left again.
    pub resent: u64,
    /// Smoothed round trip.
    pub rtt_us: u64,
    /// Its windowed minimum.
    pub base_rtt_us: u64,
    /// Queue delay.
    pub queue_us: u64,
    /// Bytes in flight.
    pub in_flight: u64,
    /// The rate that the controller wants, in bits per second.
    pub rate_bps: u64,
    /// The rate it does not exceed for now, because what went beyond it was lost.
    pub ceiling_bps: Option<u64>,
    /// The bottleneck's capacity, where it is known.
    pub capacity_bps: Option<u64>,
    /// The controller's phase.
    pub phase: Word,
    /// What limits.
    pub limit: Option<Limit>,
    /// Bytes that arrived from the peer.
    pub arrived: u64,
    /// Symbols that arrived in vain.
    pub redundant: u64,
    /// Data bytes written.
    pub written: u64,
    /// Data bytes that wait for the disk.
    pub backlog: u64,
}

/// What happened, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlightEvent {
    /// Microseconds since the session began.
    pub at_us: u64,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "fields are named like those of the trace events")]
pub enum What {
    /// The session began.
    Started {
        policy: Word,
        cap_bps: Option<u64>,
        floor_bps: Option<u64>,
        hint_bps: Option<u64>,
        initial_rtt_us: u64,
    },
    /// Policy or bounds changed.
    Policy { policy: Word, cap_bps: Option<u64>, floor_bps: Option<u64> },
    /// The size of packets was chosen: the symbol in it, and all of it.
    PacketSize { symbol: u64, packet: u64 },
    /// The rate controller entered another phase.
    Phase { old: Word, new: Word },
    /// Something else limits.
    Limit { old: Option<Limit>, new: Option<Limit> },
    /// Packets were lost with less than a pause between them.
    Losses { packets: u64, span_us: u64 },
    /// Reports are overdue: the rate was halved so many times.
    FeedbackOverdue { halvings: u64 },
    /// No report for so long that sending stopped.
    Silent {},
    /// A report came over a path that had been silent.
    Restored { silent_us: u64 },
    /// An object was declared.
    Declared { way: Word, object: u64, len: u64 },
    /// Every block of an object is at its destination.
    Completed { way: Word, object: u64 },
    /// An object was given up.
    Abandoned { way: Word, object: u64 },
    /// What the sender of requested files told of the way here, since the session began.
    Told { sent: u64, loss_ppm: u64, rtt_us: u64, base_rtt_us: u64, limit: Option<Limit> },
    /// So many lines are missing here: the writer did not keep up, or the record is full.
    Missing { lines: u64 },
    /// The session ended.
    Ended { why: Word, unsent: u64, in_flight: u64 },
}

/// A whole record.
#[derive(Clone, Debug, PartialEq)]
pub struct Flight {
    /// The first line.
    pub header: FlightHeader,
    /// The samples, in the order of time.
    pub samples: Vec<FlightSample>,
    /// The events, in the order of time.
    pub events: Vec<FlightEvent>,
}

impl Flight {
    /// Reads a whole record.
    ///
    /// # Errors
    /// [`FlightError`] with the number of the first line that is none of this format.
    pub fn parse(bytes: &[u8]) -> Result<Self, FlightError> {
        let mut reader = FlightReader::default();
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            reader.take(line)?;
        }
        reader.finish()
    }

    /// Writes the record, line by line.
    pub fn encode(&self) -> Vec<u8> {
        let samples = self.samples.iter().cloned().map(FlightLine::Sample);
        let events = self.events.iter().cloned().map(FlightLine::Event);
        let mut lines: Vec<FlightLine> = events.chain(samples).collect();
        lines.sort_by_key(FlightLine::at_us);
        let mut out = Vec::new();
        encode_line(&self.header, &mut out);
        for line in &lines {
            encode_line(line, &mut out);
        }
        out
    }

    /// When the last line was, in microseconds since the session began.
    pub fn end_us(&self) -> u64 {
        let last = |at: Option<u64>| at.unwrap_or(0);
        last(self.samples.last().map(|s| s.at_us)).max(last(self.events.last().map(|e| e.at_us)))
    }
}

/// Appends a line (a header or any other) to `out`, with its end. What was appended to before
/// grows no further once it has held the longest line.
#[expect(clippy::missing_panics_doc, reason = "no field of a line can fail to be JSON")]
pub fn encode_line(line: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, line).expect("numbers and texts are JSON");
    out.push(b'\n');
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        Self::from_name(&name).ok_or_else(|| D::Error::custom("no limit of that name"))
    }
}

const fn way(way: Way) -> Word {
    Cow::Borrowed(match way {
        Way::Out => "out",
        Way::In => "in",
    })
}

const fn why(closed: Closed) -> Word {
    Cow::Borrowed(match closed {
        Closed::Done => "done",
        Closed::Unfinished => "unfinished",
        Closed::Violation => "violation",
        Closed::ForgeryLimit => "forgery limit",
    })
}
