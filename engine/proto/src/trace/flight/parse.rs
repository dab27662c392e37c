//! Reading a flight record: line by line, each bounded, checked and named by its number.

use super::{
    Flight, FlightEvent, FlightHeader, FlightLine, LINE_MAX, LINES_MAX, TEXT_MAX, VERSION,
    VERSION_MIN, What,
};
use crate::wire::control::misleads;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

/// Why a file is no flight record, or not a whole one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FlightError {
    /// There is no header.
    #[error("the file is empty: a flight record begins with a header")]
    Empty,
    /// A line is longer than any of this format.
    #[error("line {line}: longer than {LINE_MAX} bytes")]
    LineTooLong {
        /// Its number, from 1.
        line: usize,
    },
    /// More lines than this format has.
    #[error("more than {LINES_MAX} lines")]
    TooManyLines,
    /// The file ends in the middle of a line.
    #[error("line {line}: the file ends within it")]
    Cut {
        /// Its number, from 1.
        line: usize,
    },
    /// The first line is no header of a flight record.
    #[error("line 1: no flight record of Farhaul: {why}")]
    Header {
        /// What does not fit.
        why: String,
    },
    /// Another version wrote it.
    #[error(
        "line 1: version {found} of the format; this program reads versions {VERSION_MIN} to {VERSION}"
    )]
    Version {
        /// Its version.
        found: u64,
    },
    /// A line is none of this format.
    #[error("line {line}: {why}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What does not fit.
        why: String,
    },
    /// A line is older than the one before.
    #[error("line {line}: time goes back")]
    TimeGoesBack {
        /// Its number, from 1.
        line: usize,
    },
    /// A number is beyond what can be meant.
    #[error("line {line}: a number is out of range")]
    Range {
        /// Its number, from 1.
        line: usize,
    },
    /// A text is too long, or could steer a terminal.
    #[error("line {line}: a text is too long, or has control characters")]
    Text {
        /// Its number, from 1.
        line: usize,
    },
}

/// No number of a header or a sample is larger: all of them are exact as `f64`.
const NUMBER_MAX: u64 = 1 << 53;
/// The version from which on there are floors.
const FLOOR_SINCE: u32 = 2;
const NO_FLOOR_YET: &str = "version 1 has no field `floor_bps`";
/// A year, in microseconds: no session is older.
const TIME_MAX: u64 = 366 * 86_400 * 1_000_000;

/// Takes the lines of a record one by one; memory grows with what was taken.
#[derive(Debug, Default)]
pub struct FlightReader {
    line: usize,
    header: Option<FlightHeader>,
    flight: (Vec<super::FlightSample>, Vec<FlightEvent>),
    at_us: u64,
}

/// What tells a record from any other file, whatever its version.
#[derive(Deserialize)]
struct Mark {
    farhaul_flight: u64,
}

impl FlightReader {
    /// Lines taken so far.
    pub const fn lines(&self) -> usize {
        self.line
    }

    /// Takes the next line, its end included.
    ///
    /// # Errors
    /// [`FlightError`]; nothing of the line is kept.
    pub fn take(&mut self, line: &[u8]) -> Result<(), FlightError> {
        self.line += 1;
        let number = self.line;
        if number > LINES_MAX {
            return Err(FlightError::TooManyLines);
        }
        if line.len() > LINE_MAX {
            return Err(FlightError::LineTooLong { line: number });
        }
        let Some(line) = line.strip_suffix(b"\n") else {
            return Err(FlightError::Cut { line: number });
        };
        if self.header.is_none() {
            self.header = Some(header(line)?);
            return Ok(());
        }
        if self.header.as_ref().is_some_and(|header| header.farhaul_flight < FLOOR_SINCE)
            && names_floor(line)
        {
            return Err(FlightError::Line { line: number, why: NO_FLOOR_YET.to_owned() });
        }
        let parsed: FlightLine = serde_json::from_slice(line)
            .map_err(|error| FlightError::Line { line: number, why: told(&error) })?;
        let at_us = parsed.at_us();
        if at_us < self.at_us {
            return Err(FlightError::TimeGoesBack { line: number });
        }
        if at_us > TIME_MAX || !in_range(&parsed) {
            return Err(FlightError::Range { line: number });
        }
        if !texts(&parsed).into_iter().all(is_plain) {
            return Err(FlightError::Text { line: number });
        }
        self.at_us = at_us;
        match parsed {
            FlightLine::Sample(sample) => self.flight.0.push(sample),
            FlightLine::Event(event) => self.flight.1.push(event),
        }
        Ok(())
    }

