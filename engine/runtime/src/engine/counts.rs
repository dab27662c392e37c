//! What an engine dropped, refused or could not send, in one place for the operator.

use crate::control::AdmissionCounts;
use crate::driver::receive::LaneDrops;

/// Counters since the start of an engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineCounts {
    /// Lane packets that led to nothing.
    pub lanes: LaneDrops,
    /// Attempts to connect to us.
    pub admission: AdmissionCounts,
    /// Datagrams that the kernel dropped because the receive buffer was full.
    pub socket_drops: u64,
    /// Received buffers that did not fit.
    pub truncated: u64,
    /// Control datagrams dropped because their queue was full.
    pub control_dropped: u64,
    /// Control datagrams that the kernel refused to send.
    pub control_unsent: u64,
}

impl EngineCounts {
    /// True when nothing was lost, and nobody turned away.
    pub fn is_clean(&self) -> bool {
        let admission = AdmissionCounts { admitted: 0, retried: 0, ..self.admission };
        Self { admission, ..*self } == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_are_no_trouble_and_drops_are() {
        let mut counts = EngineCounts::default();
        counts.admission.admitted = 3;
        assert!(counts.is_clean());
        counts.lanes.forged = 1;
        assert!(!counts.is_clean());
    }
}
