//! The end of a transfer: one JSON object for scripts, or a few lines for people.
//!
//! The fields of the JSON object are a contract; new ones may be added. It is printed whether the
//! transfer succeeded or not: `error` tells.

use super::carrier::Chosen;
use super::failure::{Failure, Kind};
use super::text;
use super::traffic::Carriers;
use farhaul_engine::net::Traffics;
use farhaul_engine::transfer::{self as engine, Outcome, Progress, Side};
use farhaul_proto::trace::{Limit, Spent};
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_proto::wire::control::FailCode;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Entries named in text; JSON names more.
const NAMED_MAX: usize = 10;
/// Entries left out that JSON names.
const LEFT_OUT_MAX: usize = 1000;

/// What an attempt at a transfer came to, whole or not.
pub(super) struct Attempt {
    pub(super) begun: Instant,
    /// From the beginning until everything was in place, or until it failed.
    pub(super) took: Duration,
    /// The disk engine; empty when it came to none.
    pub(super) disk: &'static str,
    /// What carried it last, and why; nothing before there was a session.
    pub(super) chosen: Option<Chosen>,
    /// How long it took to open the session that carried it last.
    pub(super) connecting: Duration,
    /// The rate that the session started from because the path carried it before.
    pub(super) hint: Option<BitRate>,
    /// What each carrier moved.
    pub(super) traffic: Traffics,
    /// The last that was heard.
    pub(super) progress: Progress,
    /// How the transfer ended, unless it failed as a whole.
    pub(super) outcome: Option<Outcome>,
}

impl Attempt {
    pub(super) fn begin() -> Self {
        Self {
            begun: Instant::now(),
            took: Duration::ZERO,
            disk: "",
            chosen: None,
            connecting: Duration::ZERO,
            hint: None,
            traffic: Traffics::default(),
            progress: Progress::default(),
            outcome: None,
        }
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
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
    /// Seconds by limit, without those that never applied.
    limited_seconds: BTreeMap<&'static str, f64>,
    resumed_bytes: u64,
    packed_bytes: u64,
    packed_to_bytes: u64,
    disk: &'static str,
    carrier: Option<&'static str>,
    carrier_reason: Option<&'static str>,
    connect_seconds: f64,
    /// As remembered by this side, when it sends.
    start_hint_bps: Option<u64>,
    carriers: Carriers,
    failed: Vec<FailedEntry<'a>>,
    left_out: &'a [String],
    left_out_total: u64,
    error: Option<&'a Failure>,
}

#[derive(Debug, Serialize)]
struct FailedEntry<'a> {
    path: &'a str,
    reason: &'a str,
}

impl<'a> Report<'a> {
    pub(super) fn new(attempt: &'a Attempt, error: Option<&'a Failure>) -> Self {
        let (outcome, progress) = (attempt.outcome.as_ref(), &attempt.progress);
        let figures = outcome.map_or(progress.figures, |outcome| outcome.figures);
        let figures = figures.as_ref();
        // Of a transfer that failed as a whole, what reached the other side counts.
        let bytes = outcome.map_or(progress.bytes_done, |outcome| outcome.bytes);
        let resumed = outcome.map_or(progress.bytes_resumed, |outcome| outcome.resumed);
        let millis = |span: Duration| span.as_secs_f64() * 1e3;
        let failed = outcome.map_or(&[][..], |outcome| &outcome.failed).iter();
        let left_out = outcome.map_or(&[][..], |outcome| &outcome.left_out);
        Self {
            bytes: bytes.get(),
            files: outcome.map_or(0, |outcome| outcome.files),
            files_skipped: outcome.map_or(0, |outcome| outcome.files_skipped),
            files_failed: outcome.map_or(0, |outcome| outcome.failed_total),
            seconds: attempt.took.as_secs_f64(),
            goodput_bps: goodput(bytes.saturating_sub(resumed), attempt.took).get(),
            wire_bytes_sent: figures.map_or(0, |f| f.wire_sent.get()),
            symbols_source: figures.map_or(0, |f| f.source),
            symbols_repair: figures.map_or(0, |f| f.repair),
            symbols_resent: figures.map_or(0, |f| f.resent),
            loss_ratio: figures.map_or(0.0, |f| f.loss.get()),
            rtt_min_ms: figures.map_or(0.0, |f| millis(f.rtt_min)),
            queue_delay_p95_ms: figures.map_or(0.0, |f| millis(f.queue_delay_p95)),
            limited_by: figures.and_then(|f| f.limited_mostly).map_or("nothing", Limit::name),
            limited_seconds: figures.map(|f| seconds_of(&f.limited)).unwrap_or_default(),
            resumed_bytes: resumed.get(),
            packed_bytes: figures.map_or(0, |f| f.packed.get()),
            packed_to_bytes: figures.map_or(0, |f| f.packed_to.get()),
            disk: attempt.disk,
            carrier: attempt.chosen.map(|chosen| chosen.carrier.name()),
            carrier_reason: attempt.chosen.map(|chosen| chosen.reason.text()),
            connect_seconds: attempt.connecting.as_secs_f64(),
            start_hint_bps: attempt.hint.map(BitRate::get),
            carriers: attempt.traffic.into(),
            failed: failed
                .map(|entry| FailedEntry { path: &entry.path, reason: &entry.reason })
                .collect(),
            left_out: &left_out[..left_out.len().min(LEFT_OUT_MAX)],
            left_out_total: outcome.map_or(0, |outcome| outcome.left_out_total),
            error,
        }
    }

