//! Reads the control messages that the kernel attaches to received datagrams.
//!
//! The parser is safe code over bytes and accepts any input: what is malformed ends the list, what
//! is unknown is skipped. It does not write control messages.

use crate::sys::udp::CMSG_HEADER_LEN;

/// What the kernel said about one received buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ancillary {
    /// Length of each merged datagram but the last (`UDP_GRO`).
    pub(crate) stride: Option<usize>,
    /// The two ECN bits of the IP header.
    pub(crate) ecn: u8,
    /// When the kernel took the datagram in: nanoseconds of the real-time clock.
    pub(crate) arrived_ns: Option<u64>,
    /// Datagrams that the socket dropped since it was opened, modulo 2^32 (`SO_RXQ_OVFL`).
    pub(crate) drops: Option<u32>,
}

const ECN_MASK: u8 = 0b11;
const WORD: usize = size_of::<usize>();

/// Reads a whole control area; the last message of a kind wins.
pub(crate) fn parse(control: &[u8]) -> Ancillary {
    let mut ancillary = Ancillary::default();
    let mut rest = control;
    while let Some((level, kind, data, after)) = split_first(rest) {
        ancillary.note(level, kind, data);
        rest = after;
    }
    ancillary
}

/// Takes one message off the front: its level, type, data, and what follows.
fn split_first(control: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    let len = usize::from_ne_bytes(*control.first_chunk()?);
    let level = i32::from_ne_bytes(*control.get(WORD..)?.first_chunk()?);
    let kind = i32::from_ne_bytes(*control.get(WORD + 4..)?.first_chunk()?);
    let data = control.get(CMSG_HEADER_LEN..len)?;
    let after = control.get(len.next_multiple_of(WORD)..).unwrap_or(&[]);
    Some((level, kind, data, after))
}

impl Ancillary {
    fn note(&mut self, level: i32, kind: i32, data: &[u8]) {
        match (level, kind) {
            (libc::SOL_UDP, libc::UDP_GRO) => self.stride = int(data),
            (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                self.ecn = traffic_class(data) & ECN_MASK;
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => self.arrived_ns = stamp(data),
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                self.drops = data.first_chunk().map(|raw| u32::from_ne_bytes(*raw));
            }
            _ => {}
        }
    }
}

/// A C integer that must be positive.
fn int(data: &[u8]) -> Option<usize> {
    let value = i32::from_ne_bytes(*data.first_chunk()?);
    usize::try_from(value).ok().filter(|&value| value > 0)
}

/// The traffic class comes as one byte for IPv4 and as an integer for IPv6.
fn traffic_class(data: &[u8]) -> u8 {
    match data.first_chunk::<4>() {
        Some(raw) => i32::from_ne_bytes(*raw).to_le_bytes()[0],
        None => data.first().copied().unwrap_or(0),
    }
}

fn stamp(data: &[u8]) -> Option<u64> {
    let seconds = i64::from_ne_bytes(*data.first_chunk()?);
    let nanos = i64::from_ne_bytes(*data.get(8..)?.first_chunk()?);
    let seconds = u64::try_from(seconds).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(u64::try_from(nanos).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let mut out = (CMSG_HEADER_LEN + data.len()).to_ne_bytes().to_vec();
        out.extend(level.to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend(data);
        out.resize(out.len().next_multiple_of(WORD), 0);
        out
    }

    fn timespec(seconds: i64, nanos: i64) -> Vec<u8> {
        [seconds.to_ne_bytes(), nanos.to_ne_bytes()].concat()
    }

    #[test]
    fn every_kind_is_read_wherever_it_stands() {
        let control = [
            message(libc::SOL_SOCKET, 77, b"unknown"),
            message(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, &timespec(3, 5)),
            message(libc::IPPROTO_IP, libc::IP_TOS, &[0b1011_1010]),
            message(libc::SOL_UDP, libc::UDP_GRO, &1408i32.to_ne_bytes()),
            message(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &9u32.to_ne_bytes()),
        ]
        .concat();
        let expected = Ancillary {
            stride: Some(1408),
            ecn: 0b10,
            arrived_ns: Some(3_000_000_005),
            drops: Some(9),
        };
        assert_eq!(parse(&control), expected);
    }

    #[test]
    fn the_traffic_class_of_ipv6_is_an_integer() {
        let control = message(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &3i32.to_ne_bytes());
        assert_eq!(parse(&control).ecn, 3);
    }

    #[test]
    fn lengths_that_lie_end_the_list() {
        for len in [0, 1, CMSG_HEADER_LEN - 1, 4096, usize::MAX, usize::MAX - 7] {
            let mut control = message(libc::SOL_UDP, libc::UDP_GRO, &1408i32.to_ne_bytes());
            control[..WORD].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(parse(&control), Ancillary::default(), "length {len}");
        }
    }

    #[test]
    fn nonsense_values_count_as_absent() {
        let negative = message(libc::SOL_UDP, libc::UDP_GRO, &(-1i32).to_ne_bytes());
        assert_eq!(parse(&negative).stride, None);
        let past = message(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, &timespec(-1, 0));
        assert_eq!(parse(&past).arrived_ns, None);
        let far = message(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, &timespec(i64::MAX, 0));
        assert_eq!(parse(&far).arrived_ns, None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_without_panic(control in proptest::collection::vec(any::<u8>(), 0..256)) {
            let ancillary = parse(&control);
            prop_assert!(ancillary.ecn <= ECN_MASK);
            prop_assert!(ancillary.stride != Some(0));
        }

        #[test]
        fn messages_with_any_length_field_and_known_kinds_are_safe(
            parts in proptest::collection::vec((0usize..5, 0usize..64, any::<[u8; 16]>()), 0..8),
        ) {
            const KINDS: [(i32, i32); 5] = [
                (libc::SOL_UDP, libc::UDP_GRO),
                (libc::IPPROTO_IP, libc::IP_TOS),
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS),
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL),
            ];
            let mut control = Vec::new();
            for (kind, len, data) in parts {
                let (level, kind) = KINDS[kind];
                let mut part = message(level, kind, &data);
                part[..WORD].copy_from_slice(&len.to_ne_bytes());
                control.extend(part);
            }
            prop_assert!(parse(&control).ecn <= ECN_MASK);
        }
    }
}
