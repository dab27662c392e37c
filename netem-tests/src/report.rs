//! What `farhaul --json` prints, as its readers know it: every field of the contract is required,
//! new ones may come.
//!
//! Written down apart from the product on purpose, so that a renamed field is noticed.

use serde::Deserialize;

/// The report of a transfer.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are the contract and say what they are")]
pub struct Report {
    pub bytes: u64,
    pub files: u64,
    pub files_skipped: u64,
    pub files_failed: u64,
    pub seconds: f64,
    pub goodput_bps: u64,
    pub wire_bytes_sent: u64,
    pub symbols_source: u64,
    pub symbols_repair: u64,
    pub symbols_resent: u64,
    pub loss_ratio: f64,
    pub rtt_min_ms: f64,
    pub queue_delay_p95_ms: f64,
    pub limited_by: String,
    pub resumed_bytes: u64,
    pub disk: String,
    pub carrier: Option<String>,
    pub carrier_reason: Option<String>,
    pub connect_seconds: f64,
    pub carriers: Carriers,
    pub failed: Vec<FailedEntry>,
}

/// What each carrier moved.
#[derive(Clone, Copy, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are the contract and say what they are")]
pub struct Carriers {
    pub udp: Moved,
    pub tcp: Moved,
}

/// What one carrier moved.
#[derive(Clone, Copy, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are the contract and say what they are")]
pub struct Moved {
    pub packets_sent: u64,
    pub bytes_sent: u64,
    pub packets_received: u64,
    pub bytes_received: u64,
    pub reads: u64,
}

/// One entry that did not arrive.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are the contract and say what they are")]
pub struct FailedEntry {
    pub path: String,
    pub reason: String,
}

impl Report {
    /// Reads the one line that a transfer prints.
    ///
    /// # Errors
    /// If it is not one JSON object with all fields.
    pub fn parse(stdout: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(stdout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_without_one_of_the_fields_is_refused() {
        assert!(Report::parse(r#"{"bytes": 1, "files": 1}"#).is_err());
        assert!(Report::parse("").is_err());
    }
}
