//! What each carrier moved: packets, bytes and calls, counted where they meet the kernel.

use std::sync::atomic::{AtomicU64, Ordering};

/// What one carrier moved since the engine started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Datagrams that were handed to the kernel, or put into the stream of a link.
    pub packets_sent: u64,
    /// Payload of UDP, or bytes of TLS.
    pub bytes_sent: u64,
    /// Datagrams that came, whatever they were.
    pub packets_received: u64,
    /// Payload of UDP, or bytes of TLS.
    pub bytes_received: u64,
    /// Calls that brought something.
    pub reads: u64,
}

/// What all carriers moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffics {
    /// Datagrams of their own.
    pub udp: Traffic,
    /// Links.
    pub tcp: Traffic,
}

/// Counts; shared by the threads that send and receive.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    packets_sent: AtomicU64,
    bytes_sent: AtomicU64,
    packets_received: AtomicU64,
    bytes_received: AtomicU64,
    reads: AtomicU64,
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

impl Meter {
    /// Datagrams left.
    pub(crate) fn sent_packets(&self, packets: usize) {
        add(&self.packets_sent, packets);
    }

    /// Bytes left.
    pub(crate) fn sent_bytes(&self, bytes: usize) {
        add(&self.bytes_sent, bytes);
    }

    /// Datagrams came.
    pub(crate) fn received_packets(&self, packets: usize) {
        add(&self.packets_received, packets);
    }

    /// A call brought bytes.
    pub(crate) fn read(&self, bytes: usize) {
        add(&self.bytes_received, bytes);
        add(&self.reads, 1);
    }

    /// The counters at this moment.
    pub(crate) fn now(&self) -> Traffic {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            packets_sent: of(&self.packets_sent),
            bytes_sent: of(&self.bytes_sent),
            packets_received: of(&self.packets_received),
            bytes_received: of(&self.bytes_received),
            reads: of(&self.reads),
        }
    }
}
