//! Where segmentation offload may be used, and how much fits into one offloaded message.
//!
//! A route, a tunnel or a driver can refuse offload at any moment; what refused is remembered by
//! destination and served one datagram at a time. It does not send.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Segments that every kernel with `UDP_SEGMENT` takes in one message (`UDP_MAX_SEGMENTS`).
const SEGMENTS_MAX: usize = 64;
/// Payload of the largest IPv4 datagram: 65,535 less 20 (IP) and 8 (UDP).
pub(crate) const PAYLOAD_MAX: usize = 65_507;
/// Destinations remembered; the oldest is forgotten and would be learnt again.
const REFUSALS_MAX: usize = 64;

/// The number of datagrams of `segment_len` bytes that fit into one message; at least 1.
pub(crate) fn segments_per_message(segment_len: usize) -> usize {
    (PAYLOAD_MAX / segment_len.max(1)).clamp(1, SEGMENTS_MAX)
}

/// True for the answers by which kernels refuse offload rather than the datagram: no checksum
/// offload on the way out (`EIO`), a segment size or socket state it cannot split (`EINVAL`),
/// no such feature (`EOPNOTSUPP`).
pub(crate) fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL | libc::EOPNOTSUPP))
}

/// Whether offload is in use, and for which destinations it is not.
#[derive(Debug)]
pub(crate) struct Offload {
    enabled: AtomicBool,
    /// Length of `refused`, so that the usual case takes no lock.
    refused_count: AtomicUsize,
    refused: Mutex<VecDeque<IpAddr>>,
}

impl Offload {
    pub(crate) fn new(enabled: bool) -> Self {
        Self {
            enabled: AtomicBool::new(enabled),
            refused_count: AtomicUsize::new(0),
            refused: Mutex::new(VecDeque::new()),
        }
    }

    pub(crate) fn disable(&self) {
        self.enabled.store(false, Ordering::Relaxed);
    }

    /// Whether a message to `ip` may hold several segments.
    pub(crate) fn allows(&self, ip: IpAddr) -> bool {
        self.enabled.load(Ordering::Relaxed)
            && (self.refused_count.load(Ordering::Relaxed) == 0 || !self.refused().contains(&ip))
    }

    /// Remembers that the way to `ip` refuses offload.
    pub(crate) fn note_refusal(&self, ip: IpAddr) {
        let mut refused = self.refused();
        if refused.contains(&ip) {
            return;
        }
        if refused.len() == REFUSALS_MAX {
            refused.pop_front();
        }
        refused.push_back(ip);
        self.refused_count.store(refused.len(), Ordering::Relaxed);
    }

    fn refused(&self) -> MutexGuard<'_, VecDeque<IpAddr>> {
        // The list is valid after every statement, so a panic elsewhere does not spoil it.
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_message_respects_both_kernel_limits() {
        assert_eq!(segments_per_message(1), 64);
        assert_eq!(segments_per_message(1408), 46);
        assert_eq!(segments_per_message(PAYLOAD_MAX), 1);
        assert_eq!(segments_per_message(PAYLOAD_MAX / 2), 2);
    }

    #[test]
    fn a_refusal_concerns_one_destination_and_the_memory_is_bounded() {
        let offload = Offload::new(true);
        let ip = |n: u32| IpAddr::V4(Ipv4Addr::from(n));
        for n in 0..200 {
            offload.note_refusal(ip(n));
        }
        assert!(!offload.allows(ip(199)));
        assert!(!offload.allows(ip(136)));
        assert!(offload.allows(ip(135)));
        assert!(offload.allows(ip(1000)));
        assert_eq!(offload.refused().len(), REFUSALS_MAX);
    }

    #[test]
    fn only_refusals_of_offload_trigger_the_fallback() {
        for (code, refusal) in
            [(libc::EIO, true), (libc::EINVAL, true), (libc::EMSGSIZE, false), (libc::EPERM, false)]
        {
            assert_eq!(is_refusal(&io::Error::from_raw_os_error(code)), refusal);
        }
    }
}