    pub(super) fn print_json(&self) {
        match serde_json::to_string(self) {
            Ok(json) => text::tell(json),
            Err(error) => {
                text::complain(format_args!("farhaul: the report cannot be JSON: {error}"));
            }
        }
    }

    pub(super) fn print_text(&self) {
        text::tell(self.summary());
        if let Some(remark) = self.omissions() {
            text::complain(remark);
        }
    }

    fn summary(&self) -> String {
        if self.files + self.files_failed == 0 && self.files_skipped > 0 {
            let skipped = counted(self.files_skipped, "file was", "files were");
            return format!("nothing to do: {skipped} in place already");
        }
        let rate = BitRate::bps(self.goodput_bps);
        let mut line = format!(
            "{} in {}, {:.1} s, {rate}",
            Bytes::new(self.bytes),
            counted(self.files, "file", "files"),
            self.seconds
        );
        if self.files_skipped > 0 {
            let skipped = counted(self.files_skipped, "file was", "files were");
            let _ = write!(line, "; {skipped} in place already");
        }
        if self.resumed_bytes > 0 {
            let _ = write!(line, "; {} resumed", Bytes::new(self.resumed_bytes));
        }
        if self.packed_bytes > 0 {
            let (packed, to) = (Bytes::new(self.packed_bytes), Bytes::new(self.packed_to_bytes));
            let _ = write!(line, "; {packed} packed into {to}");
        }
        if let (Some("tcp"), Some(reason)) = (self.carrier, self.carrier_reason) {
            let _ = write!(line, "; over TCP ({reason})");
        }
        if let Some(limits) = self.limits() {
            let _ = write!(line, "; limited by: {limits}");
        }
        line
    }

    /// What limited, in percent of the time that anything did, the longest first.
    fn limits(&self) -> Option<String> {
        let total: f64 = self.limited_seconds.values().sum();
        let mut shares: Vec<_> = self
            .limited_seconds
            .iter()
            .map(|(&name, seconds)| (seconds / total * 100.0, name))
            .collect();
        shares.sort_by(|a, b| b.0.total_cmp(&a.0));
        let told = shares.iter().filter(|(share, _)| *share >= 0.5);
        let told: Vec<String> = told.map(|(share, name)| format!("{name} {share:.0} %")).collect();
        (!told.is_empty()).then(|| told.join(", "))
    }

    /// What was left out on purpose.
    fn omissions(&self) -> Option<String> {
        let mut remark = format!("farhaul: left out {}:", self.left_out_total);
        for omission in self.left_out.iter().take(NAMED_MAX) {
            let _ = write!(remark, "\n  {omission}");
        }
        if self.left_out_total > NAMED_MAX as u64 {
            remark.push_str("\n  ...");
        }
        (self.left_out_total > 0).then_some(remark)
    }
}