    /// The record, once all lines were taken.
    ///
    /// # Errors
    /// [`FlightError::Empty`].
    pub fn finish(self) -> Result<Flight, FlightError> {
        let header = self.header.ok_or(FlightError::Empty)?;
        let (samples, events) = self.flight;
        Ok(Flight { header, samples, events })
    }
}

fn header(line: &[u8]) -> Result<FlightHeader, FlightError> {
    let wrong = |error: serde_json::Error| FlightError::Header { why: told(&error) };
    let mark: Mark = serde_json::from_slice(line).map_err(wrong)?;
    if !(u64::from(VERSION_MIN)..=u64::from(VERSION)).contains(&mark.farhaul_flight) {
        return Err(FlightError::Version { found: mark.farhaul_flight });
    }
    let header: FlightHeader = serde_json::from_slice(line).map_err(wrong)?;
    if header.farhaul_flight < FLOOR_SINCE && names_floor(line) {
        return Err(FlightError::Header { why: NO_FLOOR_YET.to_owned() });
    }
    let FlightHeader { agent, site, peer, title, policy, .. } = &header;
    if ![agent, site, peer, title, policy].into_iter().all(|text| is_plain(text)) {
        return Err(FlightError::Text { line: 1 });
    }
    let (floor, cap) = (header.floor_bps.unwrap_or(0), header.cap_bps.unwrap_or(0));
    let numbers = [header.started_unix_us, floor, cap, header.sample_us];
    if numbers.into_iter().any(|number| number > NUMBER_MAX) {
        return Err(FlightError::Range { line: 1 });
    }
    Ok(header)
}

/// Whether any object of a line has the field that came with [`FLOOR_SINCE`], be it null.
fn names_floor(line: &[u8]) -> bool {
    fn within(value: &Value) -> bool {
        let Value::Object(fields) = value else { return false };
        fields.iter().any(|(name, value)| name == "floor_bps" || within(value))
    }
    // What is no JSON is refused elsewhere.
    serde_json::from_slice(line).is_ok_and(|value| within(&value))
}

/// What the JSON parser says, without its idea of lines, and no longer than a line.
fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    let plain = text.chars().map(|c| if misleads(c) { '?' } else { c });
    format!("{} (column {})", plain.take(200).collect::<String>(), error.column())
}

fn is_plain(text: &str) -> bool {
    text.len() <= TEXT_MAX && !text.chars().any(misleads)
}

fn texts(line: &FlightLine) -> [&str; 2] {
    match line {
        FlightLine::Sample(sample) => [&sample.phase, ""],
        FlightLine::Event(event) => match &event.what {
            What::Started { policy: word, .. }
            | What::Policy { policy: word, .. }
            | What::Declared { way: word, .. }
            | What::Completed { way: word, .. }
            | What::Abandoned { way: word, .. }
            | What::Ended { why: word, .. } => [word, ""],
            What::Phase { old, new } => [old, new],
            _ => ["", ""],
        },
    }
}

/// Sums over a record must not overflow, and a plot must not lose digits.
fn in_range(line: &FlightLine) -> bool {
    let FlightLine::Sample(s) = line else { return true };
    let counts = [s.sent, s.delivered, s.acked, s.lost, s.repair, s.resent, s.arrived, s.redundant];
    let states = [s.rtt_us, s.base_rtt_us, s.queue_us, s.in_flight, s.written, s.backlog];
    let rates = [s.rate_bps, s.ceiling_bps.unwrap_or(0), s.capacity_bps.unwrap_or(0), s.span_us];
    // Counts of four million samples still fit 64 bits.
    counts.into_iter().all(|count| count <= NUMBER_MAX >> 12)
        && states.into_iter().chain(rates).all(|number| number <= NUMBER_MAX)
}
