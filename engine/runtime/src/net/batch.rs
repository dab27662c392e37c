//! One receive call's worth of datagrams, split back into the segments that the kernel merged.
//!
//! It does not sort, decrypt or copy: segments are borrowed from the receive buffers and are gone
//! with the next call.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use super::cmsg::{self, Ancillary};
use crate::sys::udp::{RECEIVED_MAX, RecvArena};

/// One datagram as its sender cut it.
#[derive(Debug)]
pub struct Segment<'a> {
    /// Where it came from; IPv4 addresses are never in their IPv6-mapped form.
    pub from: SocketAddr,
    /// The payload; never empty.
    pub data: &'a mut [u8],
    /// The two ECN bits of the IP header (RFC 3168).
    pub ecn: u8,
    /// When the kernel took it in: nanoseconds of `CLOCK_REALTIME`. All segments of one merged
    /// buffer share the stamp.
    pub arrived_ns: Option<u64>,
}

/// Receive memory for up to 8 buffers of 64 KiB, reused from call to call.
pub struct RecvBatch {
    arena: RecvArena,
    ancillary: Vec<Ancillary>,
}

/// What a receive call learnt beside the payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) buffers: usize,
    pub(crate) datagrams: usize,
    pub(crate) bytes: usize,
    /// The latest drop counter of the socket, modulo 2^32.
    pub(crate) drops: Option<u32>,
    /// Buffers that did not fit or whose control messages did not: their stride is unknown.
    pub(crate) truncated: u64,
}

impl RecvBatch {
    /// Allocates the buffers.
    pub fn new() -> Self {
        Self { arena: RecvArena::new(), ancillary: Vec::with_capacity(RECEIVED_MAX) }
    }

    pub(crate) fn receive(&mut self, fd: BorrowedFd<'_>) -> io::Result<Received> {
        self.ancillary.clear();
        let buffers = self.arena.receive(fd)?;
        let mut received = Received { buffers, ..Received::default() };
        for message in self.arena.messages_mut() {
            let ancillary = cmsg::parse(message.control);
            received.drops = ancillary.drops.or(received.drops);
            received.truncated += u64::from(message.truncated);
            let len = message.data.len();
            received.datagrams += len.div_ceil(ancillary.stride.unwrap_or(len).max(1));
            received.bytes += len;
            self.ancillary.push(ancillary);
        }
        Ok(received)
    }

    /// The datagrams of the last receive call, in order of arrival.
    pub fn segments_mut(&mut self) -> impl Iterator<Item = Segment<'_>> {
        let messages = self.arena.messages_mut().zip(&self.ancillary);
        let whole = messages.filter(|(message, _)| !message.truncated);
        whole
            .filter_map(|(message, ancillary)| Some((message.from?, message.data, ancillary)))
            .flat_map(|(from, data, ancillary)| {
                let stride = ancillary.stride.unwrap_or(data.len()).max(1);
                data.chunks_mut(stride).map(move |data| Segment {
                    from,
                    data,
                    ecn: ancillary.ecn,
                    arrived_ns: ancillary.arrived_ns,
                })
            })
    }
}

impl Default for RecvBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RecvBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvBatch").field("buffers", &self.ancillary.len()).finish_non_exhaustive()
    }
}