fn seconds_of(limited: &Spent) -> BTreeMap<&'static str, f64> {
    let named = Limit::ALL.into_iter().zip(limited).filter(|(_, spent)| !spent.is_zero());
    named.map(|(limit, spent)| (limit.name(), spent.as_secs_f64())).collect()
}

/// Data over time; nothing where there was none of either.
fn goodput(bytes: Bytes, took: Duration) -> BitRate {
    if took.is_zero() { BitRate::ZERO } else { bytes.rate_over(took) }
}

/// A number with its noun.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The failure that a transfer ends in where some entries did not arrive.
pub(super) fn incomplete(outcome: &Outcome) -> Option<Failure> {
    if outcome.failed_total == 0 {
        return None;
    }
    let mut what = counted(outcome.failed_total, "entry", "entries");
    what.push_str(" did not arrive:");
    for entry in outcome.failed.iter().take(NAMED_MAX) {
        // Reasons of the file layer begin with the path already.
        let named = entry.reason.starts_with(&entry.path);
        let path = if named { String::new() } else { format!("{}: ", entry.path) };
        let _ = write!(what, "\n  {path}{}", entry.reason);
    }
    if outcome.failed_total > NAMED_MAX as u64 {
        what.push_str("\n  ...");
    }
    if !outcome.failed.iter().any(is_of_this_disk) {
        let advice = if outcome.failed.iter().all(|entry| entry.code == FailCode::Busy) {
            "wait for the other transfer, then run the same command again: what arrived is not \
             sent twice"
        } else {
            "mend the cause and run the same command again: what arrived is not sent twice"
        };
        return Some(Failure::new(Kind::Transfer, what, advice));
    }
    let full = outcome.failed.iter().any(|e| is_of_this_disk(e) && e.code == FailCode::NoSpace);
    let advice = if full {
        "make room on this host's disk and run the same command again: what arrived is not sent \
         twice"
    } else {
        "mend this host's files or disk and run the same command again: what arrived is not sent \
         twice"
    };
    Some(Failure::new(Kind::Disk, what, advice))
}

