//! Trains of datagrams, and how a list of them is laid out in messages for the kernel.
//!
//! Pure arithmetic: it does not send and does not decide who may use offload.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::offload::{self, PAYLOAD_MAX};
use crate::sys::udp::{MESSAGES_MAX, Outgoing};

/// Datagrams of equal size to one destination; the last may be shorter.
#[derive(Clone, Copy, Debug)]
pub struct Train<'a> {
    /// The destination.
    pub to: SocketAddr,
    /// Payload of each datagram but the last, in bytes; 1 to 65,507.
    pub segment_len: usize,
    /// The payloads one after the other.
    pub data: &'a [u8],
}

impl Train<'_> {
    /// How many datagrams the train holds.
    pub fn datagrams(&self) -> usize {
        self.data.len().div_ceil(self.segment_len.max(1))
    }
}

/// What became of the datagrams of a send call; the three counts add up to what was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Sent {
    /// Datagrams that the kernel took.
    pub datagrams: usize,
    /// Datagrams at the end that were not tried because the send buffer is full: wait until
    /// [`UdpPort::writable`](super::UdpPort::writable), then give these again.
    pub left: usize,
    /// Datagrams that the kernel refused for good (unreachable, too large, filtered): lost.
    pub failed: usize,
}

impl Sent {
    /// True when the send buffer filled up before everything was tried.
    pub const fn would_block(&self) -> bool {
        self.left > 0
    }
}

/// Fills the unused places of a message list.
pub(super) const EMPTY_OUTGOING: Outgoing<'static> = Outgoing {
    to: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
    data: &[],
    segment: None,
};

/// How far a list of trains has been sent.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    trains: &'a [Train<'a>],
    /// Bytes of the first train that are behind.
    offset: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(trains: &'a [Train<'a>]) -> io::Result<Self> {
        if trains.iter().any(|train| !(1..=PAYLOAD_MAX).contains(&train.segment_len)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut cursor = Self { trains, offset: 0 };
        cursor.drop_finished();
        Ok(cursor)
    }

    pub(super) fn is_done(&self) -> bool {
        self.trains.is_empty()
    }

    pub(super) fn current(&self) -> Option<Train<'a>> {
        self.trains.first().copied()
    }

    /// Lays out the next messages without moving.
    pub(super) fn peek<'b>(
        &self,
        space: &'b mut [Outgoing<'a>; MESSAGES_MAX],
        offload: impl Fn(SocketAddr) -> bool,
    ) -> &'b mut [Outgoing<'a>] {
        let mut count = 0;
        let mut offset = self.offset;
        'trains: for train in self.trains {
            let segments = match offload(train.to) {
                true => offload::segments_per_message(train.segment_len),
                false => 1,
            };
            for data in train.data[offset..].chunks(train.segment_len * segments) {
                let Some(slot) = space.get_mut(count) else { break 'trains };
                let segment = u16::try_from(train.segment_len).ok();
                let segment = segment.filter(|_| data.len() > train.segment_len);
                *slot = Outgoing { to: train.to, data, segment };
                count += 1;
            }
            offset = 0;
        }
        &mut space[..count]
    }

    /// Moves over `len` bytes of the first train and returns how many datagrams that is.
    pub(super) fn advance(&mut self, len: usize) -> usize {
        let Some(train) = self.trains.first() else { return 0 };
        self.offset += len;
        let datagrams = len.div_ceil(train.segment_len);
        self.drop_finished();
        datagrams
    }

    /// Gives up the rest of the first train and returns how many datagrams that is.
    pub(super) fn skip_train(&mut self) -> usize {
        let rest = self.trains.first().map_or(0, |train| train.data.len() - self.offset);
        self.advance(rest)
    }

    fn drop_finished(&mut self) {
        while let Some(train) = self.trains.first() {
            if self.offset < train.data.len() {
                break;
            }
            self.trains = &self.trains[1..];
            self.offset = 0;
        }
    }

    pub(super) fn datagrams_left(&self) -> usize {
        let total: usize = self.trains.iter().map(Train::datagrams).sum();
        let behind = self.trains.first().map_or(0, |train| self.offset / train.segment_len);
        total - behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn to(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn a_segment_length_of_zero_or_beyond_udp_is_refused() {
        for segment_len in [0, PAYLOAD_MAX + 1] {
            let train = Train { to: to(1), segment_len, data: b"x" };
            let error = Cursor::new(&[train]).expect_err("out of range");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }

    proptest! {
        #[test]
        fn any_list_of_trains_is_laid_out_exactly_once_within_the_limits(
            shape in proptest::collection::vec((1usize..3000, 0usize..90_000, any::<bool>()), 0..6),
            takes in proptest::collection::vec(1usize..=MESSAGES_MAX, 1..40),
        ) {
            let data: Vec<u8> = (0u8..251).cycle().take(90_000).collect();
            let list = || shape.iter().zip(0u16..);
            let trains: Vec<Train<'_>> = list()
                .map(|((segment_len, len, gso), index)| {
                    let to = to(index * 2 + u16::from(*gso));
                    Train { to, segment_len: *segment_len, data: &data[..*len] }
                })
                .collect();
            let mut cursor = Cursor::new(&trains).expect("lengths are in range");
            let total = cursor.datagrams_left();
            let mut seen: Vec<Vec<u8>> = vec![Vec::new(); trains.len()];
            let mut datagrams = 0;
            let mut takes = takes.iter().cycle();
            while !cursor.is_done() {
                let mut space = [EMPTY_OUTGOING; MESSAGES_MAX];
                let messages = cursor.peek(&mut space, |to| to.port() % 2 == 1);
                prop_assert!(!messages.is_empty());
                for message in messages.iter().take(*takes.next().expect("a cycle")) {
                    let index = usize::from(message.to.port() / 2);
                    let per = trains[index].segment_len;
                    prop_assert!(message.data.len() <= PAYLOAD_MAX);
                    prop_assert!(message.data.len().div_ceil(per) <= 64);
                    prop_assert_eq!(message.segment.is_some(), message.data.len() > per);
                    prop_assert!(message.segment.is_none() || message.to.port() % 2 == 1);
                    seen[index].extend(message.data);
                    datagrams += cursor.advance(message.data.len());
                    prop_assert_eq!(cursor.datagrams_left(), total - datagrams);
                }
            }
            for (train, seen) in trains.iter().zip(&seen) {
                prop_assert_eq!(train.data, &seen[..]);
            }
        }
    }
}
