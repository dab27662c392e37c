//! The end of a transfer: one JSON object for scripts, or a few lines for people.
//!
//! The fields of the JSON object are a contract; new ones may be added.

use super::failure::{Failure, Kind};
use farhaul_engine::transfer::Outcome;
use farhaul_proto::trace::Limit;
use farhaul_proto::units::{BitRate, Bytes};
use serde::Serialize;
use std::time::Duration;

/// Failed entries named in text; JSON names all that are known.
const NAMED_MAX: usize = 10;

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    bytes: u64,
    files: u64,
    files_skipped: u64,
    files_failed: u64,
    seconds: f64,
    goodput_bps: u64,
    wire_bytes_sent: u64,
    symbols_source: u64,
    symbols_repair: u64,
    symbols_resent: u64,
    loss_ratio: f64,
    rtt_min_ms: f64,
    queue_delay_p95_ms: f64,
    limited_by: &'static str,
    resumed_bytes: u64,
    disk: &'static str,
    failed: Vec<FailedEntry>,
}

#[derive(Debug, Serialize)]
struct FailedEntry {
    path: String,
    reason: String,
}

impl Report {
    pub(super) fn new(outcome: &Outcome, took: Duration, disk: &'static str) -> Self {
        let carried = outcome.bytes.saturating_sub(outcome.resumed);
        let stats = outcome.stats.as_ref();
        let millis = |span: Duration| span.as_secs_f64() * 1e3;
        let failed = outcome.failed.iter();
        Self {
            bytes: outcome.bytes.get(),
            files: outcome.files,
            files_skipped: outcome.files_skipped,
            files_failed: outcome.failed_total,
            seconds: took.as_secs_f64(),
            goodput_bps: carried.rate_over(took).get(),
            wire_bytes_sent: stats.map_or(0, |s| s.counters.wire_sent.get()),
            symbols_source: stats.map_or(0, |s| s.sent.source),
            symbols_repair: stats.map_or(0, |s| s.sent.repair),
            symbols_resent: stats.map_or(0, |s| s.sent.resent),
            loss_ratio: stats.map_or(0.0, |s| s.counters.loss().get()),
            rtt_min_ms: stats.map_or(0.0, |s| millis(s.rtt_min)),
            queue_delay_p95_ms: stats.map_or(0.0, |s| millis(s.queue_delay_p95)),
            limited_by: stats.and_then(|s| s.limited_mostly).map_or("nothing", Limit::name),
            resumed_bytes: outcome.resumed.get(),
            disk,
            failed: failed
                .map(|entry| FailedEntry { path: entry.path.clone(), reason: entry.reason.clone() })
                .collect(),
        }
    }

    pub(super) fn print_json(&self) {
        match serde_json::to_string(self) {
            Ok(json) => println!("{json}"),
            Err(error) => eprintln!("farhaul: the report cannot be written as JSON: {error}"),
        }
    }

    pub(super) fn print_text(&self) {
        let rate = BitRate::bps(self.goodput_bps);
        let mut line = format!(
            "{} in {} files, {:.1} s, {rate}",
            Bytes::new(self.bytes),
            self.files,
            self.seconds
        );
        if self.files_skipped > 0 {
            line.push_str(&format!("; {} files were in place already", self.files_skipped));
        }
        if self.resumed_bytes > 0 {
            line.push_str(&format!("; {} resumed", Bytes::new(self.resumed_bytes)));
        }
        println!("{line}");
    }

    /// The failure that incomplete transfers end in.
    pub(super) fn failure(&self) -> Option<Failure> {
        if self.files_failed == 0 {
            return None;
        }
        let mut what = format!("{} entries did not arrive:", self.files_failed);
        for entry in self.failed.iter().take(NAMED_MAX) {
            // Reasons of the file layer begin with the path already.
            let named = entry.reason.starts_with(&entry.path);
            let path = if named { String::new() } else { format!("{}: ", entry.path) };
            what.push_str(&format!("\n  {path}{}", entry.reason));
        }
        if self.failed.len() > NAMED_MAX {
            what.push_str("\n  ...");
        }
        let advice =
            "mend the cause and run the same command again: what arrived is not sent twice";
        Some(Failure::new(Kind::Transfer, what).advise(advice))
    }
}