/// True when the entry failed by the disk or the file system of this host.
fn is_of_this_disk(entry: &engine::FailedEntry) -> bool {
    let disk = match entry.code {
        FailCode::SourceUnreadable | FailCode::NoSpace | FailCode::NoPermission | FailCode::Io => {
            true
        }
        FailCode::SourceChanged
        | FailCode::DestinationChanged
        | FailCode::Protocol
        | FailCode::Cancelled
        | FailCode::Internal
        | FailCode::Busy => false,
    };
    disk && entry.at == Side::Here
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(failed: &[(Side, FailCode)]) -> Outcome {
        let failed = failed.iter().map(|&(at, code)| engine::FailedEntry {
            path: "a/b".to_owned(),
            reason: "why".to_owned(),
            code,
            at,
        });
        let failed: Vec<_> = failed.collect();
        Outcome {
            bytes: Bytes::new(7),
            files: 1,
            files_skipped: 0,
            resumed: Bytes::ZERO,
            failed_total: failed.len() as u64,
            failed,
            left_out: vec!["sock: sockets, pipes and devices are not carried".to_owned()],
            left_out_total: 1,
            figures: None,
        }
    }

    #[track_caller]
    fn assert_code(failed: &[(Side, FailCode)], code: u8) {
        let failure = incomplete(&outcome(failed)).expect("something failed");
        assert_eq!(failure.code(), code, "{failed:?}");
    }

    #[test]
    fn a_disk_of_this_host_that_fails_is_told_from_everything_else() {
        use FailCode::*;
        assert!(incomplete(&outcome(&[])).is_none());
        for code in [SourceUnreadable, NoSpace, NoPermission, Io] {
            assert_code(&[(Side::Here, code)], 4);
            assert_code(&[(Side::Peer, code)], 1);
        }
        for code in [SourceChanged, DestinationChanged, Protocol, Cancelled, Internal, Busy] {
            assert_code(&[(Side::Here, code)], 1);
            assert_code(&[(Side::Peer, code)], 1);
        }
        assert_code(&[(Side::Peer, SourceUnreadable), (Side::Here, NoSpace)], 4);
    }

    #[test]
    fn two_transfers_of_one_file_are_no_fault_of_the_disk() {
        let failure = incomplete(&outcome(&[(Side::Here, FailCode::Busy)])).expect("it failed");
        let json = serde_json::to_value(&failure).unwrap();
        assert_eq!(json["exit_code"], 1);
        assert!(json["what"].as_str().unwrap().starts_with("1 entry did not arrive"), "{json}");
        assert!(json["advice"].as_str().unwrap().contains("wait for the other transfer"), "{json}");
    }

    #[test]
    fn a_transfer_that_took_no_time_or_carried_nothing_has_no_rate() {
        assert_eq!(goodput(Bytes::new(7), Duration::ZERO), BitRate::ZERO);
        assert_eq!(goodput(Bytes::ZERO, Duration::ZERO), BitRate::ZERO);
        assert_eq!(goodput(Bytes::ZERO, Duration::from_secs(1)), BitRate::ZERO);
        assert_eq!(goodput(Bytes::new(7), Duration::from_secs(1)), BitRate::bps(56));
        let mut attempt = Attempt::begin();
        attempt.outcome = Some(outcome(&[]));
        let summary = Report::new(&attempt, None).summary();
        assert!(summary.contains("in 1 file,"), "{summary}");
    }

    #[test]
    fn what_was_left_out_is_named_in_text_and_in_json() {
        let mut attempt = Attempt::begin();
        attempt.outcome = Some(outcome(&[]));
        let report = Report::new(&attempt, None);
        let remark = report.omissions().expect("a socket was left out");
        assert!(remark.contains("left out 1:\n  sock: sockets"), "{remark}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["left_out"][0], "sock: sockets, pipes and devices are not carried");
        assert_eq!(json["left_out_total"], 1);
        assert!(json["error"].is_null());
    }

    #[test]
    fn the_carrier_is_told_with_its_reason_and_in_text_where_it_is_not_the_usual_one() {
        use super::super::carrier::Reason;
        use farhaul_proto::path::carrier::Carrier;
        let mut attempt = Attempt::begin();
        attempt.outcome = Some(outcome(&[]));
        let json = serde_json::to_value(Report::new(&attempt, None)).unwrap();
        assert!(json["carrier"].is_null() && json["carrier_reason"].is_null(), "{json}");
        for (carrier, reason, said) in
            [(Carrier::Udp, Reason::UdpAnswers, false), (Carrier::Tcp, Reason::UdpSilent, true)]
        {
            attempt.chosen = Some(Chosen { carrier, reason });
            let report = Report::new(&attempt, None);
            let json = serde_json::to_value(&report).unwrap();
            assert_eq!(json["carrier"], carrier.name());
            assert_eq!(json["carrier_reason"], reason.text());
            let summary = report.summary();
            assert_eq!(summary.contains("over TCP (no answer over UDP)"), said, "{summary}");
        }
    }

    #[test]
    fn the_summary_says_what_limited_for_how_much_of_the_time() {
        let mut attempt = Attempt::begin();
        let mut figures = engine::Figures::default();
        figures.limited[Limit::Link as usize] = Duration::from_millis(9_300);
        figures.limited[Limit::StartUp as usize] = Duration::from_millis(690);
        figures.limited[Limit::Tail as usize] = Duration::from_millis(10);
        attempt.outcome = Some(Outcome { figures: Some(figures), ..outcome(&[]) });
        let report = Report::new(&attempt, None);
        let summary = report.summary();
        assert!(summary.ends_with("; limited by: link 93 %, start-up 7 %"), "{summary}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["limited_seconds"]["link"], 9.3);
        assert!(json["limited_seconds"].get("cpu").is_none());
    }

    #[test]
    fn a_transfer_that_failed_as_a_whole_reports_how_far_it_came() {
        let mut attempt = Attempt::begin();
        attempt.progress.bytes_done = Bytes::new(5);
        let failure = Failure::new(Kind::Transfer, "interrupted", "run it again");
        let json = serde_json::to_value(Report::new(&attempt, Some(&failure))).unwrap();
        assert_eq!(json["bytes"], 5);
        assert_eq!(json["error"]["what"], "interrupted");
        assert_eq!(json["error"]["exit_code"], 1);
    }
}
